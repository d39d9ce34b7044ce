/**
 * How much heap does the status of an ended job take in the memory cache, beside a bare Map of the same records, and does it
 * come back after the ttl, though nobody reads? Real jobs fill the cache; each side has a process of its own, and the heap is
 * looked at after a full collection.
 */
import { randomUUID } from 'node:crypto'
import { setInterval as ticking } from 'node:timers/promises'
import { createAfterJobs, type JobCache, memoryCache, memoryQueue, withAfterJobs } from 'after-jobs'
import { checkBuild, IS_QUICK, measureVariant, printTable, ratios, runBenchmark, show, type Variants } from './rounds'

const TOKENS = IS_QUICK ? 10_000 : 200_000
const ROUNDS = IS_QUICK ? 1 : 3
const BURST = 10_000
/** Milliseconds: longer than filling the cache takes, also on a busy machine. */
const TTL = IS_QUICK ? 5_000 : 30_000
/** Milliseconds after the ttl in which the heap must have come back. */
const PATIENCE = IS_QUICK ? 1_000 : 60_000
/** Back is what leaves less than this part. */
const REST = 0.05

interface Figures {
  bytesPerToken: number
  /** After the ttl, and how many milliseconds after it that was; only for ours. */
  restPerToken: number | null
  backAfter: number | null
}

const BARE = 'Map of records'
const OURS = 'memoryCache'
const VARIANTS: Variants<Figures> = { [BARE]: measureMap, [OURS]: measureCache }

async function measureMap(): Promise<Figures> {
  const { cache, tokens } = await fill(1, TTL)
  const record = await cache.read(tokens[0] ?? '')
  const before = heapUsed()
  const records = new Map<string, object>()
  // A string straight from randomUUID() is a chain of pieces, which takes many times the memory.
  for (let token = 0; token < TOKENS; token++) records.set(Buffer.from(randomUUID()).toString('latin1'), { ...record })
  const bytesPerToken = (heapUsed() - before) / records.size
  return { bytesPerToken, restPerToken: null, backAfter: null }
}

async function measureCache(): Promise<Figures> {
  checkBuild()
  // So that what the code itself takes is not counted; a hundredth of the statuses does not blur the figures.
  await fill(TOKENS / 100, 1)
  const before = heapUsed()
  const start = performance.now()
  const { cache } = await fill(TOKENS, TTL)
  const expiry = performance.now() + TTL
  const full = heapUsed() - before
  if (performance.now() - start > TTL) throw new Error('The first records expired too early; raise TTL in this script.')
  const { rest, at } = await awaitBack(before, full, expiry)
  // Still in use, so that nothing but the sweep can have emptied it.
  await cache.close()
  return { bytesPerToken: full / TOKENS, restPerToken: rest / TOKENS, backAfter: at - expiry }
}

/** Runs so many jobs to their end, and leaves nothing of them but their statuses. */
async function fill(count: number, ttl: number): Promise<{ cache: JobCache; tokens: string[] }> {
  const cache = memoryCache()
  const jobs = createAfterJobs({ cache, ttl, queue: memoryQueue({ maxWaiting: 2 * BURST }) })
  class Service extends withAfterJobs({ jobs }) {
    afterCreateJob(): void {}
  }
  const service = new Service()
  const first = await service.executeJob('after', 'create', 0)
  for (let id = 1; id < count; id++) {
    void service.executeJob('after', 'create', id)
    if (id % BURST === 0) await jobs.drain()
  }
  await jobs.drain()
  return { cache, tokens: [first ?? ''] }
}

/** Looks at the heap, and never at the cache, until it has come back. */
async function awaitBack(before: number, full: number, expiry: number): Promise<{ rest: number; at: number }> {
  for await (const _ of ticking(200)) {
    const rest = heapUsed() - before
    const at = performance.now()
    if (rest < REST * full || at > expiry + PATIENCE) return { rest, at }
  }
  throw new Error('The interval has ended.')
}

function heapUsed(): number {
  if (globalThis.gc === undefined) throw new Error('Needs node --expose-gc.')
  globalThis.gc()
  return process.memoryUsage().heapUsed
}

async function main(): Promise<void> {
  const samples = new Map<string, Figures[]>(Object.keys(VARIANTS).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, figures] of samples) {
      figures.push(await measureVariant(import.meta.filename, name, 0, ['--expose-gc']))
    }
  }
  const bare = (samples.get(BARE) ?? []).map(({ bytesPerToken }) => bytesPerToken)
  console.log(`${TOKENS} ended jobs, ttl ${TTL / 1000} s: median (middle half) of ${ROUNDS} processes for each side\n`)
  const headings = [
    'where',
    'bytes per token',
    'ratio',
    'bytes per token after the ttl',
    'back after the last expiry, ms',
  ]
  printTable(
    headings,
    [...samples].map(([name, own]) => rowOf(name, own, bare)),
  )
}

function rowOf(name: string, own: readonly Figures[], bare: readonly number[]): string[] {
  const bytes = own.map(({ bytesPerToken }) => bytesPerToken)
  const rests = own.flatMap(({ restPerToken }) => restPerToken ?? [])
  const times = own.flatMap(({ backAfter }) => backAfter ?? [])
  const shown = (values: readonly number[]): string => (values.length === 0 ? '–' : show(values, 0))
  return [name, show(bytes, 0), show(ratios(bytes, bare), 2), shown(rests), shown(times)]
}

await runBenchmark(VARIANTS, main)

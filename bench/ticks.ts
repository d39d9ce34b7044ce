/**
 * What does `progress.tick()` cost in a running job, beside a bare counter, and how often do a million ticks write to the
 * cache? Once in a loop that holds the event loop, and once with a turn of it after every tick, so that writes can happen
 * meanwhile. Each variant has a process of its own, and they take turns.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createAfterJobs, type JobCache, memoryCache, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { checkBuild, IS_QUICK, measureVariant, printTable, ratios, runBenchmark, show, type Variants } from './rounds'

const TICKS = IS_QUICK ? 100_000 : 1_000_000
const ROUNDS = IS_QUICK ? 1 : 5
/** Milliseconds; the library promises at most one write of progress in so many. */
const WRITE_INTERVAL = 250

/** A loop of so many ticks. */
interface Figures {
  ms: number
  /** To the cache while the loop ran. */
  writes: number
}

type Loop = (ticks: number) => void | Promise<void>

const VARIANTS: Variants<Figures> = {
  counter: () => measure(countHeld, () => 0),
  'progress.tick': () => inJob((progress, countWrites) => measure(tickHeld(progress), countWrites)),
  'counter, a turn after each': () => measure(countInTurns, () => 0),
  'progress.tick, a turn after each': () =>
    inJob((progress, countWrites) => measure(tickInTurns(progress), countWrites)),
}
/** Each name beside the one that it is compared with. */
const BESIDE: readonly (readonly [string, string])[] = [
  ['counter', 'counter'],
  ['progress.tick', 'counter'],
  ['counter, a turn after each', 'counter, a turn after each'],
  ['progress.tick, a turn after each', 'counter, a turn after each'],
]

/** Out in the open, so that no compiler can drop the count. */
export const counter: { count: number } = { count: 0 }

function countHeld(ticks: number): void {
  for (let tick = 0; tick < ticks; tick++) counter.count += 1
}

async function countInTurns(ticks: number): Promise<void> {
  for (let tick = 0; tick < ticks; tick++) {
    counter.count += 1
    await nextTurn()
  }
}

function tickHeld(progress: ProgressReporter): Loop {
  return (ticks) => {
    for (let tick = 0; tick < ticks; tick++) progress.tick()
  }
}

function tickInTurns(progress: ProgressReporter): Loop {
  return async (ticks) => {
    for (let tick = 0; tick < ticks; tick++) {
      progress.tick()
      await nextTurn()
    }
  }
}

/** Warms a loop up with a tenth of its ticks, then measures all of them. */
async function measure(loop: Loop, countWrites: () => number): Promise<Figures> {
  await loop(TICKS / 10)
  const before = countWrites()
  const start = performance.now()
  await loop(TICKS)
  return { ms: performance.now() - start, writes: countWrites() - before }
}

/** Runs a body inside a job whose progress reaches the end with the last tick. */
function inJob(body: (progress: ProgressReporter, countWrites: () => number) => Promise<Figures>): Promise<Figures> {
  checkBuild()
  const { cache, countWrites } = countingCache()
  return new Promise((resolve, reject) => {
    class Service extends withAfterJobs({ jobs: createAfterJobs({ cache }) }) {
      afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
        progress.total(1.1 * TICKS)
        return body(progress, countWrites).then(resolve, reject)
      }
    }
    new Service().executeJob('after', 'create', 1).catch(reject)
  })
}

/** A memory cache that counts what is written, whichever of its doors is taken. */
function countingCache(): { cache: JobCache; countWrites: () => number } {
  const { immediate, ...inner } = memoryCache()
  if (immediate === undefined) throw new Error('The memory cache no longer answers at once; mend this benchmark.')
  let writes = 0
  const cache: JobCache = {
    ...inner,
    immediate: {
      read: immediate.read,
      write: (token, record, ttl) => {
        writes++
        return immediate.write(token, record, ttl)
      },
    },
    write: (token, record, ttl) => {
      writes++
      return inner.write(token, record, ttl)
    },
    writeMany: (entries) => {
      writes += entries.length
      return inner.writeMany(entries)
    },
  }
  return { cache, countWrites: () => writes }
}

async function main(): Promise<void> {
  const samples = new Map<string, Figures[]>(Object.keys(VARIANTS).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, figures] of samples) figures.push(await measureVariant(import.meta.filename, name))
  }
  console.log(`${TICKS} ticks: median (middle half) of ${ROUNDS} processes for each; writes: the most of any process\n`)
  const headings = ['loop', 'ns per tick', 'ratio', 'ms in all', 'cache writes', 'allowed']
  printTable(
    headings,
    BESIDE.map(([name, beside]) => rowOf(name, samples.get(name) ?? [], samples.get(beside) ?? [])),
  )
}

function rowOf(name: string, own: readonly Figures[], beside: readonly Figures[]): string[] {
  const costs = own.map(({ ms }) => (ms * 1e6) / TICKS)
  const bare = beside.map(({ ms }) => (ms * 1e6) / TICKS)
  const most = own.toSorted((a, b) => b.writes - a.writes)[0] ?? { ms: Number.NaN, writes: Number.NaN }
  const allowed = 1 + Math.floor(most.ms / WRITE_INTERVAL)
  const times = own.map(({ ms }) => ms)
  return [name, show(costs, 1), show(ratios(costs, bare), 2), show(times, 0), String(most.writes), String(allowed)]
}

await runBenchmark(VARIANTS, main)

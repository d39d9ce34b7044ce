/**
 * Does a job cost more among many that wait, a status among many that live, a stream beside many others? Each figure is from a
 * process of its own, and stands beside that of the fewest.
 */
import { fileURLToPath } from 'node:url'
import { createAfterJobs, memoryQueue, withAfterJobs } from 'after-jobs'
import { checkBuild, IS_QUICK, measureVariant, printTable, ratios, runBenchmark, show, type Variants } from './rounds'

const ROUNDS = IS_QUICK ? 1 : 5
const CROWDS = IS_QUICK ? [100, 1_000] : [1_000, 10_000, 100_000, 1_000_000]
const LIVES = IS_QUICK ? [1, 1_000] : [1, 1_000, 100_000, 1_000_000]
const STREAMS = IS_QUICK ? [1, 50] : [1, 50, 500, 5_000]
const READS = IS_QUICK ? 1_000 : 200_000
/** Few are started again and again, so that what is new in the process is not taken for what they cost. */
const LEAST = IS_QUICK ? 1_000 : 100_000
const STREAMS_SCRIPT: string = fileURLToPath(new URL('streams.ts', import.meta.url))

/** What one process measures, by what it is. */
type Figures = Readonly<Record<string, number>>

const VARIANTS: Variants<Figures> = { waiting: measureWaiting, reading: measureReading }

/** Starts so many jobs before the first runs, then runs them all. */
async function measureWaiting(count: number): Promise<Figures> {
  const { jobs, start } = open()
  let [starting, running] = [0, 0]
  const rounds = Math.ceil(LEAST / count)
  for (let round = -Math.ceil(rounds / 2); round < rounds; round++) {
    const begin = performance.now()
    for (let id = 0; id < count; id++) void start(id)
    const between = performance.now()
    await jobs.drain()
    // The first are for warming up.
    if (round < 0) continue
    starting += between - begin
    running += performance.now() - between
  }
  const each = (ms: number): number => (ms * 1_000) / (rounds * count)
  return { 'start a job, µs': each(starting), 'run a job, µs': each(running) }
}

/** Reads the statuses of so many living jobs, in an order that has nothing to do with theirs. */
async function measureReading(count: number): Promise<Figures> {
  const { jobs, start } = open({ autoStart: false })
  const tokens: string[] = []
  for (let id = 0; id < count; id++) tokens.push((await start(id)) ?? '')
  const read = async (reads: number) => {
    for (let index = 0; index < reads; index++) await jobs.status(tokens[(index * 7_919) % count] ?? '')
  }
  await read(READS / 10)
  const begin = performance.now()
  await read(READS)
  return { 'read a status, µs': ((performance.now() - begin) * 1_000) / READS }
}

/** A runtime whose jobs do nothing. */
function open({ autoStart = true } = {}) {
  checkBuild()
  const jobs = createAfterJobs({ queue: memoryQueue({ autoStart, maxWaiting: Number.POSITIVE_INFINITY }) })
  class Service extends withAfterJobs({ jobs }) {
    afterCreateJob(): void {}
  }
  const service = new Service()
  return { jobs, start: (id: number) => service.executeJob('after', 'create', id) }
}

/** What a stream costs among so many, as `streams.ts` finds. */
async function measureStreams(count: number): Promise<Figures> {
  interface Found {
    bytesPerStream: number
    cpu: number
    reads: number
  }
  const { cpu, reads } = await measureVariant<Found>(STREAMS_SCRIPT, 'createNodeHandler', count, ['--expose-gc'])
  return { 'keep a stream for a second, µs of CPU': (cpu * 1e6) / count, 'read the store, per token and 250 ms': reads }
}

/** Prints a row for each figure and each number, the fewest first. */
async function compare(counts: readonly number[], measure: (count: number) => Promise<Figures>): Promise<string[][]> {
  const found = new Map<string, number[][]>()
  for (const [place, count] of counts.entries()) {
    for (let round = 0; round < ROUNDS; round++) {
      for (const [what, figure] of Object.entries(await measure(count))) {
        const columns = found.get(what) ?? counts.map(() => [])
        columns[place]?.push(figure)
        found.set(what, columns)
      }
    }
  }
  return [...found].flatMap(([what, columns]) =>
    columns.map((own, place) => [
      what,
      (counts[place] ?? 0).toLocaleString('en'),
      show(own, 2),
      show(ratios(own, columns[0] ?? []), 2),
    ]),
  )
}

async function main(): Promise<void> {
  const inProcess = (name: string) => (count: number) => measureVariant<Figures>(import.meta.filename, name, count)
  const rows = [
    ...(await compare(CROWDS, inProcess('waiting'))),
    ...(await compare(LIVES, inProcess('reading'))),
    ...(await compare(STREAMS, measureStreams)),
  ]
  console.log(`Median (middle half) of ${ROUNDS} processes; the ratio is to the fewest\n`)
  printTable(['what', 'among', 'each', 'ratio'], rows)
}

await runBenchmark(VARIANTS, main)

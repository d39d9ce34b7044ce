/**
 * How many jobs a second does the memory queue take and run, beside `add` of a bare p-queue? Both run a function that only
 * counts. Both are timed from the first call until every call's promise has resolved (`Promise.all` of a burst) and the last run
 * has ended: `onIdle()` there, `drain()` here. The sides take turns, each in a new process every time.
 *
 * Ours also makes a token and keeps the status of every job; within a window none expires, as in a process that is in use.
 */
import { checkBuild, IS_QUICK, measureVariant, printTable, ratios, runBenchmark, show, type Variants } from './rounds'

const CONCURRENCIES = [1, 10, 100]
const ROUNDS = IS_QUICK ? 1 : 7
/** Windows of one process. */
const WINDOWS = IS_QUICK ? 1 : 3
/** Jobs that are started before anyone waits for them: the backlog, which p-queue must not be slowed by. */
const BURST = IS_QUICK ? 1_000 : 10_000
const BURSTS = IS_QUICK ? 2 : 5
const WARM_UP_BURSTS = 3

/** One of the two that are compared. */
interface Side {
  /** Starts a job. */
  start(id: number): Promise<unknown>
  /** Resolves when every job has ended. */
  ended(): Promise<void>
  /** How often the function ran, so that no side is paid for what it left out. */
  countRuns(): number
}

const BARE = 'p-queue'
const OURS = 'after-jobs'

/** Jobs per second, one figure for each window. */
const VARIANTS: Variants<number[]> = {
  [BARE]: async (concurrency) => measure(await makeBare(concurrency)),
  [OURS]: async (concurrency) => measure(await makeOurs(concurrency)),
}

// Each side imports its own library alone: what the other one switches on in the process would slow it down.
async function makeBare(concurrency: number): Promise<Side> {
  const { default: PQueue } = await import('p-queue')
  const queue = new PQueue({ concurrency })
  let runs = 0
  const run = (): void => {
    runs++
  }
  return { start: () => queue.add(run), ended: () => queue.onIdle(), countRuns: () => runs }
}

async function makeOurs(concurrency: number): Promise<Side> {
  checkBuild()
  const { createAfterJobs, memoryQueue, withAfterJobs } = await import('after-jobs')
  const jobs = createAfterJobs({ queue: memoryQueue({ concurrency, maxWaiting: BURST }) })
  let runs = 0
  class Service extends withAfterJobs({ jobs }) {
    afterCreateJob(): void {
      runs++
    }
  }
  const service = new Service()
  return {
    start: (id) => service.executeJob('after', 'create', id),
    ended: () => jobs.drain(),
    countRuns: () => runs,
  }
}

async function measure(side: Side): Promise<number[]> {
  await runBursts(side, WARM_UP_BURSTS)
  const rates: number[] = []
  for (let window = 0; window < WINDOWS; window++) {
    const start = performance.now()
    await runBursts(side, BURSTS)
    rates.push((BURSTS * BURST) / ((performance.now() - start) / 1000))
  }
  return rates
}

async function runBursts(side: Side, bursts: number): Promise<void> {
  const expected = side.countRuns() + bursts * BURST
  for (let burst = 0; burst < bursts; burst++) {
    await Promise.all(Array.from({ length: BURST }, (_, id) => side.start(id)))
    await side.ended()
  }
  if (side.countRuns() !== expected) throw new Error(`${side.countRuns()} jobs ran, and not ${expected}.`)
}

async function compare(concurrency: number): Promise<string[]> {
  const bare: number[] = []
  const ours: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    bare.push(...(await measureVariant<number[]>(import.meta.filename, BARE, concurrency)))
    ours.push(...(await measureVariant<number[]>(import.meta.filename, OURS, concurrency)))
  }
  return [String(concurrency), show(bare, 0), show(ours, 0), show(ratios(ours, bare), 2)]
}

async function main(): Promise<void> {
  const rows: string[][] = []
  for (const concurrency of CONCURRENCIES) rows.push(await compare(concurrency))
  const jobs = BURSTS * BURST
  console.log(
    `Median (middle half) of ${ROUNDS * WINDOWS} windows of ${jobs} jobs, ${ROUNDS} processes for each side\n`,
  )
  printTable(['concurrency', 'p-queue, jobs/s', 'after-jobs, jobs/s', 'ratio'], rows)
}

await runBenchmark(VARIANTS, main)

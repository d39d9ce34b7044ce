// What the benchmarks of shared queues have in common: the two sides that are compared, and what is measured of each.
import { setTimeout as sleep } from 'node:timers/promises'
import type { AfterJobs } from 'after-jobs'
import {
  checkBuild,
  IS_QUICK,
  measureVariant,
  printTable,
  quantile,
  ratios,
  runBenchmark,
  show,
  type Variants,
} from './rounds'

export type Body = () => unknown

/** One of the two that are compared. */
export interface Side {
  add(id: number): Promise<unknown>
  addMany(ids: number[]): Promise<unknown>
  /** Takes jobs and runs them, many at once. */
  drain(body: Body): Promise<void>
  /** Takes jobs and runs them, as a worker does that waits for the next one. */
  work(body: Body): Promise<void>
  /** Makes something that can be read, and answers the function that reads it. */
  makeReader(): Promise<() => Promise<unknown>>
}

/** A rate a second, or, where the name ends in ms, milliseconds. */
export type Measure = (side: Side) => Promise<number>

/** A table: a row for each measure, the raw engine beside ours. */
export interface Comparison {
  readonly raw: string
  readonly sides: Readonly<Record<string, (url: string) => Promise<Side>>>
  readonly measures: Readonly<Record<string, Measure>>
  readonly urlOf: (port: number) => string
  /** Starts a server, and answers its port. */
  start(): Promise<{ port: number; afterEach?(): Promise<void>; close(): Promise<void> }>
  /** Of those that take long; default: as all others. */
  readonly latencyRounds?: number
}

export const WARM_UP: number = IS_QUICK ? 50 : 2_000
const BULK = 1_000
const ROUNDS = IS_QUICK ? 1 : 5

/** Our side, on any engine. */
export async function makeOurs(
  open: (name: string) => Promise<AfterJobs>,
  concurrency: { drain: number; work: number },
): Promise<Side> {
  checkBuild()
  const { withAfterJobs } = await import('after-jobs')
  const jobs = await open(`ours-${process.pid}`)
  let run: Body = () => {}
  class Service extends withAfterJobs({ jobs }) {
    static readonly jobName = 'bench'
    async afterCreateJob(): Promise<void> {
      await run()
    }
  }
  const service = new Service()
  jobs.register(Service, () => service)
  const work = (count: number) => async (body: Body) => {
    run = body
    jobs.work({ concurrency: count })
  }
  return {
    add: (id) => service.executeJob('after', 'create', id),
    addMany: (ids) => service.executeJobs('after', 'create', ids),
    drain: work(concurrency.drain),
    work: work(concurrency.work),
    async makeReader() {
      const token = await service.executeJob('after', 'create', 1)
      return () => jobs.status(token ?? '')
    },
  }
}

/** Adds so many jobs, one after the other or so many at once. */
export function addInFlight(count: number, inFlight: number): Measure {
  return async (side) => {
    await addSome(side, WARM_UP, inFlight)
    return rate(count, () => addSome(side, count, inFlight))
  }
}

async function addSome(side: Side, count: number, inFlight: number): Promise<void> {
  const left = idsOf(count)
  const lane = async () => {
    for (let id = left.pop(); id !== undefined; id = left.pop()) await side.add(id)
  }
  await Promise.all(Array.from({ length: inFlight }, lane))
}

/** Adds so many jobs by the thousand. */
export function addInBulk(count: number): Measure {
  return async (side) => {
    await addByThousand(side, WARM_UP)
    return rate(count, () => addByThousand(side, count))
  }
}

async function addByThousand(side: Side, count: number): Promise<void> {
  for (let start = 0; start < count; start += BULK) await side.addMany(idsOf(Math.min(BULK, count - start)))
}

/** Runs so many jobs that wait already. The clock starts when a tenth has been run, and the worker is warm. */
export function drain(count: number, body: Body): Measure {
  return async (side) => {
    await addByThousand(side, count)
    const cold = count / 10
    let runs = 0
    let start = 0
    await new Promise<void>((resolve, reject) => {
      const counted = async () => {
        await body()
        if (++runs === cold) start = performance.now()
        if (runs === count) setImmediate(resolve)
      }
      side.drain(counted).catch(reject)
    })
    return (count - cold) / ((performance.now() - start) / 1000)
  }
}

export function readStatus(count: number): Measure {
  return async (side) => {
    const read = await side.makeReader()
    const readAll = async (reads: number) => {
      for (let turn = 0; turn < reads; turn++) await read()
    }
    await readAll(WARM_UP)
    return rate(count, () => readAll(count))
  }
}

/** Measures from the call until the hook starts, in milliseconds: one at a time, a pause before each: without one, the end of the job before is still under way. */
export function latency(count: number, part: number, pause: () => number): Measure {
  return async (side) => {
    let started: () => void = () => {}
    await side.work(() => started())
    const times: number[] = []
    for (let id = 0; id < count; id++) {
      const wait = pause()
      if (wait > 0) await sleep(wait)
      const start = performance.now()
      const hasStarted = new Promise<void>((resolve) => {
        started = resolve
      })
      await side.add(id)
      await hasStarted
      times.push(performance.now() - start)
    }
    return quantile(times, part)
  }
}

function idsOf(count: number): number[] {
  return Array.from({ length: count }, (_, id) => id)
}

async function rate(count: number, run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return count / ((performance.now() - start) / 1000)
}

/** Runs what this process was started for: one side's measure, or the whole table. */
export async function runComparison(script: string, comparison: Comparison): Promise<void> {
  const { sides, measures, urlOf } = comparison
  const variants: Variants<number> = Object.fromEntries(
    Object.entries(sides).flatMap(([name, make]) =>
      Object.entries(measures).map(([what, measure]) => [
        `${name}: ${what}`,
        async (port: number) => measure(await make(urlOf(port))),
      ]),
    ),
  )
  await runBenchmark(variants, () => printComparison(script, comparison))
}

async function printComparison(script: string, { raw, measures, start, latencyRounds }: Comparison): Promise<void> {
  const server = await start()
  try {
    const rows: string[][] = []
    for (const what of Object.keys(measures)) {
      const isLatency = what.endsWith('ms')
      const bare: number[] = []
      const ours: number[] = []
      for (let round = 0; round < (isLatency ? (latencyRounds ?? ROUNDS) : ROUNDS); round++) {
        bare.push(await measureVariant<number>(script, `${raw}: ${what}`, server.port))
        ours.push(await measureVariant<number>(script, `after-jobs: ${what}`, server.port))
      }
      const digits = isLatency ? 2 : 0
      rows.push([what, show(bare, digits), show(ours, digits), show(ratios(ours, bare), 2)])
      await server.afterEach?.()
    }
    console.log(`Per second, unless it says ms; median (middle half) of up to ${ROUNDS} processes for each side\n`)
    printTable(['what', raw, 'after-jobs', 'ratio'], rows)
  } finally {
    await server.close()
  }
}

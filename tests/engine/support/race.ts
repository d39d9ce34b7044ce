import { type JobCache, type JobEventName, type JobRecord, memoryCache, memoryQueue } from 'after-jobs'
import fc from 'fast-check'
import { type Bench, isFinal, makeBench, turns } from './runtime'
import { distantCache } from './spies'

type Kind = 'cancel' | 'cancel elsewhere' | 'close'
const BODIES = ['succeeds', 'fails', 'listens', 'is slow', 'succeeds at once', 'fails at once'] as const

/** One job, and what comes in between. */
interface RaceBase {
  body: (typeof BODIES)[number]
  bodyTurns: number
  options: { attempts: number; delay: number; timeout: number }
}

/** A race on a cache whose calls take their time. */
interface DistantRace extends RaceBase {
  /** How long each call of the cache takes: first before it takes effect, then before its answer arrives. */
  latencies: number[]
  /** Before which call of the cache somebody interferes. */
  interruptions: { at: number; kind: Kind }[]
}

/** A race on a cache that answers at once, in which somebody interferes so many microtasks after an event. */
interface NearRace extends RaceBase {
  moments: { event: JobEventName; steps: number; kind: Kind }[]
}

export type Race = DistantRace | NearRace

interface Counts {
  starts: number
  failures: number
  isRunning: boolean
  /** How often JobFailed was called while the body was running. */
  overlaps: number
}

export interface RaceOutcome extends Counts {
  versions: JobRecord[]
  events: string[]
  cancels: boolean[]
  isRefused: boolean
}

const base = {
  body: fc.constantFrom(...BODIES),
  bodyTurns: fc.nat(4),
  options: fc.record({
    attempts: fc.integer({ min: 1, max: 3 }),
    delay: fc.constantFrom(0, 0, 1),
    timeout: fc.constantFrom(60_000, 60_000, 1, 3),
  }),
}

export function distantRaces(kinds: readonly Kind[]): fc.Arbitrary<Race> {
  const interruption = (kind: Kind) => fc.record({ at: fc.integer({ min: 1, max: 16 }), kind: fc.constant(kind) })
  const latencies = fc.array(fc.nat(9), { minLength: 24, maxLength: 24 })
  return fc.record({ ...base, latencies, interruptions: fc.tuple(...kinds.map(interruption)) })
}

export function nearRaces(kinds: readonly Kind[]): fc.Arbitrary<Race> {
  const event = fc.constantFrom<JobEventName>('queued', 'started', 'started', 'retrying', 'retrying', 'done', 'error')
  const moment = (kind: Kind) => fc.record({ event, steps: fc.nat(40), kind: fc.constant(kind) })
  return fc.record({ ...base, moments: fc.tuple(...kinds.map(moment)) })
}

/** Lives one job with everything that comes in between, to its very end. */
export async function runRace(race: Race): Promise<RaceOutcome> {
  const counts: Counts = { starts: 0, failures: 0, isRunning: false, overlaps: 0 }
  const cancels: boolean[] = []
  const interruptions: Promise<unknown>[] = []
  const interfere = (kind: Kind, token: string) => {
    if (kind === 'close') interruptions.push(bench.jobs.close({ grace: 5 }))
    const runtime = kind === 'cancel' ? bench.jobs : elsewhere.jobs
    if (kind !== 'close') interruptions.push(runtime.cancel(token).then((isCancelled) => cancels.push(isCancelled)))
  }
  const bench = makeRacer(race, counts, 'moments' in race ? memoryCache() : slowCache(race, interfere))
  const elsewhere = makeBench({}, { cache: bench.cache })
  if ('moments' in race) interfereAt(race, bench, interfere)
  const isRefused = await bench.start(1, race.options).then(
    () => false,
    () => true,
  )
  await untilQuiet(bench, counts, interruptions)
  const versions = bench.cache.writes.map(({ record }) => record).toSorted((a, b) => a.version - b.version)
  return { ...counts, versions, cancels, isRefused, events: bench.events.map(({ event }) => event) }
}

function interfereAt({ moments }: NearRace, { jobs }: Bench, interfere: (kind: Kind, token: string) => void): void {
  for (const { event, steps, kind } of moments) {
    const off = jobs.on(event, async ({ token }) => {
      off()
      for (let step = 0; step < steps; step++) await null
      interfere(kind, token as string)
    })
  }
}

function makeRacer(race: Race, counts: Counts, cache: JobCache): Bench {
  const run = async (signal: AbortSignal) => {
    counts.isRunning = true
    await live(race, signal).finally(() => {
      counts.isRunning = false
    })
  }
  return makeBench(
    {
      afterCreateJob(_id, _token, progress) {
        counts.starts++
        if (race.body === 'fails at once') throw new Error('fails at once')
        return race.body === 'succeeds at once' ? undefined : run(progress.signal)
      },
      afterCreateJobFailed() {
        counts.failures++
        if (counts.isRunning) counts.overlaps++
      },
    },
    { cache, queue: memoryQueue({ concurrency: 1 }) },
  )
}

async function live({ body, bodyTurns }: Race, signal: AbortSignal): Promise<void> {
  for (let turn = 0; turn < bodyTurns + (body === 'listens' ? 8 : 0); turn++) {
    await turns(1)
    if (body === 'listens') signal.throwIfAborted()
  }
  if (body === 'is slow') await new Promise((resolve) => setTimeout(resolve, 2 * bodyTurns))
  if (body === 'fails') throw new Error('fails')
}

/** Waits until neither the job nor what came in between has anything left to do. */
async function untilQuiet({ jobs, cache }: Bench, counts: Counts, interruptions: Promise<unknown>[]): Promise<void> {
  for (let quiet = 0, seen = -1; quiet < 12; quiet++) {
    await Promise.all(interruptions)
    await turns(1)
    const { waiting, active } = await jobs.health()
    const now = cache.calls.read + cache.calls.write + counts.starts + counts.failures
    if (waiting + active > 0 || counts.isRunning || now !== seen) quiet = 0
    seen = now + 1
  }
}

/** A cache with a latency of its own for each call. */
function slowCache(race: DistantRace, interfere: (kind: Kind, token: string) => void): JobCache {
  const { latencies, interruptions } = race
  const inner = memoryCache()
  let calls = 0
  const slowly = async <T>(token: string, run: () => Promise<T>): Promise<T> => {
    const call = calls++
    for (const { at, kind } of interruptions) if (at === call) interfere(kind, token)
    await pause(latencies[(2 * call) % latencies.length])
    const answer = await run()
    await pause(latencies[(2 * call + 1) % latencies.length])
    return answer
  }
  return {
    ...distantCache(inner),
    read: (token) => slowly(token, () => inner.read(token)),
    write: (token, record, ttl) => slowly(token, () => inner.write(token, record, ttl)),
  }
}

/** Up to 5: so many microtasks; above: turns of the event loop. */
async function pause(latency = 0): Promise<void> {
  for (let step = 0; step < Math.min(latency, 5) * 2; step++) await null
  await turns(Math.max(0, latency - 5))
}

/** Names what is wrong with the life of a job; nothing, when all is well. */
export function lifeOf(outcome: RaceOutcome): string[] {
  const { versions, events, cancels, starts, failures, overlaps, isRefused } = outcome
  const finals = versions.filter(({ status }) => isFinal(status))
  const end = versions.at(-1)
  const claims = versions.filter(({ status }) => status === 'running').length
  const ends = events.filter(isFinal)
  const isCompensated = end?.status === 'error' && !isRefused
  const wrongs: [boolean, string][] = [
    [finals.length !== 1 || finals[0] !== end, `final records: ${versions.map(({ status }) => status)}`],
    [new Set(versions.map(({ version }) => version)).size !== versions.length, 'a version was stored twice'],
    [ends.length !== 1 || ends[0] !== end?.status, `events: ${events}`],
    [failures !== (isCompensated ? 1 : 0), `JobFailed was called ${failures} times after ${end?.status} ${end?.code}`],
    [overlaps > 0, 'JobFailed was called while the body was running'],
    [starts > claims, `the hook started ${starts} times with ${claims} claims`],
    [cancels.filter(Boolean).length > 1, `cancel answered ${cancels}`],
    [cancels.includes(true) && end?.code !== 'cancelled', `cancel answered true and the end is ${end?.code}`],
  ]
  return wrongs.filter(([isWrong]) => isWrong).map(([, what]) => what)
}

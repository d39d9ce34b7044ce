import type { JobStatus } from 'after-jobs'
import type { Kind, Orders } from './chaos-orders'
import type { Crew } from './crew'
import type { Entry } from './journal'
import { until } from './until'

/** What was seen, and what was wrong with it. */
export interface ChaosReport extends Counts {
  /** Workers that died, by our hand or by a job's. */
  readonly deaths: number
  /** Writes of records that the observer saw. */
  readonly writes: number
  readonly seconds: number
  readonly faults: readonly string[]
}

interface Counts {
  readonly accepted: number
  readonly refused: number
  /** Of the refused: those of which nobody could tell. */
  readonly uncertain: number
  /** Jobs of which an attempt was started twice. */
  readonly reruns: number
  /** How many jobs ended how. */
  readonly ends: ReadonlyMap<string, number>
}

/** What is known of a job when all is over. */
interface Case {
  readonly kind: Kind
  readonly status: JobStatus
  readonly entries: readonly Entry[]
}

type Statuses = ReadonlyMap<string, JobStatus>

/** How long the last jobs may take to recover and to end. */
const SETTLE_LIMIT = 60_000
/** A worker may be lost so often before its job is given up. */
const CRASH_LIMIT = 3

/** Waits until every job has ended, and those of which nobody could tell have ended or are not known. */
export async function settle(crew: Crew, { accepted, refused }: Orders): Promise<Statuses> {
  const statuses = new Map<string, JobStatus>()
  const open = new Set([...accepted.keys(), ...refused.map(({ token }) => token)])
  const lookAt = async (token: string) => {
    const status = await crew.jobs.status(token)
    statuses.set(token, status)
    if (!lives(status)) open.delete(token)
  }
  const look = async () => {
    await Promise.allSettled([...open].map(lookAt))
    return open.size === 0
  }
  // What does not come to its end is a fault of each single job.
  await until('end of every job', look, SETTLE_LIMIT).catch(() => {})
  await until('compensation of every failure', () => isCompensated(crew, accepted, statuses)).catch(() => {})
  await crew.isIdle().catch(() => {})
  return statuses
}

/** Compensation follows the end. */
function isCompensated({ journal }: Crew, accepted: Orders['accepted'], statuses: Statuses): boolean {
  const compensated = new Set(journal.read().flatMap(({ event, token }) => (event === 'compensated' ? token : [])))
  return [...accepted.keys()].every((token) => statuses.get(token)?.status !== 'error' || compensated.has(token))
}

/** Counts what there was. */
export function count({ journal }: Crew, { accepted, refused }: Orders, statuses: Statuses): Counts {
  const entriesOf = groupByToken(journal.read())
  const ends = new Map<string, number>()
  for (const token of accepted.keys()) {
    const status = statuses.get(token)
    const name = status?.status === 'error' ? `error, ${status.code}` : (status?.status ?? 'unread')
    ends.set(name, (ends.get(name) ?? 0) + 1)
  }
  return {
    accepted: accepted.size,
    refused: refused.length,
    uncertain: refused.filter(({ isUncertain }) => isUncertain).length,
    reruns: [...accepted.keys()].filter((token) => wasRerun(entriesOf(token))).length,
    ends,
  }
}

/** Says what is wrong with the end of each job, and with what is left. */
export async function findFaults(crew: Crew, orders: Orders, statuses: Statuses): Promise<string[]> {
  const entriesOf = groupByToken(crew.journal.read())
  const faults = [...orders.faults]
  for (const [token, kind] of orders.accepted) {
    const status = statuses.get(token) ?? { status: 'unknown', progress: 0, message: null }
    const fault = faultOf({ kind, status, entries: entriesOf(token) })
    if (fault !== undefined) faults.push(`${token} (${kind}) is ${status.status}, and ${fault}`)
  }
  for (const { token, isUncertain } of orders.refused) {
    const status = statuses.get(token)
    if (status === undefined || lives(status)) faults.push(`${token} was refused, and has no end`)
    if (!isUncertain && entriesOf(token).length > 0) faults.push(`${token} was refused, and ran`)
  }
  const { waiting, active } = await crew.jobs.health()
  if (waiting + active > 0) faults.push(`${waiting} jobs wait and ${active} are active, and all have ended`)
  return faults
}

function faultOf({ kind, status, entries }: Case): string | undefined {
  const count = (event: Entry['event']) => entries.filter((entry) => entry.event === event).length
  if (status.status === 'done') {
    if (kind === 'fails always' || kind === 'refuses' || kind === 'kills its worker') return 'should have failed'
    return count('ended') > 0 ? undefined : 'its hook never ended'
  }
  if (status.status !== 'error') return 'has no end'
  if (count('compensated') === 0) return 'was not compensated'
  if (status.code === 'worker_lost') return count('started') >= CRASH_LIMIT ? undefined : 'was given up too early'
  if (status.code === 'failed') return kind === 'refuses' ? undefined : 'did not refuse'
  if (status.code !== 'unexpected') return `ended as ${status.code}`
  if (kind !== 'fails always') return 'should not have failed'
  return status.attempt === status.attempts ? undefined : `had ${status.attempt} of ${status.attempts} attempts`
}

function lives({ status }: JobStatus): boolean {
  return status === 'pending' || status === 'running'
}

/** Tells whether an attempt was started twice. */
function wasRerun(entries: readonly Entry[]): boolean {
  const attempts = entries.flatMap(({ event, attempt }) => (event === 'started' ? attempt : []))
  return new Set(attempts).size < attempts.length
}

function groupByToken(entries: readonly Entry[]): (token: string) => readonly Entry[] {
  const groups = new Map<string, Entry[]>()
  for (const entry of entries) groups.set(entry.token, [...(groups.get(entry.token) ?? []), entry])
  return (token) => groups.get(token) ?? []
}

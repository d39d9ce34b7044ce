import { findFlaw } from '../core/envelope'
import { AfterJobsError } from '../core/errors'
import { copyData } from '../core/json'
import type { JobStatusRecord } from '../core/runtime'
import {
  type DoneStatus,
  isFinal,
  type JobBirth,
  type JobChange,
  type JobOutcome,
  type JobRecord,
  type JobStatus,
  toStatus,
  transition,
  type UnknownStatus,
  unknownBirth,
  unknownStatus,
} from '../core/status'
import { MAX_TIMER, withTimeLimit } from '../core/timer'
import { isToken } from '../core/token'
import type { JobLookup, JobQueue } from '../ports/queue'
import type { Bell } from './bell'
import type { Log } from './log'
import { Memo } from './memo'
import type { RecordStore } from './record-store'

/** A running job refreshes its record at least every 10 s; after three times that, the queue is asked. */
const STALE_RUNNING = 30_000
/** How long a job has waited before the reader wonders whether anything will run it. */
const HINT_AFTER = 2_000
/** The queue is asked about one token, and about its workers, at most once in so many milliseconds. */
const ASK_INTERVAL = 1_000
/** The queue is asked for a token that the cache does not know at most once in so many milliseconds. */
const ABSENT_INTERVAL = 10_000
/** The same where a job may yet come to light, because the transaction that it is in commits. */
const UNCOMMITTED_INTERVAL = 1_000
/** The longest that the queue may take for an answer. */
const QUEUE_LIMIT = 2_000
/** The longest that cache and queue together may take: a little less than the 3 s that are promised. */
const ANSWER_LIMIT = 2_900
const LATE = 'Cache and queue gave no answer in time.'
/** A well-formed token that no job has. */
const NO_TOKEN = '00000000-0000-4000-8000-000000000000'
const LOST: JobOutcome = { status: 'error', code: 'worker_lost', message: 'The job was lost together with its worker' }
/** How long a watcher bears a cache that is away. */
const OUTAGE_LIMIT = 30_000

/** What the reader works with. */
export interface ReaderParts {
  readonly store: RecordStore
  readonly queue: JobQueue
  readonly changes: Bell<string, JobRecord>
  readonly log: Log
  readonly enqueueTimeout: number
}

/** Answers what became of a token, and asks the queue where the record has gone silent or is missing. */
export class StatusReader {
  readonly #parts: ReaderParts
  /** What the queue said of tokens whose record is missing, and of those whose record is stale. */
  readonly #missing = new Memo<string, JobLookup>()
  readonly #stale = new Memo<string, JobLookup>()
  readonly #absentSince = new Memo<string, { version: number; at: number }>()
  readonly #workers = new Memo<'workers', number | undefined>()

  constructor(parts: ReaderParts) {
    this.#parts = parts
  }

  status(token: string): Promise<JobStatus> {
    return this.#read(token, show)
  }

  record(token: string): Promise<JobStatusRecord> {
    return this.#read(token, showWhole)
  }

  async #read<T>(token: string, show: Show<T>): Promise<T | UnknownStatus> {
    const record = await this.readRecord(token)
    return record === undefined ? unknownStatus() : show(token, record, await this.#hintOf(record))
  }

  /** Answers as `record` does without a promise, where the cache can and nobody has to be asked: a poll is hardly more than its promises. */
  recordNow(token: string): JobStatusRecord | undefined {
    const record = isToken(token) ? this.#parts.store.peek(token) : undefined
    if (record === undefined || this.#isStale(record) || this.#isLate(record)) return undefined
    return showWhole(token, record, null)
  }

  /** Reads the newest record, mended by what the queue knows where it is stale or missing. */
  async readRecord(token: string): Promise<JobRecord | undefined> {
    if (!isToken(token)) return undefined
    const end = Date.now() + ANSWER_LIMIT
    const record = await this.#parts.store.read(token)
    if (record !== undefined && !this.#isStale(record)) return record
    // Each step has a limit of its own; all together have one, too.
    const mended = record === undefined ? this.#lookUpMissing(token) : this.#reconcile(token, record)
    return withTimeLimit(mended, end - Date.now(), () => new AfterJobsError('CACHE_UNAVAILABLE', LATE, { token }))
  }

  /** Asks the queue for a job that has lost its worker, so that its status says so before anyone reads it. */
  async recheck(token: string): Promise<void> {
    // What was remembered may be of the run before.
    this.#stale.delete(token)
    const record = isToken(token) ? await this.#parts.store.read(token) : undefined
    if (record?.status === 'running') await this.#reconcile(token, record)
  }

  /** Tells whether the cache answers. Never rejects, whatever the adapter does. */
  async isCacheUp(): Promise<boolean> {
    try {
      await this.#parts.store.read(NO_TOKEN)
      return true
    } catch {
      return false
    }
  }

  /**
   * Iterates over the statuses that differ, at once where this process writes them, else every `interval` ms: one read for
   * each interval, and none for what this process has just stored.
   */
  async *watch(
    token: string,
    signal: AbortSignal | undefined,
    interval: number,
    seen?: JobStatus,
  ): AsyncGenerator<JobStatus, void, void> {
    const alarm = new Alarm(this.#parts.changes, token, signal)
    let last = seen
    let seenAt = Date.now()
    try {
      for (let isFirst = seen === undefined; last === undefined || !isLast(last); isFirst = false) {
        if (!isFirst) await alarm.wait(interval)
        signal?.throwIfAborted()
        const stored = alarm.take()
        const isNewest = stored !== undefined && !isOlder(stored, last)
        const status = isNewest
          ? show(token, stored, await this.#hintOf(stored))
          : await this.#statusOrOutage(token, seenAt)
        if (status !== undefined) {
          seenAt = Date.now()
          if (last === undefined || hasNews(last, status)) yield status
          last = status
        }
      }
    } finally {
      alarm.stop()
    }
  }

  /** Answers `undefined` for a cache that is away but may come back. */
  async #statusOrOutage(token: string, seenAt: number): Promise<JobStatus | undefined> {
    try {
      return await this.status(token)
    } catch (error) {
      const isOutage = AfterJobsError.is(error) && error.code === 'CACHE_UNAVAILABLE'
      if (!isOutage || Date.now() - seenAt >= OUTAGE_LIMIT) throw error
      return undefined
    }
  }

  /** Tells whether a job has waited so long that someone must ask whether anything will run it. */
  #isLate(record: JobRecord): boolean {
    if (record.status !== 'pending') return false
    // The signs of life of a held job are no news to whoever waits for a worker.
    const since = record.dueAt ?? (record.attempt === 0 ? record.createdAt : record.updatedAt)
    return Date.now() - since >= HINT_AFTER
  }

  async #hintOf(record: JobRecord): Promise<'no_worker' | null> {
    return this.#isLate(record) && (await this.#countWorkers()) === 0 ? 'no_worker' : null
  }

  #countWorkers(): Promise<number | undefined> {
    return this.#workers.get('workers', ASK_INTERVAL, async () => {
      // A hint that comes late is none: the queue may have been asked for the job before.
      const health = this.#ask(this.#parts.queue.health(), ANSWER_LIMIT - QUEUE_LIMIT)
      return health.then(({ workers }) => workers).catch(() => undefined)
    })
  }

  /** The queue may still know a token whose record is gone. */
  async #lookUpMissing(token: string): Promise<JobRecord | undefined> {
    const interval = this.#parts.queue.transactional === undefined ? ABSENT_INTERVAL : UNCOMMITTED_INTERVAL
    const lookup = await this.#missing.get(token, interval, () => this.#lookUp(token))
    const at = Date.now()
    const birth = birthOf(lookup, at)
    switch (lookup.state) {
      case 'ended':
        if (lookup.outcome === undefined) return undefined
        return this.#store(token, { type: 'finished', at, outcome: lookup.outcome, birth }, undefined)
      // Nothing is stored for a job that lives: its worker will, and a record made here would stand in its way.
      case 'active':
        return transition(undefined, { type: 'started', at, runId: 0, attempt: 1, birth })
      case 'waiting':
      case 'lost':
        return transition(undefined, { type: 'queued', at, birth })
      default:
        return undefined
    }
  }

  #isStale(record: JobRecord): boolean {
    if (isFinal(record.status)) return false
    const limit = record.status === 'running' ? STALE_RUNNING : 2 * this.#parts.enqueueTimeout
    return Date.now() - Math.max(record.updatedAt, record.dueAt ?? 0) > limit
  }

  /** Nothing stays pending or running for ever, and nothing alive is declared dead: the queue decides. */
  async #reconcile(token: string, record: JobRecord): Promise<JobRecord | undefined> {
    const lookup = await this.#stale.get(token, ASK_INTERVAL, () => this.#lookUp(token))
    const change = await this.#changeFor(token, record, lookup)
    if (change !== undefined) return this.#store(token, change, record)
    // What is absent has perhaps just ended.
    return lookup.state === 'absent' ? this.#parts.store.read(token) : record
  }

  async #changeFor(token: string, record: JobRecord, lookup: JobLookup): Promise<JobChange | undefined> {
    const at = Date.now()
    const birth = { ...record, delay: 0 }
    switch (lookup.state) {
      case 'active':
      case 'unknown':
        return undefined
      // Whoever hands a job back says so before the queue does: one that runs and waits has lost its worker.
      case 'waiting':
      case 'lost':
        return record.status === 'running' ? { type: 'lost', at, runId: record.runId } : undefined
      case 'ended':
        return { type: 'finished', at, outcome: lookup.outcome ?? LOST, birth }
      case 'absent':
        // One that was just taken, or has just ended, may be absent for a moment.
        if (at - (await this.#firstAbsence(token, record.version, at)) <= 2 * this.#parts.enqueueTimeout)
          return undefined
        return { type: 'finished', at, outcome: LOST, birth }
      default:
        return lookup satisfies never
    }
  }

  /** Stores a conclusion over the very record that it was drawn from; a newer one is the better answer. */
  async #store(token: string, change: JobChange, record: JobRecord | undefined): Promise<JobRecord | undefined> {
    const applied = await this.#parts.store.applyOnce(token, change, record)
    return applied === undefined ? this.#parts.store.read(token) : applied.record
  }

  /** Begins anew whenever the record has moved: then somebody is alive who moves it. */
  async #firstAbsence(token: string, version: number, at: number): Promise<number> {
    const ask = () => this.#absentSince.get(token, 20 * this.#parts.enqueueTimeout, async () => ({ version, at }))
    const known = await ask()
    if (known.version === version) return known.at
    this.#absentSince.delete(token)
    return (await ask()).at
  }

  /** A queue that does not answer has nothing to say. */
  async #lookUp(token: string): Promise<JobLookup> {
    try {
      const lookup = await this.#ask(this.#parts.queue.find(token))
      if (lookup.state !== 'absent') this.#absentSince.delete(token)
      return lookup
    } catch (error) {
      this.#parts.log.error?.({ err: error }, 'the queue could not be asked for a job')
      return { state: 'unknown' }
    }
  }

  #ask<T>(call: Promise<T>, limit: number = QUEUE_LIMIT): Promise<T> {
    if (this.#parts.queue.immediate !== undefined) return call
    return withTimeLimit(call, limit, () => new Error(`The queue gave no answer within ${limit} ms`))
  }
}

type Show<T> = (token: string, record: JobRecord, hint: 'no_worker' | null) => T

const show: Show<JobStatus> = (token, record, hint) => {
  const status = toStatus(token, record, hint) as DoneStatus
  // A copy, because a record in memory is shared by all who read it.
  status.result = copyData(record.result)
  return status
}

/** Shows what is for servers, too. */
const showWhole: Show<JobStatusRecord> = (token, record, hint) => {
  const status: JobStatusRecord = show(token, record, hint)
  status.context = copyData(record.context)
  status.dueAt = record.dueAt
  return status
}

/** A message is only believed where a worker would believe it. */
function birthOf(lookup: JobLookup, at: number): JobBirth {
  const envelope = 'envelope' in lookup ? lookup.envelope : undefined
  return envelope !== undefined && findFlaw(envelope) === undefined ? envelope : unknownBirth(at)
}

function isLast({ status }: JobStatus): boolean {
  return status === 'unknown' || isFinal(status)
}

/** Tells what this process has stored, but learned so late that it was overwritten and read by then. */
function isOlder(stored: JobRecord, last: JobStatus | undefined): boolean {
  return last !== undefined && last.status !== 'unknown' && stored.updatedAt < last.updatedAt
}

function hasNews(last: JobStatus, next: JobStatus): boolean {
  if (last.status === 'unknown' || next.status === 'unknown') return last.status !== next.status
  return WATCHED.some((field) => last[field] !== next[field])
}

const WATCHED = ['status', 'progress', 'label', 'message', 'attempt', 'hint'] as const

/** Wakes a watcher when its token changes in this process, and holds what was stored while nobody was waiting. */
class Alarm {
  readonly #signal: AbortSignal | undefined
  readonly #stopListening: () => void
  #stored: JobRecord | undefined
  #wake: () => void = () => {}

  constructor(changes: Bell<string, JobRecord>, token: string, signal: AbortSignal | undefined) {
    this.#signal = signal
    this.#stopListening = changes.listen(token, (record) => {
      this.#stored = record
      this.#wake()
    })
  }

  /** Takes the newest record that this process has stored since the last time. */
  take(): JobRecord | undefined {
    const stored = this.#stored
    this.#stored = undefined
    return stored
  }

  /** Waits for a ring, for `ms` milliseconds, or for the signal, whose reason it leaves to the caller. */
  wait(ms: number): Promise<void> {
    if (this.#stored !== undefined || this.#signal?.aborted) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer)
        this.#signal?.removeEventListener('abort', wake)
        resolve()
      }
      const timer = setTimeout(wake, Math.min(ms, MAX_TIMER))
      this.#signal?.addEventListener('abort', wake, { once: true })
      this.#wake = wake
    })
  }

  stop(): void {
    this.#stopListening()
  }
}

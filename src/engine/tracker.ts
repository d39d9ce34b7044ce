import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import {
  isFinal,
  type JobBirth,
  type JobChange,
  type JobOutcome,
  type JobRecord,
  type ProgressState,
  transition,
  unknownBirth,
} from '../core/status'
import { withTimeLimit } from '../core/timer'
import { incarnationOf } from '../core/token'
import type { ImmediateCache, JobCache } from '../ports/cache'

/** What came of a change: whether it was stored, and the newest record known. */
export interface Applied {
  isStored: boolean
  record: JobRecord | undefined
}

/** How long records live, in milliseconds: after the end, and before it. */
export interface Lifetimes {
  ttl: number
  liveTtl: number
}

/** The longest that a cache may take for an answer, in milliseconds; adapters have a shorter limit of their own. */
const CACHE_LIMIT = 2_500
/** What an adapter says of itself is told as it is. */
const OWN_CODES: readonly string[] = ['CACHE_UNAVAILABLE', 'MISSING_PACKAGE']
/** So many lost races in a row are no races: the store does not keep what it confirms. */
const MAX_RACES = 100

/** Applies changes to the records in a cache: reads, asks the rules, compares and sets, and begins again when it lost. */
export class RecordStore {
  readonly #cache: JobCache
  readonly #lifetimes: Lifetimes
  readonly #onStored: (token: string, record: JobRecord) => void

  constructor(cache: JobCache, lifetimes: Lifetimes, onStored: (token: string, record: JobRecord) => void) {
    this.#cache = cache
    this.#lifetimes = lifetimes
    this.#onStored = onStored
  }

  /** @throws AfterJobsError `CACHE_UNAVAILABLE` within 3 s. */
  read(token: string): Promise<JobRecord | undefined> {
    return this.#bound(this.#cache.read(token))
  }

  /** Reads without a promise; `undefined` also where the cache cannot do that. */
  peek(token: string): JobRecord | undefined {
    return this.#cache.immediate?.read(token)
  }

  /** Applies a change; `held` is the newest record that the caller knows of, so that no read is needed. */
  apply(token: string, change: JobChange, held?: JobRecord): Applied | Promise<Applied> {
    const { immediate } = this.#cache
    return immediate === undefined ? this.#race(token, change, held) : this.#applyNow(immediate, token, change)
  }

  /** Ends a job without a run of it; `birth` is what is known of one whose record is gone. */
  end(token: string, outcome: JobOutcome, birth: JobBirth = unknownBirth(Date.now())): Applied | Promise<Applied> {
    return this.apply(token, { type: 'finished', at: Date.now(), outcome, birth })
  }

  /** Where reading and writing take no time, nobody can come between them. */
  #applyNow(cache: ImmediateCache, token: string, change: JobChange): Applied {
    const record = cache.read(token, change.at)
    const next = transition(record, change)
    if (next === undefined) return { isStored: false, record }
    cache.write(token, next, this.#ttlOf(next), change.at)
    this.#onStored(token, next)
    return { isStored: true, record: next }
  }

  async #race(token: string, change: JobChange, held: JobRecord | undefined): Promise<Applied> {
    let record = held ?? (await this.read(token))
    for (let race = 0; race < MAX_RACES; race++) {
      const applied = await this.applyOnce(token, change, record)
      if (applied !== undefined) return applied
      record = await this.read(token)
    }
    throw new AfterJobsError('CACHE_UNAVAILABLE', `The cache refused ${MAX_RACES} writes of one record in a row.`, {
      token,
    })
  }

  /** Applies a change to this very record (`undefined`: to nothing); answers `undefined` when another one was stored. */
  async applyOnce(token: string, change: JobChange, record: JobRecord | undefined): Promise<Applied | undefined> {
    const next = transition(record, change)
    if (next === undefined) return { isStored: false, record }
    if (!(await this.#bound(this.#cache.write(token, next, this.#ttlOf(next))))) return undefined
    this.#onStored(token, next)
    return { isStored: true, record: next }
  }

  /** Creates the record of a new job; one that a worker created meanwhile stays as it is. */
  create(envelope: JobEnvelope, at: number): Applied | undefined | Promise<Applied | undefined> {
    const { token } = envelope
    const { immediate } = this.#cache
    if (immediate !== undefined) return this.#applyNow(immediate, token, queued(envelope, at))
    return this.applyOnce(token, queued(envelope, at, incarnationOf(token)), undefined)
  }

  /** Applies the start of a run. A first start mostly finds the record as `create` made it, so it is not read before. */
  claim(envelope: JobEnvelope, change: JobChange & { type: 'started' }): Applied | Promise<Applied> {
    const isFirst = change.attempt === 1 && this.#cache.immediate === undefined
    const { token, createdAt } = envelope
    const expected = isFirst ? transition(undefined, queued(envelope, createdAt, incarnationOf(token))) : undefined
    return this.apply(token, change, expected)
  }

  /** Creates the records of many new jobs in one call. */
  async createMany(envelopes: readonly JobEnvelope[], at: number): Promise<void> {
    const entries = envelopes.map((birth) => {
      const record = transition(undefined, queued(birth, at, incarnationOf(birth.token))) as JobRecord
      return { token: birth.token, record, ttl: this.#ttlOf(record) }
    })
    await this.#bound(this.#cache.writeMany(entries))
    for (const { token, record } of entries) this.#onStored(token, record)
  }

  #ttlOf(record: JobRecord): number {
    if (isFinal(record.status)) return this.#lifetimes.ttl
    const wait = record.dueAt === null ? 0 : Math.max(0, record.dueAt - record.updatedAt)
    return wait + this.#lifetimes.liveTtl
  }

  #bound<T>(call: Promise<T>): Promise<T> {
    if (this.#cache.isLocal) return call
    return withTimeLimit(call, CACHE_LIMIT, () => unavailable(undefined)).catch((error) => {
      throw AfterJobsError.is(error) && OWN_CODES.includes(error.code) ? error : unavailable(error)
    })
  }
}

function queued(birth: JobEnvelope, at: number, incarnation?: number): JobChange {
  return { type: 'queued', at, birth, incarnation }
}

function unavailable(cause: unknown): AfterJobsError {
  const message = 'The cache of job statuses cannot be reached. Check that its store is up.'
  return new AfterJobsError('CACHE_UNAVAILABLE', message, cause === undefined ? {} : { cause })
}

/** What a tracker needs of its run. */
export interface TrackerHost {
  readonly runId: number
  readonly envelope: JobEnvelope
  readProgress(): ProgressState
  /** Is told of each progress that was stored. */
  onProgress(state: JobRecord): void
  /** Is told when the record no longer belongs to the run: it has ended, or another run took it over. */
  onFenced(record: JobRecord): void
  onTrouble(error: unknown): void
}

/** At most one progress write in so many milliseconds. */
export const WRITE_INTERVAL = 250
/** A run that has nothing to tell shows after so many milliseconds that it is alive. */
const BEAT_INTERVAL = 5_000

/** The one writer of a running job's record. */
export class Tracker {
  readonly #store: RecordStore
  readonly #host: TrackerHost
  #record: JobRecord
  /** By a clock that nobody sets; not asked before somebody wants to know, because most small jobs end first. */
  #lastWrite: number | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #writing: Promise<void> | undefined
  #isStopped = false

  constructor(store: RecordStore, host: TrackerHost, record: JobRecord) {
    this.#store = store
    this.#host = host
    this.#record = record
  }

  /** Writes the progress soon: at once when the last write is long ago. A million calls make one timer. */
  touch(): void {
    if (this.#timer !== undefined || this.#isStopped) return
    this.#lastWrite ??= performance.now() - Math.max(0, Date.now() - this.#record.updatedAt)
    const wait = Math.max(0, this.#lastWrite + WRITE_INTERVAL - performance.now())
    this.#timer = setTimeout(() => this.#write(), wait)
    this.#timer.unref?.()
  }

  /** Refreshes the record of a run that has been silent. */
  beat(now: number): void {
    this.#lastWrite ??= now
    if (now - this.#lastWrite >= BEAT_INTERVAL && this.#writing === undefined) this.#write(true)
  }

  /** Stores the end of the run. Rejects when the cache cannot be reached; may then be called again. */
  finish(outcome: JobOutcome): Applied | Promise<Applied> {
    const writing = this.stop()
    return writing === undefined ? this.#finish(outcome) : writing.then(() => this.#finish(outcome))
  }

  #finish(outcome: JobOutcome): Applied | Promise<Applied> {
    const { runId, envelope } = this.#host
    const last = this.#host.readProgress()
    const change: JobChange = { type: 'finished', at: Date.now(), runId, outcome, last, birth: envelope }
    return this.#store.apply(envelope.token, change, this.#record)
  }

  /** Stores that the job waits again: for its next attempt, or for another worker. */
  async giveBack(dueAt: number | null): Promise<Applied> {
    await this.stop()
    const change: JobChange = { type: 'returned', at: Date.now(), runId: this.#host.runId, dueAt }
    return this.#store.apply(this.#host.envelope.token, change, this.#record)
  }

  /** Writes no more progress; answers what is still being written. */
  stop(): Promise<void> | undefined {
    this.#isStopped = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    return this.#writing
  }

  #write(isBeat = false): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#writing !== undefined) return
    const state = this.#host.readProgress()
    const isNews = Math.min(99, state.progress) > this.#record.progress || state.label !== this.#record.label
    if (!isNews && !isBeat) return
    this.#lastWrite = performance.now()
    this.#writing = this.#send(this.#progressed(state), isNews)
  }

  async #send(change: JobChange, isNews: boolean): Promise<void> {
    try {
      this.#onApplied(await this.#store.apply(this.#host.envelope.token, change, this.#record), isNews)
    } catch (error) {
      this.#host.onTrouble(error)
    }
    this.#writing = undefined
    // What was reported while the write was under way, or could not be written, is still to come.
    if (!this.#isStopped && this.#isBehind()) this.touch()
  }

  #progressed(state: ProgressState): JobChange {
    return { type: 'progressed', at: Date.now(), runId: this.#host.runId, ...state }
  }

  #onApplied({ isStored, record }: Applied, isNews: boolean): void {
    if (isStored && record !== undefined) {
      this.#record = record
      if (isNews) this.#host.onProgress(record)
      return
    }
    // A record that was evicted is written anew at the end; there is nobody to give way to.
    if (record === undefined) return
    this.#isStopped = true
    this.#host.onFenced(record)
  }

  #isBehind(): boolean {
    const { progress, label } = this.#host.readProgress()
    return Math.min(99, progress) > this.#record.progress || label !== this.#record.label
  }
}

/** Beats for every running job of this process: one timer for all, alive only while there are some. */
export class Pulse {
  #timer: ReturnType<typeof setInterval> | undefined

  /** Beats until nothing runs any more. Stopping then, and not when the last job ends, spares a timer for each short job. */
  start(running: ReadonlyMap<string, { readonly tracker: Tracker | undefined }>): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => {
      const now = performance.now()
      for (const { tracker } of running.values()) tracker?.beat(now)
      if (running.size === 0) this.#stop()
    }, 1_000)
    this.#timer.unref?.()
  }

  #stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

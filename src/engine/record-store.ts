import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import {
  isFinal,
  type JobBirth,
  type JobChange,
  type JobOutcome,
  type JobRecord,
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

/** What tells a run from the others of its job. */
interface RunOf {
  readonly envelope: JobEnvelope
  readonly runId: number
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

  /** Stores that a job of this run waits again. */
  async giveBack({ envelope, runId }: RunOf, dueAt: number | null, held?: JobRecord): Promise<Applied> {
    const change: JobChange = { type: 'returned', at: Date.now(), runId, dueAt }
    const { isStored, record } = await this.apply(envelope.token, change, held)
    // A write whose answer was lost is refused when it is repeated.
    const isDone = record?.status === 'pending' && record.run === held?.run && record.crashes === held.crashes
    return { isStored: isStored || isDone, record }
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
    throw new AfterJobsError('CACHE_UNAVAILABLE', `The cache refused ${MAX_RACES} writes.`, {
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
    const stored = await this.#bound(this.#cache.writeMany(entries))
    for (const [index, { token, record }] of entries.entries()) if (stored[index]) this.#onStored(token, record)
  }

  #ttlOf(record: JobRecord): number {
    if (isFinal(record.status)) return this.#lifetimes.ttl
    const wait = record.dueAt === null ? 0 : Math.max(0, record.dueAt - record.updatedAt)
    return wait + this.#lifetimes.liveTtl
  }

  #bound<T>(call: Promise<T>): Promise<T> {
    const { immediate, isBounded } = this.#cache
    if (immediate !== undefined) return call
    const bounded = isBounded ? call : withTimeLimit(call, CACHE_LIMIT, unavailable)
    return bounded.catch((error) => {
      throw AfterJobsError.is(error) && OWN_CODES.includes(error.code) ? error : unavailable(error)
    })
  }
}

function queued(birth: JobEnvelope, at: number, incarnation?: number): JobChange {
  return { type: 'queued', at, birth, incarnation }
}

function unavailable(cause?: unknown): AfterJobsError {
  const message = 'The cache of job statuses cannot be reached. Check that its store is up.'
  return new AfterJobsError('CACHE_UNAVAILABLE', message, { cause })
}

import { AfterJobsError, reasonOf } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import type { JobOutcome } from '../core/status'
import { withTimeLimit } from '../core/timer'
import { type Aftermath, tags } from './aftermath'
import type { Log } from './log'
import type { Applied, RecordStore } from './record-store'

/** What refusals are decided with. */
export interface RefusalParts {
  readonly store: RecordStore
  readonly aftermath: Aftermath
  readonly log: Log
  readonly enqueueTimeout: number
  readonly inBackground: (work: Promise<unknown>) => void
}

/** What is left of the time at least, in milliseconds, to find out whether a job was refused. */
const LAST_TRY = 100
const REFUSED: JobOutcome = { status: 'error', code: 'enqueue_failed', message: 'The job could not be queued' }

/** Decides over jobs whose enqueue has failed: a queue that gave no answer may have taken them. */
export class Refusals {
  readonly #parts: RefusalParts
  /** Those that were not stored in time, by token: whether they are after all. */
  readonly #undecided = new Map<string, Promise<boolean>>()

  constructor(parts: RefusalParts) {
    this.#parts = parts
  }

  /**
   * Decides whether a job that the queue seemed to refuse is refused: only if it has not started. Resolves to its token if it
   * has.
   *
   * @throws AfterJobsError; with `accepted: 'unknown'` where the cache does not answer in time.
   */
  async decide(envelope: JobEnvelope, cause: unknown, recorded: unknown, since: number = Date.now()): Promise<string> {
    const { store } = this.#parts
    const { token } = envelope
    const refuse = async () => {
      await recorded
      return store.end(token, REFUSED, envelope)
    }
    const refusal = refuse()
    try {
      const left = Math.max(0, since + this.#parts.enqueueTimeout - Date.now())
      const applied = await withTimeLimit(refusal, Math.max(left, LAST_TRY), () => new Error('no time is left'))
      if (!isRefused(applied)) return token
    } catch {
      this.#decideLater(envelope, cause, refusal)
      throw enqueueError(envelope, cause, 'unknown')
    }
    throw this.#announceRefusal(envelope, cause)
  }

  /** One that a worker has started was accepted after all; a batch of which any was refused is a failure. */
  async decideAll(envelopes: readonly JobEnvelope[], cause: unknown, recorded: unknown): Promise<string[]> {
    const tries = envelopes.map((envelope) => this.decide(envelope, cause, recorded, envelope.createdAt))
    const results = await Promise.allSettled(tries)
    const accepted = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    const failure = results.find((result) => result.status === 'rejected')
    if (failure === undefined) return accepted
    const { code, message, cause: reason } = failure.reason as AfterJobsError
    throw new AfterJobsError(code, message, { cause: reason, accepted })
  }

  /** Compensates for a job that was not accepted, where no caller hears of it. Resolves when it is decided that it was not. */
  async compensate(envelope: JobEnvelope, service: object, error: unknown): Promise<void> {
    const { aftermath, log, inBackground } = this.#parts
    const isDecided = AfterJobsError.is(error) && error.accepted === undefined
    if (isDecided || (await this.#undecided.get(envelope.token))) {
      const reason = isDecided ? error : enqueueError(envelope, (error as AfterJobsError).cause)
      return inBackground(aftermath.compensateUnrun(envelope, 0, service, reason))
    }
    // One of which nobody can tell whether it was accepted may still run, and then compensates for itself.
    log.error?.(tags(envelope, error), 'job may not have been queued')
  }

  /** A refusal that comes too late for the answer is one all the same. */
  #decideLater(envelope: JobEnvelope, cause: unknown, refusal: Promise<Applied>): void {
    const { token } = envelope
    const decision = refusal.then(
      (applied) => {
        if (isRefused(applied)) this.#announceRefusal(envelope, cause)
        return isRefused(applied)
      },
      () => false,
    )
    this.#undecided.set(token, decision)
    void decision.then(() => this.#undecided.delete(token))
  }

  #announceRefusal(envelope: JobEnvelope, cause: unknown): AfterJobsError {
    const error = enqueueError(envelope, cause)
    this.#parts.aftermath.announce(envelope, 0, REFUSED, error)
    return error
  }
}

/** The refusal may have been stored by a write whose answer was lost. */
function isRefused({ isStored, record }: Applied): boolean {
  return isStored || record?.code === 'enqueue_failed'
}

/** Tells that a job was not queued, or that nobody can tell. */
export function enqueueError(
  { hook, service, token }: JobEnvelope,
  cause: unknown,
  accepted?: 'unknown',
): AfterJobsError {
  const isOwn = AfterJobsError.is(cause) && cause.code !== 'QUEUE_UNAVAILABLE'
  // One of our own is told anew, with the token: what lies beneath it is the cause.
  const details = { cause: (isOwn && cause.cause) || cause, token, ...(accepted && { accepted }) }
  if (isOwn) return new AfterJobsError(cause.code, cause.message, details)
  const certainty = accepted ? 'Nobody can tell whether the queue accepted' : 'The queue did not accept'
  return new AfterJobsError(
    'ENQUEUE_FAILED',
    `${certainty} ${service}.${hook}: ${reasonOf(cause)}. Check that the queue is up.`,
    details,
  )
}

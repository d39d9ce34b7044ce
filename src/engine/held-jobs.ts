import type { JobEnvelope } from '../core/job'
import { CANCELLED, type JobOutcome } from '../core/status'
import { tags } from './aftermath'
import type { Log } from './log'
import type { RecordStore } from './record-store'
import type { HeldJob, TransactionOwner } from './transaction'

/** What held jobs are handled with. */
export interface HeldJobsParts {
  readonly store: RecordStore
  readonly log: Log
  /** Hands one to the queue. @throws AfterJobsError, with `accepted: 'unknown'` where nobody can tell. */
  readonly send: (job: HeldJob) => string | Promise<string>
  /** Compensates for one that was not accepted: what was written stays written, and nothing rejects. */
  readonly onRefused: (job: HeldJob, error: unknown) => Promise<void>
  /** Takes jobs back that are in the caller's own transaction. Never rejects. */
  readonly withdraw: (jobs: readonly JobEnvelope[], db: unknown) => Promise<void>
}

/** So many jobs are on their way to the queue at once. */
const IN_FLIGHT = 100
const DROPPED: JobOutcome = { ...CANCELLED, message: 'The transaction was rolled back' }

/** Keeps the jobs of transactions alive until they are queued or dropped. */
export class HeldJobs implements TransactionOwner {
  readonly #parts: HeldJobsParts
  readonly withdraw: HeldJobsParts['withdraw']

  constructor(parts: HeldJobsParts) {
    this.#parts = parts
    this.withdraw = parts.withdraw
  }

  async refresh(jobs: readonly HeldJob[]): Promise<void> {
    await inPortions(jobs, async ({ envelope }) => {
      await this.#parts.store.apply(envelope.token, { type: 'held', at: Date.now() })
    }).catch((error) => this.#parts.log.error?.({ err: error }, 'the jobs of a transaction could not be kept alive'))
  }

  release(jobs: readonly HeldJob[]): Promise<void> {
    return inPortions(jobs, async (job) => {
      try {
        await this.#parts.send(job)
      } catch (error) {
        await this.#parts.onRefused(job, error)
      }
    })
  }

  drop(jobs: readonly HeldJob[]): Promise<void> {
    return inPortions(jobs, async ({ envelope }) => {
      try {
        await this.#parts.store.end(envelope.token, DROPPED, envelope)
        this.#parts.log.debug?.(tags(envelope), 'job dropped: its transaction was rolled back')
      } catch (error) {
        this.#parts.log.error?.(tags(envelope, error), 'the end of a dropped job could not be stored')
      }
    })
  }
}

async function inPortions<T>(items: readonly T[], handle: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += IN_FLIGHT) {
    await Promise.all(items.slice(start, start + IN_FLIGHT).map(handle))
  }
}

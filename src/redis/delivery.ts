import type { Job } from 'bullmq'
import { Lock } from '../core/lock'
import type { JobOutcome } from '../core/status'
import { sleep } from '../core/timer'
import type { JobAnswer, JobDelivery, JobRun } from '../ports/queue'
import { endOf, OWN_BACKOFF, toEnvelope, toReason } from './message'

/** The package, which is there only once it was loaded. */
export type BullMq = typeof import('bullmq')

/** The pause before a job is handed back again to a Redis that was away. */
const RETRY_PAUSE = 1_000

/** An attempt that failed and is to be repeated. It has no stack, so that none is stored. */
class Retry extends Error {
  readonly delay: number

  constructor(delay: number) {
    super('attempt failed')
    this.delay = delay
    this.stack = ''
  }
}

/** Reads the delay of the next attempt out of the error that asked for it. */
export function delayOf(type: string | undefined, error: Error | undefined): number {
  return type === OWN_BACKOFF && error instanceof Retry ? error.delay : 0
}

/** One job in the hands of this process. */
export class Delivery extends Lock implements JobDelivery {
  readonly job: Job
  readonly attempt: number
  readonly outcome: JobOutcome | undefined

  constructor(job: Job) {
    super()
    this.job = job
    this.attempt = job.attemptsMade + 1
    this.outcome = endOf(job.data)
  }

  /** The first start frees the dedupe key; BullMQ would keep it until the end. */
  async onStart(): Promise<void> {
    if (this.job.deduplicationId === undefined) return
    // Where Redis is away BullMQ frees the key with the end of the job.
    await this.job.removeDeduplicationKey().catch(() => {})
  }
}

/** Runs a delivery, and tells BullMQ what became of it. */
export async function deliver(bullmq: BullMq, run: JobRun, delivery: Delivery, lock: string): Promise<unknown> {
  const { job } = delivery
  return settle(bullmq, delivery, lock, await run(toEnvelope(job.id, job.data), delivery))
}

/** Tells BullMQ what became of a delivery, in its own terms: a value, or an error that it knows. */
async function settle(bullmq: BullMq, delivery: Delivery, lock: string, answer: JobAnswer): Promise<unknown> {
  switch (answer.type) {
    case 'completed':
      return answer.outcome
    case 'failed': {
      const { outcome } = answer
      const error = new bullmq.UnrecoverableError(outcome.status === 'error' ? toReason(outcome) : 'done')
      error.stack = ''
      throw error
    }
    case 'retry':
      throw new Retry(Math.ceil(answer.delay))
    case 'handed back':
      await handBack(delivery, lock, answer.delay)
      throw new bullmq.DelayedError()
    default:
      return answer satisfies never
  }
}

/** Puts a job back, as often as it takes: an error here would make BullMQ fail the job. */
async function handBack(delivery: Delivery, lock: string, delay: number): Promise<void> {
  while (!delivery.isLost) {
    try {
      // Never straight to the waiting ones, of which no sleeping worker would hear.
      await delivery.job.moveToDelayed(Date.now() + Math.max(1, Math.ceil(delay)), lock)
      return
    } catch (error) {
      // Another worker has the job by now.
      if (isRefusal(error)) return
    }
    await sleep(RETRY_PAUSE)
  }
}

/** Tells whether BullMQ itself said no, which it does with a number: Redis was there, and the job was not ours any more. */
export function isRefusal(error: unknown): boolean {
  return typeof (error as { code?: unknown } | null)?.code === 'number'
}

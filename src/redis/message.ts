import { dedupeKey, type JobEnvelope } from '../core/job'
import { isObject } from '../core/json'
import { CANCELLED, isJobErrorCode, type JobOutcome, UNEXPECTED_FAILURE } from '../core/status'

/** BullMQ runs lower priorities first, from 1 on; 0 would overtake them all. */
const LOWEST = 1_001

/** The options of a job in BullMQ, as far as they are used here. */
export interface MessageOptions {
  jobId: string
  priority: number
  delay?: number
  attempts?: number
  backoff?: { type: string }
  deduplication?: { id: string }
}

/** The backoff that our workers compute, because only the answer to a delivery knows it. */
export const OWN_BACKOFF = 'after-jobs'

/** Says how BullMQ is to keep a job. */
export function toOptions(envelope: JobEnvelope): MessageOptions {
  const { token, delay, priority, attempts, dedupe } = envelope
  return {
    // The token: the same job twice is one job.
    jobId: token,
    priority: LOWEST - priority,
    ...(delay > 0 && { delay: Math.ceil(delay) }),
    ...(attempts > 1 && { attempts, backoff: { type: OWN_BACKOFF } }),
    ...(dedupe !== null && { deduplication: { id: dedupeKey(envelope) } }),
  }
}

/** Reads the envelope out of a message, whoever wrote it: the runtime checks what it gets. */
export function toEnvelope(token: string | undefined, data: unknown): JobEnvelope {
  return { ...toFields(data), token } as JobEnvelope
}

/** Marks a message as one of a job that was cancelled, because its status may have expired before a worker takes it. */
export function markCancelled(data: unknown): object {
  return { ...toFields(data), cancelled: true }
}

/** Reads how a job has ended that still waits, where it has. */
export function endOf(data: unknown): JobOutcome | undefined {
  return (toFields(data) as { cancelled?: unknown }).cancelled === true ? CANCELLED : undefined
}

function toFields(data: unknown): object {
  return isObject(data) ? data : {}
}

/** Writes down why a job failed, for BullMQ and whoever looks into it. What was not meant for users stays out of the queue. */
export function toReason({ code, message }: JobOutcome & { status: 'error' }): string {
  return `${code}: ${code === 'unexpected' ? UNEXPECTED_FAILURE : message}`
}

/** Reads how a job ended; `undefined` for what no worker of ours wrote. */
export function toOutcome(returned: unknown, reason: string | undefined): JobOutcome | undefined {
  const [, code, message] = /^(\w+): (.*)$/s.exec(reason ?? '') ?? []
  if (isJobErrorCode(code)) return { status: 'error', code, message: message ?? '' }
  const isOurs = isObject(returned) && 'status' in returned && returned.status === 'done'
  return isOurs ? (returned as JobOutcome) : undefined
}

import { createHash } from 'node:crypto'
import { dedupeKey, type JobEnvelope } from '../core/job'
import { isObject } from '../core/json'
import { isJobErrorCode, type JobOutcome, UNEXPECTED_FAILURE } from '../core/status'

/** What `jsonb` refuses, though JSON has it: the character 0, and halves of surrogate pairs. */
const NOT_IN_JSONB = /\\u(0000|d[89a-f])/i

/** A job on its way into the database: token, data, priority, milliseconds of delay, and hashed dedupe key. */
export type MessageRow = readonly [string, JobEnvelope | string, number, number, string | null]

/** Says how pg-boss is to keep a job. */
export function toRow(envelope: JobEnvelope): MessageRow {
  const { token, delay, priority, dedupe } = envelope
  // Hashed, because an index takes no text of any length.
  const key = dedupe === null ? null : createHash('sha256').update(dedupeKey(envelope)).digest('hex')
  return [token, envelope, priority, Math.ceil(delay), key]
}

/** Writes rows as one parameter: every driver and query builder can carry a text. */
export function writeRows(rows: readonly MessageRow[]): string {
  const text = JSON.stringify(rows)
  if (!NOT_IN_JSONB.test(text)) return text
  return JSON.stringify(rows.map(([token, data, ...rest]) => [token, toJsonb(data), ...rest]))
}

/** Makes a value one that `jsonb` takes: as a text where it must be. */
function toJsonb<T>(value: T): T | string {
  const text = JSON.stringify(value)
  return NOT_IN_JSONB.test(text) ? text : value
}

/** Reads the envelope out of a row, whoever wrote it: the runtime checks what it gets. */
export function toEnvelope(token: string, text: string | null): JobEnvelope {
  const data = readJsonb(text)
  return { ...(typeof data === 'object' ? data : null), token } as JobEnvelope
}

/** Reads the number of attempts that have failed out of what the last one left. */
export function toFailures(attempt: string | null): number {
  const count = Number(attempt)
  return Number.isInteger(count) && count > 0 ? count : 0
}

/** Says what is kept of an end. What was not meant for users stays out of the queue. */
export function toOutput(outcome: JobOutcome): unknown {
  const isPrivate = outcome.status === 'error' && outcome.code === 'unexpected'
  return toJsonb(isPrivate ? { ...outcome, message: UNEXPECTED_FAILURE } : outcome)
}

/** Reads how a job ended; `undefined` for what no worker of ours wrote. */
export function toOutcome(text: string | null): JobOutcome | undefined {
  const output = readJsonb(text)
  if (!isObject(output) || !('status' in output)) return undefined
  if (output.status === 'done') return output as JobOutcome
  const { code, message } = output as { code?: unknown; message?: unknown }
  const isOurs = output.status === 'error' && isJobErrorCode(code)
  return isOurs && typeof message === 'string' ? (output as JobOutcome) : undefined
}

function readJsonb(text: string | null): unknown {
  try {
    const value: unknown = text === null ? null : JSON.parse(text)
    return typeof value === 'string' ? JSON.parse(value) : value
  } catch {
    return null
  }
}

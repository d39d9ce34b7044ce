import type { JsonValue } from '../core/json'
import type { JobStatusRecord } from '../core/runtime'
import { isFinal, UNEXPECTED_FAILURE, unknownStatus } from '../core/status'
import { secondsUntilNews } from './pace'

/** What a face sends. The body is left out where the method is HEAD. */
export interface HttpAnswer {
  readonly status: number
  /** The media type of the body, where there is one. */
  readonly type?: string
  readonly body: string
  /** The methods that the path has. */
  readonly allow?: string
  /** Whole seconds (RFC 9110 §10.2.3). */
  readonly retryAfter?: string
}

/** What a watcher reads instead of the message of an unexpected error, which can hold internals. */
const HIDDEN_MESSAGE = `${UNEXPECTED_FAILURE}.`
const JSON_TYPE = 'application/json; charset=utf-8'

/** One and the same for a token that is unknown, malformed or another's, so that nobody can tell them apart. */
export const UNKNOWN: HttpAnswer = { status: 404, type: JSON_TYPE, body: JSON.stringify(unknownStatus()) }

/** Accepts a start, whatever becomes of it. */
export const ACCEPTED: HttpAnswer = { status: 202, type: JSON_TYPE, body: '{}' }

/** Answers a path that leads nowhere. */
export const NOT_FOUND: HttpAnswer = problem(404, 'Not Found')

/** Answers while the cache cannot be reached. */
export const UNAVAILABLE: HttpAnswer = { ...problem(503, 'Service Unavailable'), retryAfter: '2' }

/** Answers while this process has as many streams as it can bear. */
export const BUSY: HttpAnswer = { ...UNAVAILABLE, retryAfter: '30' }

/** Tells an `EventSource` that has had the final status to come back no more: only this code stops it. */
export const NO_CONTENT: HttpAnswer = { status: 204, body: '' }

/** Answers a mistake of ours; the log has the rest. */
export const FAILED: HttpAnswer = problem(500, 'Internal Server Error')

/** Answers a method that the path does not have (RFC 9110 §15.5.6). */
export function methodNotAllowed(methods: readonly string[]): HttpAnswer {
  return { ...problem(405, 'Method Not Allowed'), allow: methods.join(', ') }
}

/** Shows a job to its watcher. */
export function statusAnswer(record: JobStatusRecord, exposeErrors: boolean): HttpAnswer {
  if (record.status === 'unknown') return UNKNOWN
  const body = statusBody(record, exposeErrors)
  if (isFinal(record.status)) return { status: 200, type: JSON_TYPE, body }
  return { status: 200, type: JSON_TYPE, body, retryAfter: String(secondsUntilNews(record, Date.now())) }
}

/** Writes a status as JSON: an error's internals only where they are exposed, and never what is for servers. */
export function statusBody(record: JobStatusRecord, exposeErrors: boolean): string {
  if (record.status === 'unknown') return UNKNOWN.body
  const isHidden = !exposeErrors && record.status === 'error' && record.code === 'unexpected'
  return writeStatus(record, isHidden ? HIDDEN_MESSAGE : record.message)
}

/** Lists the headers of an answer, apart from `Content-Length`. */
export function headersOf({ type, allow, retryAfter }: HttpAnswer): Record<string, string> {
  // Not by spreads: copying objects would take longer than all else between the record and the socket.
  const headers: Record<string, string> = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' }
  if (type !== undefined) headers['Content-Type'] = type
  if (allow !== undefined) headers.Allow = allow
  if (retryAfter !== undefined) headers['Retry-After'] = retryAfter
  return headers
}

type KnownStatus = Exclude<JobStatusRecord, { status: 'unknown' }>

/**
 * Writes the fields one by one, so that the `context`, and whatever a record may hold one day, stays inside; and as text,
 * for which `JSON.stringify` takes twice as long, and that is half of what a poll costs beside the server.
 */
function writeStatus(record: KnownStatus, message: string | null): string {
  return (
    `{"token":"${record.token}","status":"${record.status}","progress":${record.progress},` +
    `"label":${json(record.label)},"message":${json(message)},"code":${json(record.code)},` +
    `"attempt":${record.attempt},"attempts":${record.attempts},"result":${json(record.result)},` +
    `"parent":${json(record.parent)},"hint":${json(record.hint)},"createdAt":${record.createdAt},` +
    `"startedAt":${json(record.startedAt)},"updatedAt":${record.updatedAt},"finishedAt":${json(record.finishedAt)}}`
  )
}

function json(value: JsonValue | undefined): string {
  return value == null ? 'null' : JSON.stringify(value)
}

/** Describes a failure in the form of RFC 9457, with nothing in it that the status does not say already. */
function problem(status: number, title: string): HttpAnswer {
  const body = JSON.stringify({ type: 'about:blank', title, status })
  return { status, type: 'application/problem+json', body }
}

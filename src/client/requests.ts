import type { JobStatus } from '../core/status'
import type { Answer } from './polling'

/** The part of the standard `fetch` that a watch uses. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>

/** The response's code, then the status and the progress in its body: what counts as an answer. */
const ANSWER = /^(2\d\d (pending|running|done|error|unknown)|404 unknown) \d/
/** Any 4xx but 429, which only asks for patience. */
const REFUSAL = /^4(?!29)/

/**
 * Asks for a status once.
 *
 * @returns an answer without a status after a network error, a 5xx, a 429, or a body that is no status.
 * @throws the Response of another 4xx; the TypeError of a URL that `fetch` cannot parse.
 */
export async function requestStatus(url: string, fetch: Fetch, signal: AbortSignal): Promise<Answer<JobStatus>> {
  let response: Response | undefined
  let status: JobStatus | undefined
  try {
    response = await fetch(url, { signal })
    // A clone, so that whoever gets the response of a 4xx can still read its body.
    const body: JobStatus = await response.clone().json()
    if (isStatus(response.status, body)) status = body
  } catch (error) {
    // Asking again does not mend a URL: in Node, a path without an origin.
    if (/Invalid URL/.test(String((error as Error | undefined)?.cause))) throw error
  }
  if (!status && REFUSAL.test(String(response?.status))) throw response
  return [status, readRetryAfter(response)]
}

/** Tells whether what came with a code, from whatever server, is a status. */
export function isStatus(code: number, body: JobStatus): boolean {
  return ANSWER.test(`${code} ${body.status} ${body.progress}`)
}

/** Asks a server without a worker to run a job: `/start` beside `/status/{token}`. No answer to it counts. */
export async function requestStart(statusUrl: string, fetch: Fetch, signal: AbortSignal): Promise<void> {
  try {
    await fetch(statusUrl.replace(/(\/status\/[^/?]*)?\/?(\?.*)?$/, '/start$2'), { method: 'POST', signal })
  } catch {}
}

/** Reads `Retry-After` (RFC 9110 §10.2.3), seconds or a date: above 1 s it counts, up to 30 s. */
function readRetryAfter(response: Response | undefined): number {
  const value = response?.headers.get('Retry-After') ?? ''
  const ms = Number(value) * 1000 || Date.parse(value) - Date.now()
  return ms > 1000 ? Math.min(ms, 30_000) : 0
}

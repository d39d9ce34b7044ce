import type { AfterJobs, JobStatusRecord, RecordReader } from '../core/runtime'
import { shortToken } from '../core/token'
import { FAILED, type HttpAnswer, statusAnswer, UNAVAILABLE, UNKNOWN } from './answers'
import type { HandlerSettings, JobAccess, JobAction, JobAuthorize } from './options'

/** Answers a well-formed token with what this caller may have of its job, cancelled if that was asked. Never rejects. */
export type JobResponder<R> = (request: R, token: string, action: JobAction) => HttpAnswer | Promise<HttpAnswer>

/** Makes the one door through which a request gets at a job. */
export function createJobResponder<R>(jobs: AfterJobs, settings: HandlerSettings<R>): JobResponder<R> {
  const { authorize, exposeErrors } = settings
  return (request, token, action) => {
    // Once a scope is open in the process, Node 20 makes each promise dear; the poll of an open status needs none.
    if (authorize === undefined && action === 'read') {
      const record = readNow(jobs, token)
      if (record !== undefined) return show(record, token)
    }
    return respond(request, token, action)
  }

  async function respond(request: R, token: string, action: JobAction): Promise<HttpAnswer> {
    let record: JobStatusRecord
    try {
      record = await jobs.record(token)
      if (record.status === 'unknown') return UNKNOWN
      if (authorize !== undefined) {
        const access = { token, context: record.context ?? null, action }
        if (!(await isAllowed(jobs, authorize, request, access))) return UNKNOWN
      }
      if (action === 'cancel') {
        await jobs.cancel(token)
        record = await jobs.record(token)
      }
    } catch (error) {
      logError(jobs, `after-jobs: a job could not be ${action === 'read' ? 'read' : 'cancelled'}`, error, token)
      return UNAVAILABLE
    }
    return show(record, token)
  }

  function show(record: JobStatusRecord, token: string): HttpAnswer {
    try {
      return statusAnswer(record, exposeErrors)
    } catch (error) {
      logError(jobs, 'after-jobs: the status of a job could not be shown', error, token)
      return FAILED
    }
  }
}

/** Reads a record at once, where the runtime can; what goes wrong, the way with a promise meets as well. */
function readNow(jobs: AfterJobs, token: string): JobStatusRecord | undefined {
  try {
    return (jobs.record as RecordReader).now?.(token)
  } catch {
    return undefined
  }
}

/** Asks `authorize`, and takes whatever goes wrong there for a refusal. Never rejects. */
export async function isAllowed<R>(
  jobs: AfterJobs,
  authorize: JobAuthorize<R>,
  request: R,
  access: JobAccess,
): Promise<boolean> {
  try {
    // A truthy slip, such as the user who was found or a forgotten `await`, is not a permission.
    return (await authorize(request, access)) === true
  } catch (error) {
    logError(jobs, 'after-jobs: authorize threw, so the caller was refused', error, access.token)
    return false
  }
}

/** Tells the runtime's logger; one that throws itself costs no request its answer. */
export function logError(jobs: AfterJobs, message: string, error: unknown, token?: string): void {
  try {
    jobs.logger.error(token === undefined ? { err: error } : { err: error, token: shortToken(token) }, message)
  } catch {
    // There is nobody left to tell.
  }
}

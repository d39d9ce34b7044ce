import type { JobStatus } from '../core/status'

const BRAND = Symbol.for('after-jobs.job-failed')

/**
 * Reports that a watched job has failed, or that the server has not known it for 10 s. The message may be shown.
 *
 * @example
 * watch.done.catch((error) => { if (JobFailedError.is(error)) show(error.message) })
 */
export class JobFailedError extends Error {
  readonly status: JobStatus

  constructor(status: JobStatus) {
    super(status.message ?? 'The job does not exist, or has expired')
    this.status = status
    Object.assign(this, { name: 'JobFailedError', [BRAND]: true })
  }

  /** Tells whether a value is a JobFailedError of any copy of this library. */
  static is(value: unknown): value is JobFailedError {
    return (value as { [BRAND]?: true } | null | undefined)?.[BRAND] === true
  }
}

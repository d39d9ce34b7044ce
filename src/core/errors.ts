/** Codes of {@link AfterJobsError}, in the order in which a job can meet them. */
export type AfterJobsErrorCode =
  | 'INVALID_ACTION'
  | 'INVALID_ID'
  | 'INVALID_HOOK'
  | 'INVALID_OPTION'
  | 'INVALID_PAYLOAD'
  | 'INVALID_CONTEXT'
  | 'INVALID_RESULT'
  | 'INVALID_SERVICE'
  | 'ALREADY_APPLIED'
  | 'NO_JOB_NAME'
  | 'NO_SCOPE'
  | 'WRONG_TRANSACTION'
  | 'NO_WORKER'
  | 'MISSING_PACKAGE'
  | 'DATABASE_IN_USE'
  | 'QUEUE_FULL'
  | 'ENQUEUE_FAILED'
  | 'QUEUE_UNAVAILABLE'
  | 'CACHE_UNAVAILABLE'
  | 'CLOSED'

const BRAND = Symbol.for('after-jobs.error')
const JOB_BRAND = Symbol.for('after-jobs.job-error')

/** Facts that some errors carry beside their message. */
export interface AfterJobsErrorDetails {
  cause?: unknown
  /** The token of the job that the error is about. */
  token?: string
  /** `'unknown'` when nobody can tell whether the queue took the job; the tokens taken before a bulk failed half-way. */
  accepted?: 'unknown' | string[]
}

/**
 * Reports a mistake or an outage of the library: who, what was expected, what to do.
 *
 * Test `code`, or {@link AfterJobsError.is}, rather than `instanceof`: the ESM and the CommonJS build hold one class each.
 *
 * @example
 * try { await service.executeJob('after', 'create', id) }
 * catch (error) { if (AfterJobsError.is(error) && error.code === 'QUEUE_FULL') return reply.code(503) }
 */
export class AfterJobsError extends Error {
  readonly code: AfterJobsErrorCode
  declare readonly token?: string
  declare readonly accepted?: 'unknown' | string[]

  constructor(code: AfterJobsErrorCode, message: string, details: AfterJobsErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'AfterJobsError'
    this.code = code
    hide(this, 'token', details.token)
    hide(this, 'accepted', details.accepted)
    hide(this, BRAND, true)
  }

  /** Tells whether a value is an AfterJobsError of any copy of this library. */
  static is(value: unknown): value is AfterJobsError {
    return hasBrand(value, BRAND)
  }
}

/**
 * Fails a job for good, with a message that the user may read. Throw it in a hook; it is never retried.
 *
 * @example
 * if (!project) throw new JobError('The project does not exist')
 */
export class JobError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'JobError'
    hide(this, JOB_BRAND, true)
  }

  /** Tells whether a value is a JobError of any copy of this library. */
  static is(value: unknown): value is JobError {
    return hasBrand(value, JOB_BRAND)
  }
}

/** Sets what is not enumerable: a logger writes what is, and whoever reads a whole token in a log can follow the job. */
function hide(error: Error, name: PropertyKey, value: unknown): void {
  if (value !== undefined) Object.defineProperty(error, name, { value })
}

function hasBrand(value: unknown, brand: symbol): boolean {
  try {
    return typeof value === 'object' && value !== null && brand in value
  } catch {
    // A revoked proxy cannot be asked.
    return false
  }
}

/** Says why something failed, to go on with in a sentence. An error of several addresses has no message of its own. */
export function reasonOf(cause: unknown): string {
  const { message, code } = Object(cause) as { message?: unknown; code?: unknown }
  return String(message || code || cause).replace(/\.$/, '')
}

/** Tells that an option is not what was expected. */
export function invalidOption(message: string): AfterJobsError {
  return new AfterJobsError('INVALID_OPTION', message)
}

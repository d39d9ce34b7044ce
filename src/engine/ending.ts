import { JobError } from '../core/errors'
import { show } from '../core/job'
import { copyJson, tagOf } from '../core/json'
import { cleanText, type JobErrorCode, type JobOutcome } from '../core/status'

/** How a hook ended: what its status becomes, what its compensation is given, and whether another attempt may mend it. */
export interface Ending {
  readonly outcome: JobOutcome
  readonly error?: Error
  readonly isRetryable?: boolean
}

const DONE: Ending = { outcome: { status: 'done', result: null } }
const MAX_RESULT_BYTES = 65_536
/** Errors of hooks that ran inside of others, which another attempt could not mend. */
const FINAL = new WeakSet<Error>()

/** Marks an error as final for the job that throws it on. */
export function makeFinal(error: Error): Error {
  FINAL.add(error)
  return error
}

/** Reads what a hook returned. Never throws, whatever it is given. */
export function readReturn(value: unknown, hook: string): Ending {
  try {
    return readValue(value, hook)
  } catch (error) {
    return fail(
      'unexpected',
      `${hook} returned what cannot be read; expected nothing, 'done', 'error' or { result }.`,
      toError(error),
    )
  }
}

function readValue(value: unknown, hook: string): Ending {
  if (value === undefined || value === null || value === 'done') return DONE
  if (value === 'error') return fail('failed', `${hook} reported an error`)
  if (typeof value === 'object' && Object.hasOwn(value, 'result'))
    return readResult((value as { result: unknown }).result, hook)
  return fail('unexpected', `${hook} returned ${show(value)}; expected nothing, 'done', 'error' or { result }.`)
}

function readResult(result: unknown, hook: string): Ending {
  try {
    const bounds = { name: `The result of ${hook}`, code: 'INVALID_RESULT', maxBytes: MAX_RESULT_BYTES } as const
    return { outcome: { status: 'done', result: copyJson(result, bounds) ?? null } }
  } catch (error) {
    // The work is done and would give the same result again, so that a retry could only do harm.
    return { ...readThrown(error, hook), isRetryable: false }
  }
}

/** Reads what a hook threw: a JobError is meant, anything else is unexpected. Never throws. */
export function readThrown(thrown: unknown, hook: string): Ending {
  try {
    if (JobError.is(thrown)) return fail('failed', thrown.message || `${hook} failed without a message`, thrown)
    if (isError(thrown) && FINAL.has(thrown)) return fail('unexpected', thrown.message, thrown)
    const error = isError(thrown) ? thrown : new Error(`${hook} threw ${show(thrown)}`, { cause: thrown })
    return {
      ...fail('unexpected', error.message || `${hook} threw an error without a message`, error),
      isRetryable: true,
    }
  } catch (error) {
    return { ...fail('unexpected', `${hook} threw what cannot be read`, toError(error)), isRetryable: true }
  }
}

/** Asks for the shape: an error of another realm (vm, Jest) is no instance of this one's. */
function isError(value: unknown): value is Error {
  return value instanceof Error || tagOf(value) === 'Error'
}

/** Makes an error of whatever was thrown. */
export function toError(value: unknown): Error {
  return isError(value) ? value : new Error(String(value))
}

/** Makes the ending of a job that failed for good. */
export function fail(code: JobErrorCode, message: string, error: Error = new JobError(message)): Ending {
  return { outcome: { status: 'error', code, message: cleanText(message) }, error }
}

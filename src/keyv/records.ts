import { AfterJobsError } from '../core/errors'
import { isRecord } from '../core/record'
import type { JobRecord } from '../core/status'

/** Makes the value under which a Keyv keeps a record: the record itself, wherever every serializer can carry that. */
export function toValue(record: JobRecord): JobRecord | string {
  // Keyv's own serializer calls whatever it finds under `toJSON`, in a hook's result too, and throws.
  const isRisky = record.result !== null || record.context !== null
  return isRisky && JSON.stringify([record.result, record.context]).includes('"toJSON":')
    ? JSON.stringify(record)
    : record
}

/**
 * Reads a record out of what a Keyv holds, `{ value }` or `undefined`.
 *
 * @throws AfterJobsError `CACHE_UNAVAILABLE` for anything else: taken for missing, it would be overwritten.
 */
export function fromRaw(raw: unknown): JobRecord | undefined {
  if (raw === undefined || raw === null) return undefined
  const value = parse(typeof raw === 'object' && 'value' in raw ? raw.value : undefined)
  if (isRecord(value)) return value
  const message = 'keyvCache found a value that is no record of a job under its own key. Give it a prefix of its own.'
  throw new AfterJobsError('CACHE_UNAVAILABLE', message)
}

function parse(value: unknown): unknown {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    return undefined
  }
}

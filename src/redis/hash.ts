import { AfterJobsError } from '../core/errors'
import { isRecord } from '../core/record'
import type { JobRecord } from '../core/status'
import { shortToken } from '../core/token'

type Field = keyof JobRecord

/**
 * How a field is written: a text as it is, JSON, a number; a count, which is left out where it is 0, as in most records; the
 * time of the last change, which is left out where it is that of the end.
 */
type Kind = 'text' | 'json' | 'number' | 'count' | 'last'

/** The fields of a hash beside its version: what each is called there and how it is written. */
const FIELDS: readonly (readonly [field: Field, name: string, kind: Kind])[] = [
  ['status', 'status', 'text'],
  ['label', 'label', 'text'],
  // As in the design's three cache keys: status, progress, messageError.
  ['message', 'messageError', 'text'],
  ['code', 'code', 'text'],
  ['parent', 'parent', 'text'],
  ['progress', 'progress', 'number'],
  ['attempt', 'attempt', 'count'],
  ['attempts', 'attempts', 'number'],
  ['run', 'run', 'count'],
  ['runId', 'runId', 'count'],
  ['crashes', 'crashes', 'count'],
  ['result', 'result', 'json'],
  ['context', 'context', 'json'],
  ['dueAt', 'dueAt', 'number'],
  ['createdAt', 'createdAt', 'number'],
  ['startedAt', 'startedAt', 'number'],
  ['finishedAt', 'finishedAt', 'number'],
  ['updatedAt', 'updatedAt', 'last'],
]

/** Names what a write expects to find and what it leaves: version and incarnation are compared as one text. */
export function fenceOf({ version, incarnation }: Pick<JobRecord, 'version' | 'incarnation'>): string {
  return `${version}.${incarnation}`
}

/** Lists a record as names and values of a hash; what is null is left out. */
export function toHash(record: JobRecord): string[] {
  const hash = ['version', fenceOf(record)]
  for (const [field, name, kind] of FIELDS) {
    const value = record[field]
    if (value === null || (value === 0 && kind === 'count')) continue
    if (kind === 'last' && value === record.finishedAt) continue
    hash.push(name, kind === 'json' ? JSON.stringify(value) : String(value))
  }
  return hash
}

/**
 * Reads a record out of its hash; `undefined` for an empty one, which Redis answers where there is nothing.
 *
 * @throws AfterJobsError `CACHE_UNAVAILABLE` for anything else: taken for missing, it would be overwritten.
 */
export function fromHash(token: string, hash: Readonly<Record<string, string>>): JobRecord | undefined {
  if (hash.version === undefined && Object.keys(hash).length === 0) return undefined
  const record = parse(hash)
  if (isRecord(record)) return record
  const message = `redisCache found a hash that is no record of a job under the key of ${shortToken(token)}. Give it a prefix that no other program uses.`
  throw new AfterJobsError('CACHE_UNAVAILABLE', message)
}

/** Copied, so that all records have one shape: one that grows field by field takes ten times as long to make and to copy. */
const BLANK: Record<string, unknown> = {
  version: undefined,
  incarnation: undefined,
  ...Object.fromEntries(FIELDS.map(([field, , kind]) => [field, parseField(kind, undefined)])),
}

function parse(hash: Readonly<Record<string, string>>): unknown {
  const [version, incarnation] = (hash.version ?? '').split('.')
  const record: Record<string, unknown> = {
    ...BLANK,
    version: parseNumber(version),
    incarnation: parseNumber(incarnation),
  }
  for (const [field, name, kind] of FIELDS) {
    const text = hash[name]
    if (text !== undefined) record[field] = parseField(kind, text)
  }
  record.updatedAt ??= record.finishedAt
  return record
}

function parseField(kind: Kind, text: string | undefined): unknown {
  if (text === undefined) return kind === 'count' ? 0 : null
  if (kind === 'text') return text
  return kind === 'json' ? parseJson(text) : parseNumber(text)
}

/** Answers `undefined` for what is no number, so that the whole is no record. */
function parseNumber(text: string | undefined): number | undefined {
  const number = text ? Number(text) : Number.NaN
  return Number.isFinite(number) ? number : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

import { AfterJobsError } from '../core/errors'
import { isObject } from '../core/json'
import { isRecord } from '../core/record'
import type { JobRecord } from '../core/status'
import { shortToken } from '../core/token'
import type { JobCacheEntry } from '../ports/cache'

/** A record as it is stored: what people look for stands in columns of its own, the others in `rest`. */
export interface StatusRow {
  token: string
  status: string
  progress: number
  label: string | null
  message: string | null
  code: string | null
  version: number
  incarnation: number
  /** As text: `jsonb` would refuse some of what JSON can say, and drivers parse `json` as their users tell them. */
  rest: string
}

const COLUMNS = ['status', 'progress', 'label', 'message', 'code', 'version', 'incarnation'] as const

/** The longest life that is stored, a thousand years in milliseconds: PostgreSQL knows no time after the year 294,276. */
const LONGEST = 1_000 * 365 * 24 * 3_600_000

/** Lists entries as one text, which every driver can carry. */
export function toItems(entries: readonly JobCacheEntry[]): string {
  return JSON.stringify(entries.map(toItem))
}

function toItem({ token, record, ttl }: JobCacheEntry): StatusRow & { ttl: number } {
  const { status, progress, label, message, code, version, incarnation } = record
  const rest = JSON.stringify(toRest(record))
  return { token, status, progress, label, message, code, version, incarnation, rest, ttl: toTtl(ttl) }
}

/** One by one, because to spread what is left of a record costs several times as much. */
function toRest(record: JobRecord): Omit<JobRecord, (typeof COLUMNS)[number]> {
  const { attempt, attempts, result, parent, context, run, runId, crashes } = record
  const { dueAt, createdAt, startedAt, updatedAt, finishedAt } = record
  // biome-ignore format: two lines, as above.
  return {
    attempt, attempts, result, parent, context, run, runId, crashes,
    dueAt, createdAt, startedAt, updatedAt, finishedAt,
  }
}

function toTtl(ttl: number): number {
  return Math.min(Math.max(1, Math.ceil(ttl)), LONGEST)
}

/** Reads a record out of its row. @throws AfterJobsError `CACHE_UNAVAILABLE` for anything else: taken for missing, it would be overwritten. */
export function fromRow(token: string, row: Omit<StatusRow, 'token'>): JobRecord {
  const record = JSON.parse(row.rest) as Record<string, unknown> | null
  if (isObject(record)) {
    // One by one, because every status is read this way, and to spread a row costs several times as much.
    for (const name of COLUMNS) record[name] = row[name]
    if (isRecord(record)) return record
  }
  const message = `postgresCache found a row that is no record of a job under the token ${shortToken(token)}. Give it a table that no other program writes.`
  throw new AfterJobsError('CACHE_UNAVAILABLE', message)
}

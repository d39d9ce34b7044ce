import { isObject } from './json'
import { JOB_STATES, type JobRecord } from './status'

type Check = (value: unknown) => boolean

const isNumber: Check = Number.isFinite
const isNumberOrNull: Check = (value) => value === null || Number.isFinite(value)
const isTextOrNull: Check = (value) => value === null || typeof value === 'string'
const isJson: Check = (value) => value !== undefined

const CHECKS: Record<keyof JobRecord, Check> = {
  version: isNumber,
  incarnation: isNumber,
  status: (value) => value !== 'unknown' && JOB_STATES.some((state) => state === value),
  progress: isNumber,
  label: isTextOrNull,
  message: isTextOrNull,
  code: isTextOrNull,
  attempt: isNumber,
  attempts: isNumber,
  result: isJson,
  parent: isTextOrNull,
  context: isJson,
  run: isNumber,
  runId: isNumber,
  crashes: isNumber,
  dueAt: isNumberOrNull,
  createdAt: isNumber,
  startedAt: isNumberOrNull,
  updatedAt: isNumber,
  finishedAt: isNumberOrNull,
}

/** Tells whether a record is the next version of what is stored, which is what a cache compares before it sets. */
export function isNext(stored: JobRecord | undefined, record: JobRecord): boolean {
  if (stored === undefined) return record.version === 1
  return stored.version === record.version - 1 && stored.incarnation === record.incarnation
}

/** Listed once, because every status that is read is checked. */
const ENTRIES = Object.entries(CHECKS)

/** Tells whether a value that comes out of a store is a record as a runtime wrote it. */
export function isRecord(value: unknown): value is JobRecord {
  if (!isObject(value)) return false
  const fields = value as Record<string, unknown>
  for (const [name, check] of ENTRIES) if (!check(fields[name])) return false
  return true
}

import { type JobRecord, transition } from '../core/status'
import type { JobCache } from '../ports/cache'
import { type ConformanceTools, until } from './conformance'

export const HOUR = 3_600_000
/** Milliseconds of a life that a test can wait for, and within which it can make the next version of a record. */
export const SHORT = 250

/** All that JSON can carry, and all that a text-based store has to escape. */
export const RICH: Partial<JobRecord> = {
  status: 'done',
  progress: 100,
  label: 'Étape 3 “ß” 漢字 👩‍🚀 \\ " \u2028',
  message: ':base64:bm8=',
  attempts: 100,
  result: {
    list: [null, true, -1.5, 1e300, Number.MAX_SAFE_INTEGER, [], {}, ''],
    nested: { deep: { deeper: [{ text: ':colon', toJSON: 'no function' }] } },
    long: 'é'.repeat(30_000),
  },
  parent: '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10',
  context: { tenant: null, 'traitement.x': 0 },
  dueAt: 8_640_000_000_000_000,
  startedAt: 0,
}

/** Makes a token that no store has seen. */
export function newToken(): string {
  return crypto.randomUUID()
}

/** Makes the first version of a record. */
export function newRecord(): JobRecord {
  const at = Date.now()
  const birth = { attempts: 1, parent: null, context: null, createdAt: at, delay: 0 }
  return transition(undefined, { type: 'queued', at, birth }) as JobRecord
}

/** Makes the next version of a record, with other fields. */
export function nextOf(record: JobRecord, fields: Partial<JobRecord>): JobRecord {
  return { ...record, ...fields, version: record.version + 1 }
}

/** Stores a new record under a new token. */
export async function store(cache: JobCache, ttl: number): Promise<{ token: string; record: JobRecord }> {
  const token = newToken()
  const record = newRecord()
  if (!(await cache.write(token, record, ttl))) throw new Error('The cache refused to create a record.')
  return { token, record }
}

/** Lets a hundred writers write at once; what is stored is the record of the one that was told so. */
export async function expectOneWinner(
  cache: JobCache,
  expect: ConformanceTools['expect'],
  token: string,
  make: (index: number) => JobRecord,
): Promise<void> {
  const records = Array.from({ length: 100 }, (_, index) => make(index))
  const answers = await Promise.all(records.map((record) => cache.write(token, record, HOUR)))
  expect(answers.filter((isWritten) => isWritten).length).toBe(1)
  expect(await cache.read(token)).toEqual(records[answers.indexOf(true)])
}

/** Reads, compares and sets until it has won once. */
export async function increment(cache: JobCache, token: string): Promise<void> {
  for (let race = 0; race < 1_000; race++) {
    const record = await cache.read(token)
    if (record === undefined) throw new Error('The record was lost.')
    if (await cache.write(token, nextOf(record, { crashes: record.crashes + 1 }), HOUR)) return
  }
  throw new Error('The cache refused 1,000 writes of one writer, which is more than the others can have won.')
}

/** Waits until a short-lived record is gone. */
export async function untilGone(cache: JobCache, token: string): Promise<void> {
  await until(async () => (await cache.read(token)) === undefined)
}

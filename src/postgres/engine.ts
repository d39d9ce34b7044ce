import { AfterJobsError, reasonOf } from '../core/errors'
import { withTimeLimit } from '../core/timer'
import { type Database, openDatabase } from './database'
import { noAnswer } from './deadline'
import { loadPeer } from './peer'
import type { PgBossLike, Settings } from './settings'
import { nameOf } from './statement-name'
import { type Statements, writeStatements } from './statements'

/** What is there once pg-boss has its tables. */
export interface Engine {
  readonly statements: Statements
  /** Runs a statement, within the time limit of the queue unless told another. */
  query<R>(text: string, values?: readonly unknown[], limit?: number): Promise<R[]>
}

/** How long a statement may take, in milliseconds. */
export const QUERY_LIMIT = 4_000
const SET_UP_TRIES = 5
/** PostgreSQL's codes for a row, a schema, a table and another object that exists. */
const ALREADY_THERE = ['23505', '42P06', '42P07', '42710']
/** A lock is renewed so often before it ends. */
export const RENEWALS = 3
/** What pg-boss would do to a job by itself, were its queue used without us. */
const QUEUE = { retryLimit: 1_000_000, expireInSeconds: 86_399, deleteAfterSeconds: 3_600 }

/** Opens what a queue works with; connects to nothing yet. */
export function openQueueDatabase({ source, boss }: Settings): Database {
  return source === undefined ? toDatabase(boss as PgBossLike) : openDatabase(source, 'postgresQueue')
}

/** Sees that pg-boss has its tables, and that they hold our queue. */
export async function openEngine(database: Database, settings: Settings): Promise<Engine> {
  const { boss, schema, queue, source, lockDuration } = settings
  await database.ready()
  await (boss === undefined ? setUp(database, settings) : makeQueue(boss, queue))
  const names = new Map<string, string>()
  const query: Engine['query'] = async <R>(text: string, values?: readonly unknown[], limit = QUERY_LIMIT) => {
    return (await database.query<R>(text, values, limit, names.get(text))).rows
  }
  const [row] = await query<{ table_name: string }>(`SELECT table_name FROM ${schema}.queue WHERE name = $1`, [queue])
  const table = row?.table_name ?? 'job_common'
  // Long enough for each lock to be renewed.
  const grace = Math.ceil((2 * lockDuration) / RENEWALS)
  const place = { ...settings, table, grace, isEmbedded: source?.pglite !== undefined }
  const statements = writeStatements(place)
  // Not `take`: a plan that is kept from when the table was small would read all of a large one.
  for (const text of [statements.insert, statements.answer]) names.set(text, nameOf(text))
  return { statements, query }
}

/** Makes what is missing; where others make the same at the same moment, pg-boss finds at its next try that it is there. */
async function setUp(database: Database, settings: Settings): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await withOwnBoss(database, settings)
    } catch (error) {
      const { code } = error as { code?: unknown }
      if (attempt === SET_UP_TRIES || !ALREADY_THERE.some((known) => known === code)) throw error
    }
  }
}

/** pg-boss only makes and migrates its tables: its workers and its upkeep would cost every process a connection. */
async function withOwnBoss(database: Database, { schema, queue }: Settings): Promise<void> {
  const { PgBoss } = await loadPeer('pg-boss', () => import('pg-boss'))
  const boss = new PgBoss({
    // Without values it sends several statements in one text.
    db: { executeSql: (text, values) => database.query<never>(text, values?.length ? values : undefined) },
    ...{ schema, supervise: false, schedule: false, registerInstance: false },
    openTelemetry: { enabled: false },
  })
  let trouble: unknown
  boss.on('error', (error) => {
    trouble ??= error
  })
  try {
    await boss.start()
    await makeQueue(boss as PgBossLike, queue)
    if (trouble !== undefined) throw trouble
  } finally {
    await boss.stop({ graceful: false, close: false })
  }
}

async function makeQueue(boss: PgBossLike, queue: string): Promise<void> {
  if (await boss.getQueue(queue)) return
  await boss.createQueue(queue, QUEUE)
}

/** Works with the database of a pg-boss, which knows how to listen where it made its pool itself. */
function toDatabase(boss: PgBossLike): Database {
  const execute = async (text: string, values: readonly unknown[] | undefined) =>
    boss.getDb().executeSql(text, values && [...values])
  return {
    ready: async () => {},
    query: async <R>(text: string, values?: readonly unknown[], limit = QUERY_LIMIT) => {
      return (await withTimeLimit(execute(text, values), limit, () => noAnswer(limit))) as { rows: R[] }
    },
    listen(channel, onNotice, onTrouble) {
      const listening = boss.getDb().listen?.(channel, onNotice, () => onNotice(''))
      listening?.catch(onTrouble)
      return { close: async () => (await listening?.catch(() => undefined))?.close() }
    },
    close: async () => {},
  }
}

/** Says that the database cannot be reached; what an error of our own says is said. */
export function unavailable(cause: unknown): AfterJobsError {
  if (AfterJobsError.is(cause)) return cause
  return new AfterJobsError('QUEUE_UNAVAILABLE', `The queue in PostgreSQL cannot be used: ${reasonOf(cause)}.`, {
    cause,
  })
}

import { AfterJobsError } from '../core/errors'
import { wrongOption } from '../core/job'
import type { Ask } from './insertion'
import { loadPeer } from './peer'

type Method = (...parameters: readonly unknown[]) => unknown
type Shape = Readonly<Record<string, unknown>>

/** One kind of connection that an application may be in a transaction with. */
interface Kind {
  readonly name: string
  fits(db: Shape): boolean
  /** Says what is missing where the connection is in no transaction. */
  isOutside?(db: Shape): boolean
  toAsk(db: Shape): Ask | Promise<Ask>
}

const has = (db: Shape, ...methods: readonly string[]): boolean =>
  methods.every((method) => typeof db[method] === 'function')
const call = (db: unknown, method: string, ...parameters: readonly unknown[]): unknown =>
  (Reflect.get(db as object, method) as Method).apply(db, parameters as unknown[])

/** In this order: the later ones are told apart by less. */
const KINDS: readonly Kind[] = [
  {
    name: 'Kysely',
    fits: (db) => has(db, 'executeQuery', 'selectFrom'),
    isOutside: (db) => db.isTransaction !== true,
    toAsk: async (db) => adapt((await loadAdapters()).fromKysely(db as never)),
  },
  {
    name: 'Knex',
    fits: (db) => has(db, 'raw', 'queryBuilder'),
    isOutside: (db) => db.isTransaction !== true,
    toAsk: async (db) => adapt((await loadAdapters()).fromKnex(db as never)),
  },
  {
    name: 'Prisma',
    fits: (db) => has(db, '$queryRawUnsafe'),
    isOutside: (db) => has(db, '$connect'),
    toAsk: async (db) => adapt((await loadAdapters()).fromPrisma(db as never)),
  },
  {
    name: 'Drizzle',
    fits: (db) => has(db, 'execute', 'select', 'transaction'),
    isOutside: (db) => !has(db, 'rollback'),
    toAsk: async (db) => {
      const { sql } = await loadPeer('drizzle-orm', () => import('drizzle-orm'))
      return adapt((await loadAdapters()).fromDrizzle(db as never, sql as never))
    },
  },
  {
    name: 'MikroORM',
    fits: (db) => has(db, 'getConnection', 'getTransactionContext'),
    isOutside: (db) => call(db, 'getTransactionContext') === undefined,
    // It is the transaction of the query builder beneath: Knex in version 6, Kysely in version 7.
    toAsk: (db) => toCaller(call(db, 'getTransactionContext')),
  },
  {
    name: 'TypeORM',
    fits: (db) => has(db, 'query') && ('isTransactionActive' in db || 'queryRunner' in db),
    isOutside: (db) => ((db.queryRunner ?? db) as Shape).isTransactionActive !== true,
    toAsk: (db) => async (text, values) => (await call(db, 'query', text, [...values])) as never[],
  },
  {
    name: 'pg',
    fits: (db) => has(db, 'query'),
    isOutside: isIdle,
    toAsk: (db) => async (text, values) => ((await call(db, 'query', text, [...values])) as { rows: never[] }).rows,
  },
]

const EXPECTED =
  'a pg client, a PGlite, Kysely, Knex, Drizzle or Prisma transaction, a MikroORM EntityManager, or a TypeORM EntityManager or QueryRunner'

/**
 * Turns what the application is in a transaction with into something that runs a statement there, and rejects where that
 * transaction has ended meanwhile.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 */
export async function toCaller(db: unknown): Promise<Ask> {
  const isObject = (typeof db === 'object' || typeof db === 'function') && db !== null
  const kind = isObject && KINDS.find(({ fits }) => fits(db as Shape))
  if (!kind) throw wrongOption('db', db, EXPECTED)
  checkInside(kind, db as Shape)
  const ask = await kind.toAsk(db as Shape)
  return async (text, values) => {
    // In the tick in which the statement is sent: by now the connection may be in other hands.
    checkInside(kind, db as Shape)
    return ask(text, values)
  }
}

function checkInside({ name, isOutside }: Kind, db: Shape): void {
  if (!isOutside?.(db)) return
  const message = `db is ${name}, but in no transaction; expected ${EXPECTED}, inside of its transaction.`
  throw new AfterJobsError('INVALID_OPTION', message)
}

/** A pool gives each statement another connection; a client knows, and PGlite does by its kind, whether it is in a transaction. */
function isIdle(db: Shape): boolean {
  if ('totalCount' in db || has(db, 'transaction')) return true
  return has(db, 'getTransactionStatus') && call(db, 'getTransactionStatus') === 'I' && !hasBegun(db)
}

/** A client that was told to begin, and has not yet heard that it did, still says that it is idle. */
function hasBegun(db: Shape): boolean {
  const { _activeQuery: active, _queryQueue: queue } = db as {
    _activeQuery?: unknown
    _queryQueue?: { length?: number }
  }
  return active != null || (queue?.length ?? 0) > 0
}

function loadAdapters() {
  return loadPeer('pg-boss', () => import('pg-boss'))
}

interface PgBossDatabase {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
}

function adapt(database: PgBossDatabase): Ask {
  return async (text, values) => (await database.executeSql(text, [...values])).rows as never[]
}

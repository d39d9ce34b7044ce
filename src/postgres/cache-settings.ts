import { wrongOption } from '../core/job'
import type { DatabaseSource } from './database'
import type { PoolLike } from './pool'
import { DEFAULT_TABLE, quoteTable } from './schema'
import { readOptions, sourceOf } from './source'

/** Options of `postgresCache`: where the database is, or what is there already. */
export interface PostgresCacheOptions {
  /** `postgres://user:password@host:5432/database` */
  url?: string
  /** A `pg.Pool` of yours. The cache leaves it open. */
  pool?: DatabaseSource['pool']
  /** A folder that a database in this process works in, or a PGlite of yours. */
  pglite?: DatabaseSource['pglite']
  /** The table of the statuses, also with a schema; made on the first use. Default `'after_jobs_status'`. */
  table?: string
  /** Programs that use the same table and prefix share their statuses. Default `'traitement'`. */
  prefix?: string
  /** How often this process looks for expired rows, in milliseconds. Default 60,000. */
  sweepInterval?: number
}

/** The options of a cache, checked and complete. */
export interface CacheSettings {
  readonly source: DatabaseSource
  readonly table: string
  /** The table as SQL is to call it. */
  readonly quotedTable: string
  readonly prefix: string
  readonly sweepInterval: number
}

const KINDS = ['url', 'pool', 'pglite'] as const
const OTHERS = ['table', 'prefix', 'sweepInterval']

/** Checks the options of a cache. @throws AfterJobsError `INVALID_OPTION` */
export function readCacheSettings(target: string | PoolLike | PostgresCacheOptions): CacheSettings {
  const options = readOptions<PostgresCacheOptions>('postgresCache', target, KINDS, OTHERS)
  const { table = DEFAULT_TABLE, prefix = 'traitement', sweepInterval = 60_000 } = options
  const quotedTable = quoteTable(table, 'postgresCache')
  if (typeof prefix !== 'string' || !/^[^\p{Cc}\p{Cs}]{1,100}$/u.test(prefix)) {
    throw wrongOption('postgresCache({ prefix })', prefix, 'a text of at most 100 characters')
  }
  if (!Number.isFinite(sweepInterval) || sweepInterval < 100 || sweepInterval >= 2 ** 30) {
    throw wrongOption('postgresCache({ sweepInterval })', sweepInterval, 'at least 100 milliseconds')
  }
  return { source: sourceOf(options), table, quotedTable, prefix, sweepInterval }
}

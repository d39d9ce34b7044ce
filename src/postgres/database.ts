import type { Database } from './database-port'
import { openEmbedded, type PGliteLike } from './embedded'
import type { PoolLike } from './pool'
import { openServer } from './server'

export type { Database } from './database-port'

/** Where a database is: exactly one of these is given. */
export interface DatabaseSource {
  url?: string
  /** A `pg.Pool` of the application's, which stays open. */
  pool?: PoolLike
  /** The folder of a database in this process, or a PGlite of the application's, which stays open. */
  pglite?: string | PGliteLike
}

/**
 * Makes a database of what was given; opens nothing before it is first used.
 *
 * @param who names the part of this library in errors.
 */
export function openDatabase({ url, pool, pglite }: DatabaseSource, who: string): Database {
  if (pglite !== undefined) return openEmbedded(pglite, who)
  return openServer(pool ?? (url as string))
}

/** Tells whether a value is a URL of a PostgreSQL. */
export function isPostgresUrl(value: unknown): value is string {
  return typeof value === 'string' && /^postgres(ql)?:\/\//.test(value) && URL.canParse(value)
}

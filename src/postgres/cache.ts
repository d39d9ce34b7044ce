import { AfterJobsError, reasonOf } from '../core/errors'
import { checkTtl } from '../core/job'
import { shortToken } from '../core/token'
import type { JobCache, JobCacheEntry } from '../ports/cache'
import { type PostgresCacheOptions, readCacheSettings } from './cache-settings'
import { Gatherer } from './gatherer'
import type { PoolLike } from './pool'
import { fromRow } from './row'
import { StatusTable } from './status-table'

/** Milliseconds that a call may take. */
const CALL_LIMIT = 2_000

/**
 * Keeps each record as one row of a table, which people can read too: `SELECT * FROM after_jobs_status`. A write compares and
 * sets in one statement, and never in a transaction of the caller's: progress is seen while the job runs. Calls of the same
 * moment share a statement. Expired rows are removed some at a time, and no lock outlives a statement.
 *
 * The table is made on the first use; {@link postgresSchema} writes what that runs. Each call rejects with
 * `CACHE_UNAVAILABLE` when PostgreSQL cannot be reached or does not answer within 2 s. Needs the package pg, or for a folder
 * `@electric-sql/pglite`.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 * @example
 * const jobs = createAfterJobs({ queue: postgresQueue(url), cache: postgresCache(url) })
 */
export function postgresCache(target: string | PoolLike | PostgresCacheOptions): JobCache {
  const settings = readCacheSettings(target)
  const table = new StatusTable(settings)
  const reads = new Gatherer(CALL_LIMIT, table.read, { mayRepeat: true })
  const creations = new Gatherer(CALL_LIMIT, table.create)
  const changes = new Gatherer(CALL_LIMIT, table.change)
  const write = (entry: JobCacheEntry) => (entry.record.version === 1 ? creations : changes).add(entry)

  /** An embedded database is waited for while it opens, which blocks the process more than it lets it wait. */
  const call = async <T>(what: () => string, run: () => Promise<T>): Promise<T> => {
    try {
      if (!table.isOpen) await table.open()
      return await run()
    } catch (error) {
      throw unavailable(what(), error)
    }
  }

  return {
    isLocal: false,
    // An embedded database is waited for while it opens, and while a transaction of the application's has it.
    isBounded: settings.source.pglite === undefined,
    async read(token) {
      const row = await call(
        () => `read job ${shortToken(token)}`,
        () => reads.add({ token }),
      )
      return row && fromRow(token, row)
    },
    async write(token, record, ttl) {
      const entry = { token, record, ttl: checkTtl('postgresCache', ttl) }
      return call(
        () => `write job ${shortToken(token)}`,
        () => write(entry),
      )
    },
    async writeMany(entries) {
      for (const { ttl } of entries) checkTtl('postgresCache', ttl)
      return call(
        () => `write ${entries.length} jobs`,
        () => Promise.all(entries.map(write)),
      )
    },
    close: () => table.close(),
  }
}

function unavailable(what: string, cause: unknown): AfterJobsError {
  if (AfterJobsError.is(cause)) return cause
  const text = `postgresCache could not ${what}: ${reasonOf(cause)}. Check that PostgreSQL is up.`
  return new AfterJobsError('CACHE_UNAVAILABLE', text, { cause })
}

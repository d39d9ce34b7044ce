import { checkTtl } from '../core/job'
import { isNext } from '../core/record'
import type { JobRecord } from '../core/status'
import type { JobCache } from '../ports/cache'
import { createTable, findRow, isAlive, put, Sweeper } from './records'

/**
 * Makes a cache in this process's memory: the default, and the reference for every other adapter.
 *
 * Records die with the process. An expired one is gone for readers at once, and its memory is given back within moments,
 * without anyone reading. After `close()` the records can still be read; only the giving back stops.
 *
 * @example
 * const jobs = createAfterJobs({ cache: memoryCache() })
 */
export function memoryCache(): JobCache {
  const table = createTable()
  const sweeper = new Sweeper(table)

  function read(token: string, now = Date.now()): JobRecord | undefined {
    const row = findRow(table, token)
    return row !== undefined && isAlive(table.expiries[row], now) ? table.records[row] : undefined
  }

  function write(token: string, record: JobRecord, ttl: number, now = Date.now()): boolean {
    if (!isNext(read(token, now), record)) return false
    const expiry = now + checkTtl('memoryCache', ttl)
    put(table, token, record, expiry)
    sweeper.expect(expiry)
    return true
  }

  const cache: JobCache = {
    isLocal: true,
    read: async (token) => read(token),
    write: async (token, record, ttl) => write(token, record, ttl),
    writeMany: async (entries) => entries.map(({ token, record, ttl }) => write(token, record, ttl)),
    close: async () => sweeper.stop(),
  }
  // Not enumerable: who spreads this cache to put a method of their own in must not be passed over.
  return Object.defineProperty(cache, 'immediate', { value: { read, write } })
}

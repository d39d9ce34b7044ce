import { checkNames, checkTtl, wrongOption } from '../core/job'
import { tagOf } from '../core/json'
import { isNext } from '../core/record'
import type { JobRecord } from '../core/status'
import { shortToken } from '../core/token'
import type { JobCache, JobCacheEntry } from '../ports/cache'
import { createGuard } from './guard'
import type { KeyvLike, KeyvLikeEntry } from './keyv-like'
import { locksOf } from './locks'
import { fromRaw, toValue } from './records'
import { can, openStore } from './store'

export type { KeyvLike } from './keyv-like'

/** How {@link keyvCache} names what it stores. */
export interface KeyvCacheOptions {
  /**
   * What stands before the token in each key, `<prefix>.<token>`; `''` leaves the bare token, for a store that prefixes by
   * itself. Default `'traitement'`.
   */
  prefix?: string
  /**
   * Also writes `<prefix>.<token>.status`, `.progress` and `.messageError`, for programs that read these keys through a Keyv
   * of the same namespace. Nothing here reads them. A write that cannot keep them fails as a whole. Default `false`.
   */
  mirror?: boolean
}

/** Milliseconds that a call may take. */
const CALL_LIMIT = 2_000
/** Milliseconds for which a store that never answers may keep the other writers of a token waiting. */
const LOCK_LIMIT = 10_000

/**
 * Keeps the records in any store that Keyv 5 can reach. The Keyv stays the user's: its settings are left alone, and
 * `close()` does not disconnect it.
 *
 * Between the writers of one store in this process a write compares and sets atomically. Between processes it is best
 * effort, because Keyv has no such operation: two that write the same record within one round trip may both be told that
 * they did. Use `redisCache` where several processes work.
 *
 * A failing store is never a missing record, whatever the settings of the Keyv: each call rejects with `CACHE_UNAVAILABLE`
 * when the store throws, does not keep a value, holds something else than a record, or takes more than 2 s, and also when
 * the Keyv emits an error meanwhile, be it another caller's. Only a store that hides its failures even from Keyv deceives it.
 *
 * A Keyv over a Map, its default, is local: its records die with the process. Over anything else it counts as shared.
 *
 * @throws AfterJobsError `CACHE_UNAVAILABLE`, from each call of the cache.
 * @example
 * const jobs = createAfterJobs({ cache: keyvCache(new Keyv({ store: new KeyvSqlite('sqlite://jobs.db') })) })
 */
export function keyvCache(keyv: KeyvLike, options: KeyvCacheOptions = {}): JobCache {
  if (!can(keyv, 'get') || !can(keyv, 'set')) throw wrongOption('keyvCache(keyv)', keyv, 'a Keyv')
  checkNames('keyvCache', options, ['prefix', 'mirror'])
  const { prefix = 'traitement', mirror = false } = options
  const store = openStore(keyv)
  const guard = createGuard(keyv, CALL_LIMIT)
  const lock = locksOf(typeof keyv.store === 'object' && keyv.store !== null ? keyv.store : keyv, LOCK_LIMIT)
  const keyOf = (token: string) => (prefix === '' ? token : `${prefix}.${token}`)

  async function readAll(tokens: readonly string[]): Promise<(JobRecord | undefined)[]> {
    return (await store.read(tokens.map(keyOf))).map(fromRaw)
  }

  async function writeAll(entries: readonly JobCacheEntry[]): Promise<void> {
    const records = entries.map((entry) => toEntry(keyOf(entry.token), entry))
    // First, so that a mirror that fails leaves a record which the writer's next attempt still fits.
    await store.write(mirror ? entries.flatMap((entry) => mirrorOf(keyOf(entry.token), entry)) : [], records)
  }

  function compareAndSet(entries: readonly JobCacheEntry[], what: string): Promise<boolean[]> {
    const tokens = [...new Set(entries.map(({ token }) => token))]
    return guard(what, (call) =>
      lock(tokens.map(keyOf), async () => {
        call.goOn()
        const stored = await readAll(tokens)
        call.goOn()
        const answers = compare(entries, new Map(tokens.map((token, index) => [token, stored[index]])))
        await writeAll(entries.filter((_, index) => answers[index]))
        return answers
      }),
    )
  }

  return {
    isLocal: isMap(keyv.store),
    isBounded: true,
    read: (token) => guard(`read job ${shortToken(token)}`, async () => (await readAll([token]))[0]),
    async write(token, record, ttl) {
      const [isWritten] = await compareAndSet([{ token, record, ttl }], `write job ${shortToken(token)}`)
      return isWritten === true
    },
    async writeMany(entries) {
      return entries.length === 0 ? [] : compareAndSet(entries, `write ${entries.length} jobs`)
    },
    close: async () => {},
  }
}

/** Says of each entry whether it is the next version of what is stored, the entries before it included. */
function compare(entries: readonly JobCacheEntry[], stored: Map<string, JobRecord | undefined>): boolean[] {
  return entries.map(({ token, record }) => {
    const fits = isNext(stored.get(token), record)
    if (fits) stored.set(token, record)
    return fits
  })
}

function toEntry(key: string, { record, ttl }: JobCacheEntry): KeyvLikeEntry {
  return { key, value: toValue(record), ttl: toTtl(ttl) }
}

function mirrorOf(key: string, { record, ttl }: JobCacheEntry): KeyvLikeEntry[] {
  const { status, progress, message } = record
  const values = { status, progress, messageError: message }
  return Object.entries(values).map(([name, value]) => ({ key: `${key}.${name}`, value, ttl: toTtl(ttl) }))
}

/** Keyv takes 0 for "never expires", and Redis no fractions. */
function toTtl(ttl: number): number {
  return Math.max(1, Math.ceil(checkTtl('keyvCache', ttl)))
}

/** By its tag, because a Map of another realm (vm, Jest) is no instance of this one's. */
function isMap(store: unknown): boolean {
  return tagOf(store) === 'Map'
}

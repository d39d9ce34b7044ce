import { createHash } from 'node:crypto'
import { invalidOption } from '../core/errors'
import { checkNames, checkTtl, wrongOption } from '../core/job'
import { isObject } from '../core/json'
import type { JobRecord } from '../core/status'
import { withTimeLimit } from '../core/timer'
import { shortToken } from '../core/token'
import type { JobCache, JobCacheEntry } from '../ports/cache'
import { type RecordClient, RedisCalls, type RedisClientLike } from './client'
import { CALL_LIMIT } from './connections'
import { fenceOf, fromHash, toHash } from './hash'
import { isRedisUrl, showTarget } from './url'

/** What {@link redisCache} needs of a KeyvRedis: its connection. */
export interface KeyvRedisLike {
  readonly client: unknown
  /** Not used, but it tells a KeyvRedis from an object of options. */
  readonly keyPrefixSeparator: string
}

/** Options of {@link redisCache}: where Redis is, or a client that is there already. */
export interface RedisCacheOptions {
  /** `redis://user:password@host:6379/0`, `rediss://` for TLS. */
  url?: string
  /** A node-redis client, or a KeyvRedis, of yours: `close()` leaves it open. */
  client?: RedisClientLike | KeyvRedisLike
  /** What stands before the token in each key, `<prefix>.<token>`. Default `'traitement'`. */
  prefix?: string
}

// KEYS: the record. ARGV: what must be stored ('' for nothing), the time to live, then names and values.
const WRITE = `local stored = redis.call('HGET', KEYS[1], 'version')
if (stored or '') ~= ARGV[1] then return 0 end
if stored then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`
const WRITE_SHA = createHash('sha1').update(WRITE).digest('hex')

/**
 * Keeps each record as one hash under `<prefix>.<token>`, which `HGETALL` shows. A write compares and sets in one script of
 * one key, atomically for all processes, in a cluster too. The records expire by themselves.
 *
 * Each call rejects with `CACHE_UNAVAILABLE` when Redis cannot be reached or does not answer within 2.5 s. Needs the packages
 * `@keyv/redis` and keyv.
 *
 * @throws AfterJobsError `INVALID_OPTION`; later `CACHE_UNAVAILABLE` from each call of the cache.
 * @example
 * const jobs = createAfterJobs({ queue: redisQueue(url), cache: redisCache(url) })
 */
export function redisCache(target: string | KeyvRedisLike | RedisCacheOptions): JobCache {
  const { url, client, prefix } = readOptions(target)
  const calls = new RedisCalls(url, client as RedisClientLike)
  const keyOf = (token: string) => `${prefix}.${token}`
  const writeOne = (ready: RecordClient, { token, record, ttl }: JobCacheEntry) =>
    compareAndSet(ready, keyOf(token), record, toTtl(ttl))

  return {
    isLocal: false,
    isBounded: true,
    read: (token) =>
      calls.call(
        () => `read job ${shortToken(token)}`,
        async (ready) => fromHash(token, await ready.hGetAll(keyOf(token))),
      ),
    write: (token, record, ttl) =>
      calls.call(
        () => `write job ${shortToken(token)}`,
        (ready) => writeOne(ready, { token, record, ttl }),
      ),
    // Sent in one go: the client pipelines what is written in one tick.
    writeMany: (entries) =>
      calls.call(
        () => `write ${entries.length} jobs`,
        (ready) => Promise.all(entries.map((entry) => writeOne(ready, entry))),
      ),
    close: () => calls.close(),
  }
}

async function compareAndSet(client: RecordClient, key: string, record: JobRecord, ttl: number): Promise<boolean> {
  const { version, incarnation } = record
  const expected = version === 1 ? '' : fenceOf({ version: version - 1, incarnation })
  const words = toHash(record)
  words.unshift(expected, String(ttl))
  const end = performance.now() + CALL_LIMIT
  try {
    return (await runScript(client, key, words)) === 1
  } catch (error) {
    // Redis forgets its scripts when it restarts.
    if (!String((error as Error).message).startsWith('NOSCRIPT')) throw error
    const late = () => new Error(`Redis gave no answer within ${CALL_LIMIT} ms`)
    const answer = client.eval(WRITE, { keys: [key], arguments: words })
    return (await withTimeLimit(answer, end - performance.now(), late)) === 1
  }
}

/** By its bare words, which takes half of the time of `evalSha`; only a cluster must be told which node has the key. */
function runScript(client: RecordClient, key: string, words: string[]): Promise<unknown> {
  const isCluster = client.isReady === undefined
  if (isCluster || client.sendCommand === undefined) return client.evalSha(WRITE_SHA, { keys: [key], arguments: words })
  return client.sendCommand(['EVALSHA', WRITE_SHA, '1', key, ...words] as never)
}

function toTtl(ttl: number): number {
  return Math.max(1, Math.ceil(checkTtl('redisCache', ttl)))
}

function readOptions(target: string | KeyvRedisLike | RedisCacheOptions) {
  const options: RedisCacheOptions =
    typeof target === 'string' ? { url: target } : isKeyvRedis(target) ? { client: target } : { ...target }
  const { url, prefix = 'traitement' } = options
  const client = isKeyvRedis(options.client) ? options.client.client : options.client
  const isClient = typeof (client as RedisClientLike | undefined)?.hGetAll === 'function'
  if (url === undefined ? !isClient : !isRedisUrl(url)) {
    const expected =
      "a URL like 'redis://localhost:6379', a KeyvRedis, or { url } or { client } with a node-redis client"
    throw invalidOption(`redisCache got ${showTarget(url ?? target)}; expected ${expected}.`)
  }
  checkNames('redisCache', options, ['url', 'client', 'prefix'])
  if (typeof prefix === 'string' && prefix !== '') return { url, client, prefix }
  throw wrongOption('redisCache({ prefix })', prefix, 'a text')
}

function isKeyvRedis(value: unknown): value is KeyvRedisLike {
  const isOne = isObject(value) && !Object.hasOwn(value, 'client') && 'client' in value
  return isOne && typeof (value as { hGetAll?: unknown }).hGetAll !== 'function'
}

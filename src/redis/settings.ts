import { invalidOption } from '../core/errors'
import { checkNames, wrongOption } from '../core/job'
import type { RedisLike } from './connections'
import { isRedisUrl, showTarget } from './url'

/** Options of `redisQueue`: where Redis is, or a connection that is there already. Times are in milliseconds. */
export interface RedisQueueOptions {
  /** `redis://user:password@host:6379/0`, `rediss://` for TLS. */
  url?: string
  /** An ioredis connection or cluster of yours. The queue makes its own like it, and leaves it as it is. */
  connection?: RedisLike
  /** Programs that use the same name and prefix share their jobs. No colons. Default `'after-jobs'`. */
  name?: string
  /** What BullMQ's keys begin with. Default `'bull'`, in a cluster `'{bull}'`. */
  prefix?: string
  /** How long a worker may be silent before its job is given to another. Default 30,000. */
  lockDuration?: number
  /** How often each worker looks for jobs whose worker has died. Default 5,000. */
  stalledInterval?: number
}

/** The options of a queue, checked and complete. */
export type Settings = Required<Omit<RedisQueueOptions, 'url' | 'connection'>> & { readonly target: string | RedisLike }

const NAMES = ['url', 'connection', 'name', 'prefix', 'lockDuration', 'stalledInterval']

/** Checks the options of a queue. @throws AfterJobsError `INVALID_OPTION` */
export function readSettings(options: RedisQueueOptions): Settings {
  const { name = 'after-jobs', prefix = 'bull', lockDuration = 30_000, stalledInterval = 5_000 } = options ?? {}
  const target = readTarget(options)
  checkNames('redisQueue', options, NAMES)
  if (typeof name !== 'string' || !/^[^:]+$/.test(name)) {
    throw wrongOption('redisQueue({ name })', name, 'a text without colons')
  }
  if (typeof prefix !== 'string' || prefix === '') {
    throw wrongOption('redisQueue({ prefix })', prefix, 'a text')
  }
  for (const [option, value] of Object.entries({ lockDuration, stalledInterval })) {
    if (Number.isFinite(value) && value >= 100) continue
    throw wrongOption(`redisQueue({ ${option} })`, value, 'at least 100 milliseconds')
  }
  return { target, name, prefix: tag(prefix, target), lockDuration, stalledInterval }
}

function readTarget(options: RedisQueueOptions | undefined): string | RedisLike {
  const target = options?.url ?? options?.connection
  if (isRedisUrl(target)) return target
  if (typeof target === 'object' && typeof target?.duplicate === 'function') return target
  const expected = "a URL like 'redis://localhost:6379', or { url } or { connection } with an ioredis connection"
  throw invalidOption(`redisQueue got ${showTarget(target)}; expected ${expected}.`)
}

/** In a cluster all keys of a queue must lie on one node, which only a hash tag sees to. */
function tag(prefix: string, target: string | RedisLike): string {
  const isCluster = typeof target === 'object' && target.isCluster === true
  return isCluster && !/\{.+\}/.test(prefix) ? `{${prefix}}` : prefix
}

/** Names the channel on which cancellations are announced. */
export function channelOf({ prefix, name }: Settings): string {
  return `${prefix}:${name}:cancelled`
}

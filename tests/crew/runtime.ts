import { type AfterJobs, createAfterJobs, type Logger } from 'after-jobs'
import { postgresCache, postgresQueue } from 'after-jobs/postgres'
import { redisCache, redisQueue } from 'after-jobs/redis'

/** What a process needs to join the others: plain data, because a worker gets it on its command line. */
export interface Setting {
  /** Where the queue is, and the records unless they are elsewhere. */
  readonly url: string
  readonly cacheUrl?: string
  readonly prefix: string
  readonly lockDuration?: number
  readonly stalledInterval?: number
  readonly enqueueTimeout?: number
}

/** Makes a runtime on Redis or PostgreSQL, as its URL says. */
export function makeRuntime(setting: Setting, logger: Logger): AfterJobs {
  const { url, cacheUrl = url, prefix, lockDuration, stalledInterval, enqueueTimeout } = setting
  const locks = { ...(lockDuration && { lockDuration }), ...(stalledInterval && { stalledInterval }) }
  const queue = { url, prefix: `${prefix}-queue`, ...locks }
  const cache = { url: cacheUrl, prefix }
  const isPostgres = (address: string) => address.startsWith('postgres:')
  return createAfterJobs({
    queue: isPostgres(url) ? postgresQueue(queue) : redisQueue(queue),
    cache: isPostgres(cacheUrl) ? postgresCache(cache) : redisCache(cache),
    logger,
    ...(enqueueTimeout && { enqueueTimeout }),
  })
}

import { redisCache, redisQueue } from 'after-jobs/redis'
import { Redis } from 'ioredis'
import type { Finisher, Neighbours } from '../../crew/shared-engine'
import { makeBench } from '../../engine/support/runtime'
import type { RedisPlace } from './suite'

/** Neighbours on one Redis. */
export interface RedisNeighbours extends Neighbours {
  /** What the records' keys begin with. */
  readonly prefix: string
  readonly queuePrefix: string
}

/** Begins a neighbourhood that lasts as long as the test. */
export function openNeighbours({ onTestFinished }: Finisher, redis: RedisPlace): RedisNeighbours {
  const prefix = redis.makePrefix()
  const queuePrefix = `${prefix}-queue`
  const makeQueue = (stalledInterval = 5_000) => redisQueue({ url: redis.url, prefix: queuePrefix, stalledInterval })
  return {
    prefix,
    queuePrefix,
    makeQueue: () => makeQueue(),
    add(hooks, { stalledInterval, pollInterval: _, ...options } = {}) {
      const queue = makeQueue(stalledInterval)
      const bench = makeBench(hooks, { queue, cache: redisCache({ url: redis.url, prefix }), ...options })
      bench.jobs.register('bench', () => bench.service)
      onTestFinished(() => bench.jobs.close({ grace: 0 }))
      return bench
    },
  }
}

/** Opens a connection of the test's own, in order to look at what is stored, or to forge it. */
export function openClient({ onTestFinished }: Finisher, { url }: Pick<RedisPlace, 'url'>): Redis {
  const client = new Redis(url)
  onTestFinished(() => client.disconnect())
  return client
}

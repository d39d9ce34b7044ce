import KeyvRedis, { createClient, createCluster, createKeyv } from '@keyv/redis'
import type { JobCache, JobQueue } from 'after-jobs'
import { type KeyvRedisLike, type RedisClientLike, type RedisLike, redisCache, redisQueue } from 'after-jobs/redis'
import { Cluster, Redis } from 'ioredis'
import { expectTypeOf } from 'vitest'

const url = 'redis://localhost:6379'

// The real connections of ioredis fit, single and cluster.
expectTypeOf<Redis>().toExtend<RedisLike>()
expectTypeOf<Cluster>().toExtend<RedisLike>()
expectTypeOf(redisQueue(url)).toEqualTypeOf<JobQueue>()
expectTypeOf(
  redisQueue({ url, name: 'jobs', prefix: 'p', lockDuration: 1_000, stalledInterval: 500 }),
).toEqualTypeOf<JobQueue>()
redisQueue({ connection: new Redis(url, { lazyConnect: true }) })
redisQueue({ connection: new Cluster([], { lazyConnect: true }) })

// So do the real clients of node-redis, single and cluster, and the real KeyvRedis.
expectTypeOf<ReturnType<typeof createClient>>().toExtend<RedisClientLike>()
expectTypeOf<ReturnType<typeof createCluster>>().toExtend<RedisClientLike>()
expectTypeOf<KeyvRedis<unknown>>().toExtend<KeyvRedisLike>()
expectTypeOf(redisCache(url)).toEqualTypeOf<JobCache>()
expectTypeOf(redisCache({ url, prefix: 'p' })).toEqualTypeOf<JobCache>()
redisCache(new KeyvRedis(url))
redisCache(new KeyvRedis<string>(url))
redisCache({ client: new KeyvRedis(url) })
redisCache({ client: createClient({ url }) })
redisCache({ client: createCluster({ rootNodes: [{ url }] }) })

// @ts-expect-error node-redis under BullMQ can end the process
redisQueue({ connection: createClient({ url }) })
// @ts-expect-error a connection is an option, because it is not closed with the queue
redisQueue(new Redis(url))
// @ts-expect-error ioredis is not what @keyv/redis brings
redisCache({ client: new Redis(url) })
// @ts-expect-error a Keyv hides its store
redisCache(createKeyv(url))
// @ts-expect-error there is no such option
redisQueue({ url, lockDurration: 1_000 })
// @ts-expect-error there is no such option
redisCache({ url, ttl: 1_000 })

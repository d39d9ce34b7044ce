/** The queue on BullMQ, and the cache of statuses, that processes share through a Redis. */
export { type KeyvRedisLike, type RedisCacheOptions, redisCache } from './cache'
export type { RecordClient, RedisClientLike, ScriptOptions } from './client'
export type { RedisLike } from './connections'
export { redisQueue } from './queue'
export type { RedisQueueOptions } from './settings'

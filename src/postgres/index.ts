/** The queue on pg-boss, and the cache of statuses, in the application's own PostgreSQL or in a folder by PGlite. */
export { postgresCache } from './cache'
export type { PostgresCacheOptions } from './cache-settings'
export type { DatabaseSource } from './database'
export type { PGliteLike } from './embedded'
export type { NamedQuery, PoolClientLike, PoolLike } from './pool'
export { postgresQueue } from './queue'
export { type PostgresSchemaOptions, postgresSchema } from './schema'
export type { PgBossLike, PostgresQueueOptions } from './settings'

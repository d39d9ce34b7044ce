import type { ChaosPlace } from '../../crew/chaos'
import { Observer } from './observer'
import { RedisServer } from './redis-server'

/** A Redis that writes each change to its disk before it answers. */
export const redisPlace: ChaosPlace = {
  start: () => new RedisServer({ appendonly: true }).start(),
  watch: ({ url }, prefix) => new Observer(url, prefix),
}

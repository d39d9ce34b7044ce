import { redisQueue } from 'after-jobs/redis'
import { expect } from 'vitest'
import { eventually, type Finisher, type SharedEngine } from '../../crew/shared-engine'
import { openClient, openNeighbours, type RedisNeighbours } from './neighbours'
import { describeWithRedis, type RedisPlace, useRedis } from './suite'

/** Redis, for the suites that hold for every engine. */
export const redisEngine: SharedEngine = {
  name: 'Redis',
  describe: describeWithRedis,
  use() {
    const place = useRedis()
    return {
      get url() {
        return place.url
      },
      openNeighbours: (context) => openNeighbours(context, place),
      makeQueue: (url) => redisQueue(url),
      cutAnnouncements: (context, neighbours) => cutAnnouncements(context, place, neighbours as RedisNeighbours),
    }
  },
}

async function cutAnnouncements(context: Finisher, place: RedisPlace, { queuePrefix }: RedisNeighbours): Promise<void> {
  const client = openClient(context, place)
  const channel = `${queuePrefix}:after-jobs:cancelled`
  const isHeard = () => eventually(async () => expect(await client.pubsub('NUMSUB', channel)).toEqual([channel, 1]))
  await isHeard()
  expect(await client.client('KILL', 'TYPE', 'pubsub')).toBe(1)
  await isHeard()
}

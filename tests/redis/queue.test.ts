import { redisQueue } from 'after-jobs/redis'
import { queueConformance } from 'after-jobs/testing'
import { expect, test } from 'vitest'
import { describeWithRedis, useRedis } from './support/suite'

describeWithRedis('the queue in Redis', {}, () => {
  const redis = useRedis()
  queueConformance({ test, expect }, () => redisQueue({ url: redis.url, prefix: redis.makePrefix() }))
})

import { redisCache } from 'after-jobs/redis'
import { cacheConformance } from 'after-jobs/testing'
import { expect, test } from 'vitest'
import { describeWithRedis, useRedis } from './support/suite'

describeWithRedis('the cache in Redis', {}, () => {
  const redis = useRedis()
  cacheConformance({ test, expect }, () => redisCache({ url: redis.url, prefix: redis.makePrefix() }))
})

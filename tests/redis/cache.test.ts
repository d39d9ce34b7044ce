import { redisCache } from 'after-jobs/redis'
import { cacheConformance } from 'after-jobs/testing'
import { expect, test } from 'vitest'
import { testRules } from '../core/cache-rules'
import { describeWithRedis, useRedis } from './support/suite'

const RULE_RUNS = 300

describeWithRedis('the cache in Redis', {}, () => {
  const redis = useRedis()
  cacheConformance({ test, expect }, () => redisCache({ url: redis.url, prefix: redis.makePrefix() }))
  testRules(() => redisCache({ url: redis.url, prefix: redis.makePrefix() }), RULE_RUNS)
})

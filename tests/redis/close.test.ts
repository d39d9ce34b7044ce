import { expect, test } from 'vitest'
import { live } from './support/life'
import { describeWithRedis, useRedis } from './support/suite'

describeWithRedis('a process whose runtime was closed exits by itself:', { timeout: 30_000 }, () => {
  const redis = useRedis()

  test.for([
    ['one that runs a job', 'done'],
    ['one that runs a job by hand', 'done'],
    ['one that only starts a job', 'pending'],
    ['one that closes on a deaf hook', 'closed'],
    ['one that was never used', 'made'],
  ] as const)('%s', async ([name, said]) => {
    expect(await live(name, redis.url)).toBe(said)
  })

  test('one that is not let in', async () => {
    // Nothing listens on the lowest port.
    expect(await live('one that is not let in', 'redis://127.0.0.1:1')).toBe('ENQUEUE_FAILED')
  })
})

import { redisCache, redisQueue } from 'after-jobs/redis'
import { expect, test, vi } from 'vitest'
import type { Finisher } from '../crew/shared-engine'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithRedis, useRedis } from './support/suite'

const COUNT = 10_000
const ids = Array.from({ length: COUNT }, (_, id) => id)

describeWithRedis('executeJobs of 10,000 ids', {}, () => {
  const redis = useRedis()

  /** Answers how often Redis was given each command since the server began. */
  function openCounter(context: Finisher): () => Promise<Record<string, number>> {
    const client = openClient(context, redis)
    return async () => {
      const lines = (await client.info('commandstats')).matchAll(/cmdstat_(\S+):calls=(\d+)/g)
      return Object.fromEntries([...lines].map(([, name, calls]) => [name, Number(calls)]))
    }
  }

  test('asks the queue ten times and the cache ten times, and all wait, in order', async (context) => {
    const neighbours = openNeighbours(context, redis)
    const queue = redisQueue({ url: redis.url, prefix: neighbours.queuePrefix })
    const enqueueMany = vi.fn(queue.enqueueMany)
    const cache = redisCache({ url: redis.url, prefix: neighbours.prefix })
    const web = neighbours.add({ afterCreateJob() {} }, { queue: { ...queue, enqueueMany }, cache })
    // The connections are open, and the scripts known.
    await web.service.executeJobs('after', 'create', [1, 2])
    const countCalls = openCounter(context)
    const before = await countCalls()

    const tokens = await web.service.executeJobs('after', 'create', ids)
    const after = await countCalls()
    expect(new Set(tokens).size).toBe(COUNT)
    expect(enqueueMany.mock.calls.slice(1).map(([envelopes]) => envelopes.length)).toEqual(Array(10).fill(1_000))
    expect(web.cache.calls).toMatchObject({ writeMany: 11, read: 0, write: 0 })
    // Neither engine sends more than one script for each job.
    expect((after.evalsha ?? 0) - (before.evalsha ?? 0)).toBe(2 * COUNT)
    expect(await web.jobs.health()).toMatchObject({ waiting: COUNT + 2 })
    for (let start = 0; start < COUNT; start += 1_000) {
      const statuses = await Promise.all(tokens.slice(start, start + 1_000).map((token) => web.jobs.status(token)))
      expect(new Set(statuses.map(({ status }) => status))).toEqual(new Set(['pending']))
    }
    const found = await Promise.all([0, 999, 1_000, COUNT - 1].map((index) => queue.find(tokens[index] as string)))
    expect(found.map((lookup) => 'envelope' in lookup && lookup.envelope?.id)).toEqual([0, 999, 1_000, COUNT - 1])
  })

  test('are run in their order, each once', async (context) => {
    const seen: unknown[] = []
    const neighbours = openNeighbours(context, redis)
    const web = neighbours.add({ afterCreateJob() {} })
    const worker = neighbours.add({ afterCreateJob: (id, token) => void seen.push([id, token]) })
    const tokens = await web.service.executeJobs('after', 'create', ids.slice(0, 1_500))
    worker.jobs.work()
    await worker.jobs.drain()
    expect(seen).toEqual(tokens.map((token, id) => [id, token]))
  })
})

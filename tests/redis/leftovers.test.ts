import { JobError } from 'after-jobs'
import type { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import type { Finisher } from '../crew/shared-engine'
import { aborted, type Bench } from '../engine/support/runtime'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithRedis, useRedis } from './support/suite'

/** Reads all that Redis holds under a prefix, as text. */
async function readAll(client: Redis, prefix: string): Promise<string> {
  const keys = await client.keys(`${prefix}*`)
  const texts = keys.map(async (key) => `${key} = ${JSON.stringify(await readKey(client, key))}`)
  return (await Promise.all(texts)).join('\n')
}

async function readKey(client: Redis, key: string): Promise<unknown> {
  const type = await client.type(key)
  switch (type) {
    case 'hash':
      return client.hgetall(key)
    case 'list':
      return client.lrange(key, 0, -1)
    case 'set':
      return client.smembers(key)
    case 'zset':
      return client.zrange(key, 0, -1)
    case 'stream':
      return client.xrange(key, '-', '+')
    default:
      return client.get(key)
  }
}

/** The two ways in which jobs are run. */
const WAYS: Readonly<Record<string, (worker: Bench) => Promise<void>>> = {
  'by work()': async ({ jobs }) => {
    const worker = jobs.work({ concurrency: 10 })
    await jobs.drain()
    await worker.close()
  },
  'by runNext()': async ({ jobs }) => {
    while (await jobs.runNext());
  },
}

describeWithRedis('what the queue keeps in Redis of jobs that ended', {}, () => {
  const redis = useRedis()

  /** A service whose jobs end as their ids say. */
  function openStage(context: Finisher) {
    const neighbours = openNeighbours(context, redis)
    const worker = neighbours.add({
      async afterCreateJob(id, _token, _progress, { signal }) {
        if (id === 'unexpected') throw new Error('secret: admin:hunter2@db', { cause: new Error('secret cause') })
        if (id === 'failed') throw new JobError('No such city', { cause: new Error('secret cause') })
        if (id === 'timeout') await aborted(signal)
        return { result: 7 }
      },
      afterCreateJobFailed: () => Promise.reject(new Error('secret compensation')),
    })
    return { ...neighbours, worker, client: openClient(context, redis) }
  }

  test.for(Object.keys(WAYS))('is no stack and no message of an unexpected error, run %s', async (way, context) => {
    const { worker, client, queuePrefix } = openStage(context)
    const token = await worker.start('unexpected', { attempts: 2 })
    await worker.start('failed')
    await worker.start('timeout', { timeout: 50 })
    await WAYS[way]?.(worker)
    const text = await readAll(client, queuePrefix)
    expect(text).toContain(token)
    expect(text).toContain('failed: No such city')
    expect(text).toContain('timeout: ')
    expect(text).not.toMatch(/secret|hunter2/)
    expect(text).not.toMatch(/\bat .*(:\d+){2}|\.ts\b|node_modules/)
  })

  test('is enough to tell their end to whoever asks, where the record was lost', async (context) => {
    const { worker, client, prefix } = openStage(context)
    const tokens = [await worker.start('done'), await worker.start('failed'), await worker.start('unexpected')]
    await WAYS['by work()']?.(worker)
    await client.del(tokens.map((token) => `${prefix}.${token}`))
    const statuses = await Promise.all(tokens.map((token) => worker.jobs.status(token)))
    expect(statuses).toMatchObject([
      { status: 'done', result: 7, progress: 100 },
      { status: 'error', code: 'failed', message: 'No such city' },
      { status: 'error', code: 'unexpected', message: 'The job failed unexpectedly' },
    ])
  })

  test.for(Object.keys(WAYS))('is gone after an hour, run %s', async (way, context) => {
    const { worker, client, queuePrefix } = openStage(context)
    const old: Record<string, string> = { completed: await worker.start('done'), failed: await worker.start('failed') }
    const run = () => WAYS[way]?.(worker)
    await run()
    const keyOf = (token: string) => `${queuePrefix}:after-jobs:${token}`
    for (const [set, token] of Object.entries(old)) {
      expect(await client.zadd(`${queuePrefix}:after-jobs:${set}`, 'XX', 'CH', Date.now() - 3_601_000, token)).toBe(1)
    }
    const young = [await worker.start('done'), await worker.start('failed')]
    await run()
    expect(await client.exists(Object.values(old).map(keyOf))).toBe(0)
    expect(await client.exists(young.map(keyOf))).toBe(2)
  })

  test('is no more than a thousand of each kind', async (context) => {
    const { worker, client, queuePrefix } = openStage(context)
    await worker.service.executeJobs('after', 'create', Array(1_020).fill('done'))
    await worker.service.executeJobs('after', 'create', Array(1_020).fill('failed'))
    await WAYS['by work()']?.(worker)
    for (const set of ['completed', 'failed'])
      expect(await client.zcard(`${queuePrefix}:after-jobs:${set}`)).toBe(1_000)
    expect((await client.keys(`${queuePrefix}:after-jobs:*-*-4*`)).length).toBe(2_000)
  })
})

import KeyvRedis, { createClient, createCluster } from '@keyv/redis'
import { redisCache, redisQueue } from 'after-jobs/redis'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { Keyv } from 'keyv'
import { expect, test } from 'vitest'
import { eventually, type Finisher } from '../crew/shared-engine'
import { aborted, makeBench, rejection } from '../engine/support/runtime'
import type { RedisServer } from './support/redis-server'
import { describeWithRedis, describeWithServer, openServer, useRedis } from './support/suite'

type Queue = ReturnType<typeof redisQueue>
type Cache = ReturnType<typeof redisCache>

/** Runs one job to its end and cancels another one, and closes the runtime. */
async function live(queue: Queue, cache: Cache): Promise<void> {
  const { jobs, service, start, logger } = makeBench(
    { afterCreateJob: () => ({ result: 1 }), afterUpdateJob: (_id, _token, { signal }) => aborted(signal) },
    { queue, cache },
  )
  jobs.register('bench', () => service)
  jobs.work()
  // Until then the worker has nothing to do but wait.
  const late = await start(1, { delay: 400 })
  expect(await jobs.settled(late)).toMatchObject({ status: 'done', result: 1 })
  const token = (await service.executeJob('after', 'update', 1)) as string
  await eventually(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running' }))
  expect(await jobs.cancel(token)).toBe(true)
  await jobs.drain()
  expect(logger.lines.filter(({ level, message }) => level === 'error' && !message.includes('cancelled'))).toEqual([])
  await jobs.close()
}

describeWithRedis('a connection that was handed in', {}, () => {
  const redis = useRedis()

  test.for<[string, RedisOptions]>([
    ['as ioredis makes it', {}],
    ['that waits to be needed', { lazyConnect: true }],
    ['that gives up soon', { maxRetriesPerRequest: 1, commandTimeout: 200, retryStrategy: () => null }],
    ['that keeps nothing for later', { enableOfflineQueue: false, autoResubscribe: false }],
  ])('of ioredis, %s, serves as a pattern and is left open', async ([, options], { onTestFinished }) => {
    const connection = new Redis(redis.url, options)
    onTestFinished(() => connection.disconnect())
    const prefix = redis.makePrefix()
    const before = connection.status
    await live(redisQueue({ connection, prefix }), redisCache({ url: redis.url, prefix }))
    if (before === 'wait') expect(connection.status).toBe('wait')
    await eventually(() => connection.ping())
  })

  test('of ioredis, says which database', async ({ onTestFinished }) => {
    const connection = new Redis(redis.url, { db: 5 })
    onTestFinished(() => connection.disconnect())
    const prefix = redis.makePrefix()
    await live(redisQueue({ connection, prefix }), redisCache({ url: `${redis.url}/5`, prefix }))
    expect(await connection.keys(`${prefix}*`)).not.toEqual([])
    await connection.select(0)
    expect(await connection.keys(`${prefix}*`)).toEqual([])
  })
})

describeWithRedis('a client of node-redis that was handed in', {}, () => {
  const redis = useRedis()
  const openQueue = (prefix: string) => redisQueue({ url: redis.url, prefix })

  test.for([true, false])('is used and left open, connected before: %s', async (isConnected, { onTestFinished }) => {
    const client = createClient({ url: redis.url })
    onTestFinished(() => client.destroy())
    if (isConnected) await client.connect()
    const prefix = redis.makePrefix()
    await live(openQueue(prefix), redisCache({ client, prefix }))
    expect(await client.ping()).toBe('PONG')
    expect(await client.keys(`${prefix}.*`)).toHaveLength(2)
  })

  test.for(['alone', 'in an option'])('within a KeyvRedis, %s, is shared with its Keyv', async (how, context) => {
    const store = new KeyvRedis(redis.url)
    const keyv = new Keyv(store)
    context.onTestFinished(() => keyv.disconnect())
    await keyv.set('own', 1)
    const prefix = redis.makePrefix()
    await live(openQueue(prefix), how === 'alone' ? redisCache(store) : redisCache({ client: store, prefix }))
    expect(await keyv.get('own')).toBe(1)
  })

  test('is connected once, however many calls come first', async ({ onTestFinished }) => {
    const client = createClient({ url: redis.url })
    onTestFinished(() => client.destroy())
    const cache = redisCache({ client, prefix: redis.makePrefix() })
    const reads = Array.from({ length: 10 }, () => cache.read(crypto.randomUUID()))
    expect(new Set(await Promise.all(reads))).toEqual(new Set([undefined]))
  })
})

test('a client that gives up is heard by one listener, however often it is tried, and by whom', async () => {
  // Nothing listens on the lowest port.
  const client = createClient({ url: 'redis://127.0.0.1:1', socket: { reconnectStrategy: false } })
  const caches = ['a', 'b'].map((prefix) => redisCache({ client, prefix }))
  for (let turn = 0; turn < 3; turn++) {
    for (const cache of caches) {
      const error = await rejection(cache.read(crypto.randomUUID()))
      expect(error).toMatchObject({ code: 'CACHE_UNAVAILABLE', message: expect.stringContaining('ECONNREFUSED') })
    }
  }
  expect(client.listenerCount('error')).toBe(1)
})

const CLUSTER_TRIES = 5

/** A cluster of one node, which minds the slots of its keys like any other. */
async function openCluster(context: Finisher, password: string): Promise<{ host: string; port: number }> {
  const server = await openNode(context, password)
  await server.ask((client) => client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383'))
  await eventually(async () => expect(await server.ask((client) => client.cluster('INFO'))).toContain('state:ok'))
  return { host: '127.0.0.1', port: server.port }
}

/** A node takes a second port, ten thousand above its own, where systems choose those of clients: one of them may have it. */
async function openNode(context: Finisher, password: string): Promise<RedisServer> {
  const directives = { 'cluster-enabled': 'yes', 'cluster-announce-ip': '127.0.0.1' }
  for (let attempt = 1; ; attempt++) {
    try {
      return await openServer(context, { password, directives })
    } catch (error) {
      if (attempt === CLUSTER_TRIES || !/in use/.test(String(error))) throw error
    }
  }
}

describeWithServer('a cluster that was handed in', {}, () => {
  test('of either client, with a password, is used and left open', async (context) => {
    const password = 'right'
    const node = await openCluster(context, password)
    const connection = new Cluster([node], { redisOptions: { password } })
    const nodes = [{ url: `redis://${node.host}:${node.port}` }]
    const client = createCluster({ rootNodes: nodes, defaults: { password } })
    context.onTestFinished(() => {
      connection.disconnect()
      client.destroy()
    })
    await live(redisQueue({ connection }), redisCache({ client }))
    const keys = (await Promise.all(connection.nodes().map((one) => one.keys('*')))).flat()
    expect(keys.filter((key) => key.startsWith('{bull}:after-jobs:'))).not.toEqual([])
    expect(keys.filter((key) => key.startsWith('traitement.'))).toHaveLength(2)
    expect(await client.hGetAll(keys.find((key) => key.startsWith('traitement.')) ?? '')).toHaveProperty('status')
  })
})

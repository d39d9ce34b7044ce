import { redisCache, redisQueue } from 'after-jobs/redis'
import type { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { eventually } from '../crew/shared-engine'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithServer, openServer } from './support/suite'

/** Counts the connections of others. */
async function countClients(client: Redis): Promise<number> {
  return (
    String(await client.client('LIST'))
      .trim()
      .split('\n').length - 1
  )
}

/** Reads how often the server has read from a socket. */
async function countReads(client: Redis): Promise<number> {
  return Number(/total_reads_processed:(\d+)/.exec(await client.info('stats'))?.[1])
}

describeWithServer('a queue and a cache at one URL', {}, () => {
  test('share a connection, which the one that is closed last closes', async (context) => {
    const server = await openServer(context)
    const client = openClient(context, server)
    const queue = redisQueue({ url: server.url })
    const cache = redisCache(server.url)
    await Promise.all([queue.health(), cache.read(crypto.randomUUID())])
    expect(await countClients(client)).toBe(1)
    await queue.close()
    expect(await cache.read(crypto.randomUUID())).toBeUndefined()
    expect(await countClients(client)).toBe(1)
    await cache.close()
    await eventually(async () => expect(await countClients(client)).toBe(0))
  })

  test('send what is started in one turn in few writes', async (context) => {
    const server = await openServer(context)
    const client = openClient(context, server)
    const { start } = openNeighbours(context, { url: server.url, makePrefix: () => 'go' }).add({ afterCreateJob() {} })
    await start()
    const before = await countReads(client)
    await Promise.all(Array.from({ length: 100 }, () => start()))
    // A hundred jobs with their records are two hundred commands, of which up to sixteen leave together.
    expect((await countReads(client)) - before).toBeLessThan(20)
  })

  test('write records to a Redis that has forgotten its scripts', async (context) => {
    const server = await openServer(context)
    const client = openClient(context, server)
    const { jobs, start } = openNeighbours(context, { url: server.url, makePrefix: () => 'nil' }).add({
      afterCreateJob() {},
    })
    await start()
    await client.script('FLUSH')
    const token = await start()
    expect(await jobs.status(token)).toMatchObject({ status: 'pending' })
    expect(await client.hgetall(`nil.${token}`)).toMatchObject({ status: 'pending' })
  })

  test('do not where the queue was closed before: the cache opens its own', async (context) => {
    const server = await openServer(context)
    const client = openClient(context, server)
    const queue = redisQueue(server.url)
    await queue.close()
    const cache = redisCache(server.url)
    context.onTestFinished(() => cache.close())
    expect(await cache.read(crypto.randomUUID())).toBeUndefined()
    expect(await countClients(client)).toBe(1)
  })
})

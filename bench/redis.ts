/**
 * What do the status and the hook cost beside bare BullMQ, on one Redis that is started for it? Both sides add jobs with ids of
 * their own and keep as many ended ones; ours also writes and reads the status of each. The sides take turns, each in a new
 * process every time.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { RedisServer } from '../tests/redis/support/redis-server'
import { IS_QUICK } from './rounds'
import {
  addInBulk,
  addInFlight,
  type Body,
  drain,
  latency,
  makeOurs,
  readStatus,
  runComparison,
  type Side,
} from './sides'

const JOBS = IS_QUICK ? 200 : 10_000
const CONCURRENCY = 10
const LATENCIES = IS_QUICK ? 20 : 500
/** Ended jobs that both sides keep. */
const KEPT = { age: 3_600, count: 1_000 }

// Each side imports its own libraries alone.
async function makeBare(url: string): Promise<Side> {
  const { Queue, Worker } = await import('bullmq')
  const { Redis } = await import('ioredis')
  const connect = () => new Redis(url, { maxRetriesPerRequest: null })
  const name = `bare-${process.pid}`
  const queue = new Queue(name, { connection: connect() })
  const data = (id: number) => ({ service: 'bench', hook: 'afterCreateJob', id })
  const work = async (body: Body) => {
    const options = { connection: connect(), concurrency: CONCURRENCY, removeOnComplete: KEPT }
    await new Worker(name, async () => body(), options).waitUntilReady()
  }
  return {
    add: (id) => queue.add('bench.afterCreateJob', data(id), { jobId: randomUUID() }),
    addMany: (ids) =>
      queue.addBulk(ids.map((id) => ({ name: 'bench.afterCreateJob', data: data(id), opts: { jobId: randomUUID() } }))),
    drain: work,
    work,
    async makeReader() {
      const client = connect()
      const fields = { version: '3', status: 'done', progress: '100', attempt: '1', createdAt: '1', finishedAt: '2' }
      await client.hset(name, fields)
      return () => client.hgetall(name)
    },
  }
}

async function openOurs(url: string, name: string) {
  const { createAfterJobs } = await import('after-jobs')
  const { redisCache, redisQueue } = await import('after-jobs/redis')
  return createAfterJobs({ queue: redisQueue({ url, name }), cache: redisCache({ url, prefix: name }) })
}

await runComparison(import.meta.filename, {
  raw: 'BullMQ',
  sides: {
    BullMQ: makeBare,
    'after-jobs': (url) => makeOurs((name) => openOurs(url, name), { drain: CONCURRENCY, work: CONCURRENCY }),
  },
  measures: {
    'add, one after the other': addInFlight(JOBS / 2, 1),
    'add, 100 in flight': addInFlight(JOBS, 100),
    'add in bulk, by the thousand': addInBulk(JOBS),
    'drain, a hook that does nothing': drain(JOBS, () => {}),
    'drain, a hook of 5 ms': drain(JOBS / 5, () => pause(5)),
    'status read': readStatus(JOBS),
    'call until the hook starts, ms': latency(LATENCIES, 0.5, () => 0),
    'call until an idle worker starts, ms': latency(LATENCIES, 0.5, () => 3),
  },
  urlOf: (port) => `redis://127.0.0.1:${port}`,
  async start() {
    const server = await new RedisServer().start()
    return { port: server.port, afterEach: () => server.flush(), close: () => server.close() }
  },
})

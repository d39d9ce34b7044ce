import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { attachAfterJobs, type JobStatus } from 'after-jobs'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { Dice } from '../crew/dice'
import { makeRuntime, type Setting } from '../crew/runtime'
import { spyLogger } from '../engine/support/spies'
import { describeWithRedis, type RedisPlace, useRedis } from '../redis/support/suite'
import { ORDERS, Order, openOrders } from './gap/orders'
import { bundleProducer, runProducer } from './gap/producer-process'

/** Two processors, two databases, and so many producers of each that are killed. */
const LANES = 2
const KILLS = 7
/** How long a producer works on, once it is warm, before it is killed, in milliseconds. */
const LIFETIME = [10, 120] as const

describeWithRedis('a process that is killed between the commit and the enqueue', { timeout: 120_000 }, () => {
  const redis = useRedis()

  test('leaves rows without a job, never a job without its row; the tokens of what was lost tell it', async () => {
    const setting = { url: redis.url, prefix: redis.makePrefix(), enqueueTimeout: 1_000 }
    const orders = await killProducers(setting)
    const { jobs, ran } = openReader(setting)

    const tokens = await readTokens(redis, setting.prefix)
    jobs.work({ concurrency: 10 })
    await jobs.drain()
    const ends = new Map(await Promise.all(tokens.map(async (token) => [token, await jobs.settled(token)] as const)))

    const committed = new Map(orders.map(({ id, token }) => [id, token]))
    expect(ran.filter((id) => !committed.has(id))).toEqual([])
    expect(new Set(ran).size).toBe(ran.length)
    const missing = orders.filter(({ id }) => !ran.includes(id)).map(({ token }) => codeOf(ends.get(token)))
    // Whoever keeps the token in the row finds by it what has to be started again. On a machine that is busy a queue may
    // have been too slow for the commit, which is no gap: the process that lived has said so.
    expect(missing.filter((code) => code !== 'worker_lost' && code !== 'enqueue_failed')).toEqual([])
    const lost = missing.filter((code) => code === 'worker_lost').length
    expect(orders.length - missing.length).toBe([...ends.values()].filter(({ status }) => status === 'done').length)
    expect(ran.length).toBeGreaterThan(LANES * KILLS)
    const kills = LANES * KILLS
    console.info(`${kills} kills among ${orders.length} commits: ${lost} committed rows lost their jobs.`)
  })
})

/** Kills all the producers, and answers what they have committed. */
async function killProducers(setting: Setting): Promise<Order[]> {
  const folder = mkdtempSync(join(tmpdir(), 'after-jobs-gap-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const code = await bundleProducer(join(import.meta.dirname, 'gap/producer.ts'))
  const work = async (_: unknown, lane: number): Promise<Order[]> => {
    const file = join(folder, `${lane}.db`)
    const dice = new Dice(lane)
    for (let kill = 0; kill < KILLS; kill++) {
      const firstId = (lane * KILLS + kill) * 10_000
      await runProducer(code, { ...setting, file, firstId }, dice.between(...LIFETIME))
    }
    const orm = await openOrders(file)
    const orders = await orm.em.fork().findAll(Order)
    await orm.close()
    return orders
  }
  return (await Promise.all(Array.from({ length: LANES }, work))).flat()
}

/** A process that runs what is in the queue. */
function openReader(setting: Setting) {
  const jobs = makeRuntime(setting, spyLogger())
  onTestFinished(() => jobs.close({ grace: 0 }))
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs, name: ORDERS })
  jobs.register(ORDERS, () => service)
  return { jobs, ran }
}

/** The tokens that have a record, whatever became of their transaction. */
async function readTokens({ url }: RedisPlace, prefix: string): Promise<string[]> {
  const client = new Redis(url)
  const keys = await client.keys(`${prefix}.*`)
  client.disconnect()
  return keys.map((key) => key.slice(prefix.length + 1))
}

const codeOf = (status: JobStatus | undefined) => (status?.status === 'error' ? status.code : status?.status)

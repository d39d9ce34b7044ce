import { join } from 'node:path'
import { attachAfterJobs } from 'after-jobs'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import { Dice } from '../crew/dice'
import { makeRuntime, type Setting } from '../crew/runtime'
import type { Finisher } from '../crew/shared-engine'
import { until } from '../crew/until'
import { spyLogger } from '../engine/support/spies'
import { bundleProducer, runProducer } from '../orm/gap/producer-process'
import type { ProducerSetting } from './support/producer'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

/** Two processors, and so many producers for each that are killed. */
const LANES = 2
const KILLS = 10
/** How long a producer works on, once it is warm, before it is killed, in milliseconds. */
const LIFETIME = [10, 150] as const

interface Order {
  readonly id: number
  readonly token: string
}

describeWithPostgres('a process that is killed around the commit', { timeout: 180_000 }, () => {
  const postgres = usePostgres()

  test('loses no job of a row, and leaves none without: they match one to one', async (context) => {
    const setting = { url: postgres.url, prefix: makeName() }
    const db = await openShop(context, postgres.url)
    const { jobs, ran } = openWorker(context, setting)
    await killProducers(setting)

    const { rows: orders } = await db.query<Order>('SELECT id, token FROM orders ORDER BY id')
    const ends = await Promise.all(orders.map(({ token }) => jobs.settled(token)))
    expect(ends.filter(({ status }) => status !== 'done')).toEqual([])
    await until('idle queue', async () => {
      const { waiting, active } = await jobs.health()
      return waiting + active === 0
    })
    expect(ran.toSorted((a, b) => a - b)).toEqual(orders.map(({ id }) => id))
    // Otherwise nothing has been shown.
    expect(orders.length).toBeGreaterThan(LANES * KILLS * 40)
    expect(orders.filter(({ id }) => id % 3 === 0)).toEqual([])
    console.info(`${LANES * KILLS} kills: ${orders.length} rows were committed, and ${ran.length} jobs have run.`)
  })
})

async function openShop({ onTestFinished }: Finisher, connectionString: string): Promise<Client> {
  const db = new Client({ connectionString })
  await db.connect()
  await db.query('CREATE TABLE orders (id integer PRIMARY KEY, token uuid NOT NULL)')
  onTestFinished(async () => {
    await db.query('DROP TABLE orders')
    await db.end()
  })
  return db
}

/** A worker that lives on while the producers die. */
function openWorker({ onTestFinished }: Finisher, setting: Setting) {
  const jobs = makeRuntime(setting, spyLogger())
  onTestFinished(() => jobs.close({ grace: 0 }))
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs, name: 'orders' })
  jobs.register('orders', () => service)
  jobs.work({ concurrency: 10 })
  return { jobs, ran }
}

/** Kills one producer after the other in each lane. */
async function killProducers(setting: Setting): Promise<void> {
  const code = await bundleProducer(join(import.meta.dirname, 'support/producer.ts'))
  const work = async (_: unknown, lane: number): Promise<void> => {
    const dice = new Dice(lane)
    for (let kill = 0; kill < KILLS; kill++) {
      const own: ProducerSetting = { ...setting, firstId: (lane * KILLS + kill) * 10_000 + 1 }
      await runProducer(code, own, dice.between(...LIFETIME))
    }
  }
  await Promise.all(Array.from({ length: LANES }, work))
}

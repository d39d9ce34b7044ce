import { postgresQueue } from 'after-jobs/postgres'
import { Pool } from 'pg'
import { PgBoss } from 'pg-boss'
import { expect, test } from 'vitest'
import { until } from '../crew/until'
import { rejection } from '../engine/support/runtime'
import { makeEnvelope } from '../engine/support/stub-queue'
import { openClient } from './support/neighbours'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

const UNTOUCHED = { type: 'handed back', delay: 0 } as const

describeWithPostgres('the tables of pg-boss', {}, () => {
  const postgres = usePostgres()

  test('are made once, though many processes need them at the same moment', async (context) => {
    // Pools of their own, as processes have them, whose connections are there: then they meet.
    const pools = Array.from({ length: 8 }, () => new Pool({ connectionString: postgres.url, max: 1 }))
    context.onTestFinished(async () => void (await Promise.all(pools.map((pool) => pool.end()))))
    await Promise.all(pools.map((pool) => pool.query('SELECT')))
    for (let round = 0; round < 5; round++) {
      const schema = makeName()
      const queues = pools.map((pool) => postgresQueue({ pool, schema, name: 'jobs' }))
      await Promise.all(queues.map((queue) => queue.enqueue(makeEnvelope())))
      expect(await queues[0]?.health()).toMatchObject({ waiting: 8, active: 0 })
      await Promise.all(queues.map((queue) => queue.close()))
    }
  })

  test('are waited for no longer than for an answer, and made as soon as there is a connection', async (context) => {
    const pool = new Pool({ connectionString: postgres.url, max: 1 })
    const client = await pool.connect()
    const queue = postgresQueue({ pool, schema: makeName() })
    context.onTestFinished(async () => {
      await queue.close()
      await pool.end()
    })
    const begin = Date.now()
    const run = async () => UNTOUCHED
    const calls = [queue.health(), queue.cancel(makeEnvelope().token), queue.runOne(run)]
    for (const ending of await Promise.allSettled(calls)) {
      expect(ending).toMatchObject({ status: 'rejected', reason: { code: 'QUEUE_UNAVAILABLE' } })
    }
    expect(Date.now() - begin).toBeLessThan(6_000)
    client.release()
    expect(await queue.health()).toMatchObject({ waiting: 0 })
  })

  test('are made again after somebody has dropped them: for the next call, and for a worker', async (context) => {
    const schema = makeName()
    const client = await openClient(context, postgres)
    const queue = postgresQueue({ url: postgres.url, schema, pollInterval: 100 })
    context.onTestFinished(async () => void (await queue.close()))
    await queue.health()
    const drop = () => client.query(`DROP SCHEMA ${schema} CASCADE`)
    await drop()
    expect(await rejection(queue.health())).toMatchObject({ code: 'QUEUE_UNAVAILABLE' })
    expect(await queue.health()).toMatchObject({ waiting: 0 })
    const consumer = queue.consume(async () => UNTOUCHED)
    await until('worker', async () => (await queue.health()).workers === 1)
    await drop()
    const isThere = `SELECT to_regclass('${schema}.job_common') IS NOT NULL AS is_there`
    await until('new table', async () => (await client.query(isThere)).rows[0].is_there)
    await consumer.close()
  })

  test('may be those of a pg-boss of the application, which goes on', async (context) => {
    const schema = makeName()
    const boss = new PgBoss({ connectionString: postgres.url, schema })
    await boss.start()
    context.onTestFinished(() => boss.stop({ graceful: false }))
    const queue = postgresQueue({ boss, name: 'jobs', lockDuration: 600, stalledInterval: 200 })
    const seen: unknown[] = []
    const consumer = queue.consume(async ({ id }) => {
      seen.push(id)
      return { type: 'completed', outcome: { status: 'done', result: null } }
    })
    await queue.enqueueMany([makeEnvelope({ id: 1 }), makeEnvelope({ id: 2 })])
    await expect.poll(() => seen, { timeout: 10_000 }).toEqual([1, 2])
    await consumer.close()
    await queue.close()
    expect(await boss.getQueue('jobs')).toMatchObject({ name: 'jobs' })
  })

  test('keep a job from being run twice or thrown away by the upkeep of pg-boss', async (context) => {
    const schema = makeName()
    const boss = new PgBoss({ connectionString: postgres.url, schema, monitorIntervalSeconds: 1 })
    await boss.start()
    context.onTestFinished(() => boss.stop({ graceful: false }))
    const queue = postgresQueue({ boss, name: 'jobs' })
    const [running, waiting] = [makeEnvelope(), makeEnvelope({ delay: 3_600_000 })]
    await queue.enqueueMany([running, waiting])
    let deliveries = 0
    let end = () => {}
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    const consumer = queue.consume(async () => {
      deliveries++
      await ended
      return { type: 'completed', outcome: { status: 'done', result: 7 } }
    })
    await expect.poll(() => deliveries, { timeout: 10_000 }).toBe(1)
    const client = await openClient(context, postgres)
    // As if it had run for a day, and waited for half a year.
    await client.query(`UPDATE ${schema}.job SET started_on = now() - interval '1 day' WHERE state = 'active'`)
    await client.query(`UPDATE ${schema}.job SET created_on = now() - interval '180 days' WHERE state = 'created'`)
    await boss.supervise('jobs')
    expect(await queue.find(running.token)).toMatchObject({ state: 'active' })
    expect(await queue.find(waiting.token)).toMatchObject({ state: 'waiting' })
    end()
    await consumer.close()
    expect(await queue.find(running.token)).toMatchObject({ state: 'ended', outcome: { status: 'done', result: 7 } })
    expect(deliveries).toBe(1)
    await queue.close()
  })
})

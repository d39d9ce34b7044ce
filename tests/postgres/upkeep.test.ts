import { postgresQueue } from 'after-jobs/postgres'
import { Pool } from 'pg'
import { expect, test, vi } from 'vitest'
import { Delivery, type TakenRow } from '../../src/postgres/delivery'
import { openEngine, openQueueDatabase } from '../../src/postgres/engine'
import { addJobs } from '../../src/postgres/insertion'
import { readSettings } from '../../src/postgres/settings'
import { Upkeep } from '../../src/postgres/upkeep'
import type { Finisher } from '../crew/shared-engine'
import { until } from '../crew/until'
import { makeGate } from '../engine/support/runtime'
import { makeEnvelope } from '../engine/support/stub-queue'
import { openClient } from './support/neighbours'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

const DONE = { type: 'completed', outcome: { status: 'done', result: null } } as const

describeWithPostgres('a worker', {}, () => {
  const postgres = usePostgres()

  function openPool({ onTestFinished }: Finisher): Pool {
    const pool = new Pool({ connectionString: postgres.url, max: 1 })
    onTestFinished(() => pool.end())
    return pool
  }

  test('keeps its job while the application holds every connection of the pool for longer than a lock', async (context) => {
    const pool = openPool(context)
    const place = { schema: makeName(), lockDuration: 500, stalledInterval: 100 }
    const [starved, other] = [postgresQueue({ pool, ...place }), postgresQueue({ url: postgres.url, ...place })]
    const gate = makeGate()
    const signals: (AbortSignal | undefined)[] = []
    const consumer = starved.consume(async (_envelope, { signal }) => {
      const client = await pool.connect()
      signals.push(signal)
      await gate.opened
      client.release()
      return DONE
    })
    const { token } = makeEnvelope()
    await other.enqueue(makeEnvelope({ token }))
    await until('start', () => signals.length > 0)
    const robber = vi.fn(async () => DONE)
    const second = other.consume(robber)
    const client = await openClient(context, postgres)
    const age = `SELECT started_on < now() - interval '2 seconds' AS is_old FROM ${place.schema}.job WHERE id = $1`
    await until('four locks', async () => (await client.query(age, [token])).rows[0].is_old)
    expect(signals.map((signal) => signal?.aborted)).toEqual([false])
    // Nor does it seem to be dead.
    expect(await other.health()).toMatchObject({ active: 1, workers: 2 })
    gate.open()
    await until('end', async () => (await other.find(token)).state === 'ended')
    expect(robber).not.toHaveBeenCalled()
    await Promise.all([consumer.close(), second.close()])
    await Promise.all([starved.close(), other.close()])
  })

  test('that has slept for longer than its locks does not rob itself; one that does not wake up is robbed', async (context) => {
    const settings = readSettings({ url: postgres.url, schema: makeName(), lockDuration: 100 })
    const database = openQueueDatabase(settings)
    context.onTestFinished(() => database.close())
    const engine = await openEngine(database, settings)
    const { query, statements } = engine
    const envelope = makeEnvelope()
    await addJobs(engine, query, [envelope], 0)
    const [row] = await query<TakenRow>(statements.take, [1, settings.lockDuration])
    const delivery = new Delivery(row as TakenRow, async () => {})
    const onLost = vi.fn()
    const parts = { settings, engine, ask: query, onLost, onTrouble: () => {} }
    const find = async () => (await query<{ state: string; holds: boolean }>(statements.find, [envelope.token]))[0]
    const sleep = () => until('end of the lock', async () => (await find())?.holds === false)
    await sleep()
    await new Upkeep(parts, [delivery]).recover()
    expect(onLost).not.toHaveBeenCalled()
    expect(delivery.isLost).toBe(false)
    expect(await find()).toMatchObject({ state: 'active' })
    await sleep()
    await new Upkeep(parts, []).recover()
    expect(onLost.mock.calls).toEqual([[envelope.token]])
  })

  test('that runs one job is given up with the queue, though its database is away', async (context) => {
    const pool = openPool(context)
    const queue = postgresQueue({ pool, schema: makeName() })
    await queue.enqueue(makeEnvelope())
    const connect = vi.spyOn(pool, 'connect')
    const gate = makeGate()
    let isOver = false
    const running = queue.runOne(async () => {
      connect.mockImplementation((onConnected) => onConnected(new Error('away'), undefined, () => {}))
      gate.open()
      return DONE
    })
    running.then(() => {
      isOver = true
    })
    await gate.opened
    await queue.close()
    connect.mockRestore()
    await until('end', () => isOver, 3_000)
  })
})

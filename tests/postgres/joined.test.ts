import { PGlite } from '@electric-sql/pglite'
import type { JobEnvelope, JobQueue } from 'after-jobs'
import { postgresQueue } from 'after-jobs/postgres'
import { drizzle } from 'drizzle-orm/node-postgres'
import createKnex from 'knex'
import { Kysely, PostgresDialect } from 'kysely'
import { Client, Pool, type PoolClient } from 'pg'
import { DataSource } from 'typeorm'
import { afterAll, describe, expect, test, vi } from 'vitest'
import type { Finisher } from '../crew/shared-engine'
import { makeBench, rejection } from '../engine/support/runtime'
import { distantCache } from '../engine/support/spies'
import { makeEnvelope } from '../engine/support/stub-queue'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

/** Runs a function in a transaction, with what an application has in its hands there; what it throws rolls back. */
type Transact = (url: string, run: (db: unknown) => Promise<void>) => Promise<void>

async function withPool<T>(url: string, run: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = new Pool({ connectionString: url })
  try {
    return await run(pool)
  } finally {
    await pool.end()
  }
}

async function begin(client: Client | PoolClient, run: (db: unknown) => Promise<void>): Promise<void> {
  await client.query('BEGIN')
  try {
    await run(client)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  }
}

async function withDataSource(url: string, run: (source: DataSource) => Promise<void>): Promise<void> {
  const source = await new DataSource({ type: 'postgres', url }).initialize()
  try {
    await run(source)
  } finally {
    await source.destroy()
  }
}

async function withKnex(url: string, run: (knex: createKnex.Knex) => Promise<void>): Promise<void> {
  const knex = createKnex({ client: 'pg', connection: url })
  try {
    await run(knex)
  } finally {
    await knex.destroy()
  }
}

const TRANSACTIONS: Record<string, Transact> = {
  async 'a client of pg'(url, run) {
    const client = new Client({ connectionString: url })
    await client.connect()
    await begin(client, run).finally(() => client.end())
  },
  'a client out of a pool of pg': (url, run) =>
    withPool(url, async (pool) => {
      const client = await pool.connect()
      await begin(client, run).finally(() => client.release())
    }),
  'a transaction of Kysely': (url, run) =>
    withPool(url, (pool) => new Kysely({ dialect: new PostgresDialect({ pool }) }).transaction().execute(run)),
  'a transaction of Knex': (url, run) => withKnex(url, (knex) => knex.transaction(run)),
  'a transaction of Drizzle': (url, run) => withPool(url, (pool) => drizzle(pool).transaction(run)),
  'an EntityManager of TypeORM': (url, run) => withDataSource(url, (source) => source.transaction(run)),
  'a QueryRunner of TypeORM': (url, run) =>
    withDataSource(url, async (source) => {
      const runner = source.createQueryRunner()
      await runner.startTransaction()
      try {
        await run(runner)
        await runner.commitTransaction()
      } catch (error) {
        await runner.rollbackTransaction()
        throw error
      } finally {
        await runner.release()
      }
    }),
  // Its driver for PostgreSQL is not here; this is what it offers, on the Knex that it works with.
  'an EntityManager shaped like that of MikroORM': (url, run) =>
    withKnex(url, (knex) =>
      knex.transaction((transaction) =>
        run({ getConnection: () => ({}), getTransactionContext: () => transaction, isInTransaction: () => true }),
      ),
    ),
  'a client shaped like that of a Prisma transaction': (url, run) =>
    withPool(url, async (pool) => {
      const client = await pool.connect()
      const $queryRawUnsafe = async (text: string, ...values: unknown[]) => (await client.query(text, values)).rows
      await begin(client, () => run({ $queryRawUnsafe })).finally(() => client.release())
    }),
}

/** How long a call may take, in milliseconds. */
const LIMIT = 5_000

class Rollback extends Error {}

async function states(queue: JobQueue, envelopes: readonly JobEnvelope[]): Promise<string[]> {
  const lookups = await Promise.all(envelopes.map(({ token }) => queue.find(token)))
  return lookups.map(({ state }) => state)
}

function joined(queue: JobQueue): NonNullable<JobQueue['transactional']> {
  if (queue.transactional === undefined) throw new Error('The queue knows no transactions.')
  return queue.transactional
}

describeWithPostgres('jobs in the transaction of', {}, () => {
  const postgres = usePostgres()
  const schema = makeName()

  function openQueue({ onTestFinished }: Finisher, name = makeName()): JobQueue {
    const queue = postgresQueue({ url: postgres.url, schema, name })
    onTestFinished(async () => void (await queue.close()))
    return queue
  }

  /** A pool that lasts as long as the test. */
  function openPool({ onTestFinished }: Finisher, max = 1): Pool {
    const pool = new Pool({ connectionString: postgres.url, max })
    onTestFinished(() => pool.end())
    return pool
  }

  for (const [name, transact] of Object.entries(TRANSACTIONS)) {
    test(`${name} exist when it has committed, and are delivered at once`, async (context) => {
      const queue = openQueue(context)
      const run = vi.fn(async () => ({ type: 'completed', outcome: { status: 'done', result: null } }) as const)
      const consumer = queue.consume(run)
      const envelopes = [makeEnvelope({ payload: { text: "it's $1 ? \\? ü" } }), makeEnvelope({ id: 2 })]
      await transact(postgres.url, async (db) => {
        expect(await joined(queue).enqueueMany(envelopes, db, LIMIT)).toEqual(envelopes.map(({ token }) => token))
        expect(await states(queue, envelopes)).toEqual(['absent', 'absent'])
      })
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2))
      expect(run.mock.calls.map(([envelope]: unknown[]) => envelope)).toEqual(envelopes)
      await consumer.close()
    })

    test(`${name} were never there when it has rolled back, or they were withdrawn`, async (context) => {
      const queue = openQueue(context)
      const envelopes = [makeEnvelope(), makeEnvelope(), makeEnvelope()] as const
      const failing = transact(postgres.url, async (db) => {
        await joined(queue).enqueueMany(envelopes, db, LIMIT)
        throw new Rollback()
      })
      await expect(failing).rejects.toBeInstanceOf(Rollback)
      expect(await states(queue, envelopes)).toEqual(['absent', 'absent', 'absent'])
      await transact(postgres.url, async (db) => {
        await joined(queue).enqueueMany(envelopes, db, LIMIT)
        await joined(queue).withdraw([envelopes[0].token, envelopes[2].token], db, LIMIT)
      })
      expect(await states(queue, envelopes)).toEqual(['absent', 'waiting', 'absent'])
    })
  }

  test('a client that has not been told that it began, which it will be before the jobs', async (context) => {
    const queue = openQueue(context)
    const envelope = makeEnvelope()
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    const began = client.query('BEGIN')
    const added = joined(queue).enqueueMany([envelope], client, LIMIT)
    await began
    await added
    await client.query('ROLLBACK')
    await client.end()
    expect(await states(queue, [envelope])).toEqual(['absent'])
  })

  test.for(['enqueueMany', 'withdraw'] as const)('nothing that is one: %s refuses it', async (call, context) => {
    const queue = openQueue(context)
    const pool = new Pool({ connectionString: postgres.url })
    const client = new Client({ connectionString: postgres.url })
    await client.connect()
    const knex = createKnex({ client: 'pg', connection: postgres.url })
    const strangers = [7, 'db', null, {}, [], () => {}, { query: 'no function' }]
    const outside = [pool, client, knex, new Kysely({ dialect: new PostgresDialect({ pool }) }), drizzle(pool)]
    const orm = { getConnection: () => ({}), getTransactionContext: () => undefined }
    const prisma = { $queryRawUnsafe: async () => [], $connect: async () => {} }
    try {
      for (const db of [...strangers, ...outside, orm, prisma]) {
        const error = await rejection(joined(queue)[call]([makeEnvelope()] as never, db, LIMIT))
        expect(error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringContaining('a pg client') })
      }
    } finally {
      await Promise.all([client.end(), knex.destroy()])
      await pool.end()
    }
  })

  test('a client, while others keep the queue from being opened: it is left alone once that was given up', async (context) => {
    const pool = openPool(context, 2)
    const queue = postgresQueue({ pool, schema: makeName() })
    const { jobs, start } = makeBench({ afterCreateJob() {} }, { queue, cache: distantCache(), enqueueTimeout: 500 })
    context.onTestFinished(() => jobs.close())
    const [client, other] = [await pool.connect(), await pool.connect()]
    await client.query('BEGIN')
    const error = await rejection(start(1, { db: client }))
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', message: expect.stringContaining('jobs.health()') })
    await client.query('ROLLBACK')
    // As somebody else who was given the connection.
    await client.query('BEGIN')
    other.release()
    expect(await jobs.health()).toMatchObject({ queue: 'up', waiting: 0 })
    await client.query('COMMIT')
    expect(await jobs.health()).toMatchObject({ waiting: 0 })
    await begin(client, async (db) => void (await start(2, { db: db as Client })))
    client.release()
    expect(await jobs.health()).toMatchObject({ waiting: 1 })
  })

  test('a client that is the only connection: none are there after its rollback', async (context) => {
    const pool = openPool(context)
    const queue = postgresQueue({ pool, schema: makeName() })
    const { jobs, start } = makeBench({ afterCreateJob() {} }, { queue, cache: distantCache(), enqueueTimeout: 500 })
    context.onTestFinished(() => jobs.close())
    const client = await pool.connect()
    await client.query('BEGIN')
    expect(await rejection(start(1, { db: client }))).toMatchObject({ code: 'ENQUEUE_FAILED' })
    await client.query('ROLLBACK')
    client.release()
    expect(await jobs.health()).toMatchObject({ queue: 'up', waiting: 0 })
    expect(await jobs.health()).toMatchObject({ waiting: 0 })
  })

  test('a client whose transaction ends while the queue is being opened: nothing is sent after it', async (context) => {
    const pool = openPool(context)
    const queue = postgresQueue({ pool, schema: makeName() })
    context.onTestFinished(async () => void (await queue.close()))
    const client = await pool.connect()
    await client.query('BEGIN')
    const adding = rejection(joined(queue).enqueueMany([makeEnvelope()], client, LIMIT))
    await client.query('ROLLBACK')
    client.release()
    expect(await adding).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('in no transaction'),
    })
    expect(await queue.health()).toMatchObject({ waiting: 0 })
  })

  test('a client whose transaction cannot be serialized: the error of its driver is the cause, and what to do is said', async (context) => {
    const queue = openQueue(context)
    const envelope = makeEnvelope()
    await queue.health()
    const pool = openPool(context)
    const client = await pool.connect()
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    await client.query('SELECT 1')
    await queue.enqueue(envelope)
    const error = await rejection(joined(queue).enqueueMany([envelope], client, LIMIT))
    await client.query('ROLLBACK')
    client.release()
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', cause: { code: '40001' } })
    expect(error).toMatchObject({
      message: expect.stringMatching(/could not serialize access.*\. Roll it back, and repeat it\.$/),
    })
  })
})

describe('jobs in the transaction of a PGlite', { timeout: 60_000 }, () => {
  const opened = PGlite.create()
  afterAll(async () => (await opened).close())

  test('are refused at once while the queue waits for that transaction in order to open', async () => {
    const pglite = await opened
    let queue: JobQueue | undefined
    await pglite.transaction(async (db) => {
      queue = postgresQueue({ pglite })
      const opening = queue.health()
      const refusal = await rejection(joined(queue).enqueueMany([makeEnvelope()], db, LIMIT))
      expect(refusal).toMatchObject({ code: 'QUEUE_UNAVAILABLE', message: expect.stringContaining('jobs.health()') })
      opening.catch(() => {})
    })
    expect(await queue?.health()).toMatchObject({ waiting: 0 })
    await queue?.close()
  })

  test('are a part of it', async () => {
    const pglite = await opened
    const queue = postgresQueue({ pglite })
    await queue.health()
    const envelopes = [makeEnvelope(), makeEnvelope()]
    const add = async (db: unknown) => void (await joined(queue).enqueueMany(envelopes, db, LIMIT))
    const failing = pglite.transaction(async (db) => {
      await add(db)
      throw new Rollback()
    })
    await expect(failing).rejects.toBeInstanceOf(Rollback)
    expect(await states(queue, envelopes)).toEqual(['absent', 'absent'])
    await pglite.transaction(add)
    expect(await states(queue, envelopes)).toEqual(['waiting', 'waiting'])
    expect(await rejection(joined(queue).enqueueMany(envelopes, pglite, LIMIT))).toMatchObject({
      code: 'INVALID_OPTION',
    })
    await queue.close()
  })
})

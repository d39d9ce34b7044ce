import { postgresCache, postgresSchema } from 'after-jobs/postgres'
import { Pool, type PoolClient } from 'pg'
import { expect, test, vi } from 'vitest'
import { HOUR, newRecord, newToken, store } from '../../src/testing/cache-fixtures'
import type { Finisher } from '../crew/shared-engine'
import { until } from '../crew/until'
import { CacheProcess } from './support/cache-process'
import { describeWithPostgres, describeWithServer, usePostgres, useServer } from './support/suite'

/** Milliseconds between two sweeps, so few that a test sees many. */
const OFTEN = 100

describeWithPostgres('expired rows', {}, () => {
  const postgres = usePostgres()

  /** Opens a table with some rows that have expired, and some that have not. */
  async function openTable({ onTestFinished }: Finisher, dead: number, alive: number) {
    const table = postgres.makeName()
    const pool = new Pool({ connectionString: postgres.url, allowExitOnIdle: true })
    onTestFinished(() => pool.end())
    await pool.query(postgresSchema({ table }))
    const { rest, ...columns } = { ...newRecord(), rest: '{}' }
    const insert = `
      INSERT INTO ${table} (token, status, progress, updated_at, expires_at, sweep_after, prefix, version, incarnation, rest)
      SELECT gen_random_uuid(), $1, 0, now(), now() + $3::interval, now() + $3::interval, 'any', 1, 1, $4 FROM generate_series(1, $2)`
    await pool.query(insert, [columns.status, dead, '-1 second', rest])
    await pool.query(insert, [columns.status, alive, '1 hour', rest])
    const count = async () => Number((await pool.query(`SELECT count(*) FROM ${table}`)).rows[0].count)
    const openCache = (sweepInterval = OFTEN) => {
      const cache = postgresCache({ pool, table, sweepInterval })
      onTestFinished(() => cache.close())
      return cache
    }
    return { table, pool, count, openCache }
  }

  test('are removed, at most a thousand at a time, and no others', async (context) => {
    const { table, pool, count, openCache } = await openTable(context, 3_500, 50)
    // Counts the rows that each statement removes.
    await pool.query(`
      CREATE TABLE ${table}_log (removed integer);
      CREATE FUNCTION ${table}_note() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO ${table}_log SELECT count(*) FROM gone; RETURN NULL; END';
      CREATE TRIGGER note AFTER DELETE ON ${table} REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION ${table}_note()`)
    await openCache().read(newToken())
    await until('end of the sweep', async () => (await count()) === 50)
    const { rows } = await pool.query(`SELECT removed FROM ${table}_log WHERE removed > 0`)
    expect(rows.map(({ removed }) => removed)).toEqual([1_000, 1_000, 1_000, 500])
  })

  test('are not waited for: what somebody holds is left for the next time, and a reader sees none of it', async (context) => {
    const { table, pool, count, openCache } = await openTable(context, 20, 0)
    const client: PoolClient = await pool.connect()
    await client.query(`BEGIN; SELECT token FROM ${table} LIMIT 1 FOR UPDATE`)
    const { rows } = await client.query(`SELECT token FROM ${table} LIMIT 1`)
    const cache = openCache()
    expect(await cache.read(rows[0].token)).toBe(undefined)
    await until('sweep of the others', async () => (await count()) === 1)
    await client.query('COMMIT')
    client.release()
    await until('sweep of the last', async () => (await count()) === 0)
  })

  test('are swept by one process at a time', async (context) => {
    const { pool, count, openCache } = await openTable(context, 20, 0)
    const client = await pool.connect()
    // As another process does during its sweep.
    const [lock] = /\d{10,}/.exec(await sweepStatement()) ?? []
    await client.query('BEGIN')
    await client.query(`SELECT pg_advisory_xact_lock(${lock})`)
    await openCache().read(newToken())
    // A sweep begins when the one before has ended, and nobody else asks for a connection now.
    const begun = vi.spyOn(pool, 'connect')
    await until('five sweeps', () => begun.mock.calls.length >= 5)
    begun.mockRestore()
    expect(await count()).toBe(20)
    await client.query('COMMIT')
    client.release()
    await until('sweep', async () => (await count()) === 0)
  })

  test('hold no process open', async (context) => {
    const { pool, openCache } = await openTable(context, 0, 0)
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    // So seldom that the timer is there to be seen.
    const cache = openCache(HOUR)
    const before = timers()
    await cache.read(newToken())
    await until('idle pool', () => pool.idleCount === pool.totalCount)
    expect(timers()).toBeLessThanOrEqual(before)
  })
})

async function sweepStatement(): Promise<string> {
  const { writeStatusStatements } = await import('../../src/postgres/status-statements')
  return writeStatusStatements('any').sweep
}

describeWithServer('the making of the table', { timeout: 60_000 }, () => {
  const server = useServer()

  test('may be run by many processes at once', async (context) => {
    const table = 'by_ten'
    const processes = await Promise.all(
      Array.from({ length: 10 }, () => new CacheProcess(context, { url: server.url, table }).ready()),
    )
    const token = newToken()
    const answers = await Promise.all(processes.map((one) => one.write(token, newRecord())))
    expect(answers.map(({ error }) => error)).toEqual(answers.map(() => undefined))
    expect(answers.filter(({ value }) => value === true)).toHaveLength(1)
  })

  test('has one turn after the other, though all find it missing at the same moment', async ({ onTestFinished }) => {
    const pool = new Pool({ connectionString: server.url })
    onTestFinished(() => pool.end())
    const clients = await Promise.all(Array.from({ length: 10 }, () => pool.connect()))
    for (let round = 0; round < 20; round++) {
      await Promise.all(clients.map((client) => client.query(postgresSchema({ table: `round_${round}` }))))
    }
    for (const client of clients) client.release()
  })

  test('may be repeated, and be part of a transaction', async () => {
    await server.ask(async (client) => {
      for (let run = 0; run < 2; run++) await client.query(postgresSchema({ table: 'again' }))
      await client.query('BEGIN')
      await client.query(postgresSchema({ table: 'undone' }))
      await client.query('ROLLBACK')
      expect(
        (await client.query(`SELECT to_regclass('again') IS NOT NULL AS a, to_regclass('undone') AS b`)).rows,
      ).toEqual([{ a: true, b: null }])
    })
  })

  test('can be left to somebody else: then the cache needs no right to make one', async ({ onTestFinished }) => {
    const table = 'app.job_status'
    await server.ask((client) =>
      client.query(`
        CREATE SCHEMA app; ${postgresSchema({ table })}
        CREATE ROLE clerk LOGIN; GRANT USAGE ON SCHEMA app TO clerk;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO clerk`),
    )
    const cache = postgresCache({ url: server.urlOf('clerk'), table, sweepInterval: OFTEN })
    const other = postgresCache({ url: server.urlOf('clerk'), table: 'app.another' })
    onTestFinished(async () => {
      await cache.close()
      await other.close()
    })
    const { token, record } = await store(cache, HOUR)
    expect(await cache.read(token)).toEqual(record)
    await server.ask((client) => client.query(`UPDATE ${table} SET expires_at = now(), sweep_after = now()`))
    const count = `SELECT count(*)::int AS count FROM ${table}`
    await until('sweep', async () => (await server.ask((client) => client.query(count))).rows[0].count === 0)
    await expect(other.read(token)).rejects.toMatchObject({
      code: 'CACHE_UNAVAILABLE',
      message: expect.stringContaining('permission denied'),
    })
  })

  test.for(['a"b', 'a.b.c', '', 'Table', 'x'.repeat(51), '1a', 'a.', 7])('refuses the name %j', (table) => {
    const refusal = expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('table') })
    expect(() => postgresSchema({ table: table as string })).toThrow(refusal)
    expect(() => postgresCache({ url: 'postgres://localhost', table: table as string })).toThrow(refusal)
  })
})

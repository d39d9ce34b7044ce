import { postgresCache } from 'after-jobs/postgres'
import { cacheConformance } from 'after-jobs/testing'
import { Pool } from 'pg'
import { expect, test, vi } from 'vitest'
import { HOUR, newRecord, newToken, nextOf, store } from '../../src/testing/cache-fixtures'
import { testRules } from '../core/cache-rules'
import type { Finisher } from '../crew/shared-engine'
import { CacheProcess } from './support/cache-process'
import { describeWithPostgres, usePostgres } from './support/suite'

const RULE_RUNS = 300

describeWithPostgres('the cache in PostgreSQL', {}, () => {
  const postgres = usePostgres()
  cacheConformance({ test, expect }, () => postgresCache({ url: postgres.url, table: postgres.makeName() }))
  testRules(() => postgresCache({ url: postgres.url, prefix: postgres.makeName() }), RULE_RUNS)
})

describeWithPostgres('the table of statuses', {}, () => {
  const postgres = usePostgres()

  /** Opens a cache on a table of its own, and a pool that counts what the cache asks. */
  function open({ onTestFinished }: Finisher, options: { prefix?: string; max?: number } = {}) {
    const { max = 10, ...others } = options
    const table = postgres.makeName()
    const pool = new Pool({ connectionString: postgres.url, max })
    const cache = postgresCache({ pool, table, ...others })
    onTestFinished(async () => {
      await cache.close()
      await pool.end()
    })
    return { cache, pool, table }
  }

  test('can be read by people', async (context) => {
    const { cache, pool, table } = open(context)
    const { token, record } = await store(cache, HOUR)
    await cache.write(token, nextOf(record, { status: 'running', progress: 40, label: 'Importing' }), HOUR)
    const { rows } = await pool.query(`SELECT *, expires_at - updated_at AS life FROM ${table}`)
    expect(rows).toEqual([
      expect.objectContaining({
        token,
        status: 'running',
        progress: 40,
        label: 'Importing',
        message: null,
        code: null,
      }),
    ])
    expect(rows[0]).toMatchObject({ prefix: 'traitement', updated_at: expect.any(Date), life: { hours: 1 } })
    // Rounded up, so that few writes touch the index.
    expect(rows[0].sweep_after.getTime() % 600_000).toBe(0)
    expect(rows[0].sweep_after.getTime()).toBeGreaterThanOrEqual(rows[0].expires_at.getTime())
  })

  test('keeps the statuses of two programs apart by their prefix', async (context) => {
    const { cache, pool, table } = open(context)
    const other = postgresCache({ pool, table, prefix: 'other' })
    context.onTestFinished(() => other.close())
    const { token, record } = await store(cache, HOUR)
    expect(await other.read(token)).toBe(undefined)
    expect(await other.write(token, nextOf(record, {}), HOUR)).toBe(false)
    expect(await other.write(token, newRecord(), HOUR)).toBe(true)
    expect(await cache.read(token)).toEqual(record)
  })

  test('is asked once for all reads, and once for all writes, of one turn', async (context) => {
    const { cache, pool } = open(context)
    const { token, record } = await store(cache, HOUR)
    const asked = vi.spyOn(pool, 'connect')
    const tokens = Array.from({ length: 10 }, newToken)
    expect(await Promise.all(tokens.map((one) => cache.write(one, newRecord(), HOUR)))).toEqual(tokens.map(() => true))
    expect(asked).toHaveBeenCalledTimes(1)
    expect(await Promise.all([token, ...tokens, token].map((one) => cache.read(one)))).toMatchObject([
      record,
      ...tokens.map(() => ({ version: 1 })),
      record,
    ])
    expect(asked).toHaveBeenCalledTimes(2)
  })

  test('refuses what it cannot hold, and takes what came in the same turn', async (context) => {
    const { cache } = open(context)
    const { token, record } = await store(cache, HOUR)
    const next = nextOf(record, { label: 'good' })
    const [good, bad, name, later] = await Promise.allSettled([
      cache.write(token, next, HOUR),
      cache.write(newToken(), { ...newRecord(), label: 'no \0' }, HOUR),
      cache.read('no token'),
      cache.read(token),
    ])
    expect(good).toEqual({ status: 'fulfilled', value: true })
    for (const refused of [bad, name]) {
      expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'CACHE_UNAVAILABLE' } })
    }
    expect(later).toMatchObject({ status: 'fulfilled' })
    expect(await cache.read(token)).toEqual(next)
  })

  test('keeps what JSON can say and jsonb cannot', async (context) => {
    const { cache } = open(context)
    const token = newToken()
    const record = { ...newRecord(), context: { zero: '\0', half: '\ud800', 'a\0': [1e300] } }
    expect(await cache.write(token, record, HOUR)).toBe(true)
    expect(await cache.read(token)).toEqual(record)
  })

  test('tells a row that is no record, and never takes it for a missing one', async (context) => {
    const { cache, pool, table } = open(context)
    const { token } = await store(cache, HOUR)
    const other = await store(cache, HOUR)
    await pool.query(`UPDATE ${table} SET rest = '[]' WHERE token = $1`, [token])
    const [bad, good] = await Promise.allSettled([cache.read(token), cache.read(other.token)])
    expect(bad).toMatchObject({ reason: { code: 'CACHE_UNAVAILABLE', message: /no record/ } })
    expect(good).toEqual({ status: 'fulfilled', value: other.record })
    expect(await cache.write(token, newRecord(), HOUR)).toBe(false)
  })

  test('is made again when somebody has dropped it', async (context) => {
    const { cache, pool, table } = open(context)
    const { token, record } = await store(cache, HOUR)
    await pool.query(`DROP TABLE ${table}`)
    await expect(cache.read(token)).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE', message: /does not exist/ })
    expect(await cache.read(token)).toBe(undefined)
    expect(await cache.write(token, record, HOUR)).toBe(true)
  })

  test('is read also when somebody has altered its columns', async (context) => {
    const { cache, pool, table } = open(context, { max: 1 })
    const { token, record } = await store(cache, HOUR)
    expect(await cache.read(token)).toEqual(record)
    await pool.query(`ALTER TABLE ${table} ALTER label TYPE varchar(600)`)
    expect(await cache.read(token)).toEqual(record)
    expect(await cache.write(token, nextOf(record, {}), HOUR)).toBe(true)
    expect(await cache.read(token)).toEqual(nextOf(record, {}))
    // It goes on with statements that stay prepared.
    const { rows } = await pool.query('SELECT count(*)::int AS count FROM pg_prepared_statements')
    expect(rows[0].count).toBeGreaterThan(0)
  })

  test('is read also through a pooler that forgets what was prepared', async (context) => {
    const { cache, pool } = open(context, { max: 1 })
    const { token, record } = await store(cache, HOUR)
    expect(await cache.read(token)).toEqual(record)
    await pool.query('DEALLOCATE ALL')
    expect(await cache.read(token)).toEqual(record)
    const next = nextOf(record, {})
    expect(await cache.write(token, next, HOUR)).toBe(true)
    await pool.query('DEALLOCATE ALL')
    expect(await cache.read(token)).toEqual(next)
  })

  test('holds no lock of one that is being written for longer than its statement', async (context) => {
    const { cache, pool, table } = open(context)
    const { token, record } = await store(cache, HOUR)
    await cache.write(token, nextOf(record, {}), HOUR)
    const locks = `SELECT mode FROM pg_locks JOIN pg_class ON relation = pg_class.oid WHERE relname = $1 AND pid <> pg_backend_pid()`
    expect((await pool.query(locks, [table])).rows).toEqual([])
  })

  test('lets exactly one of two processes store a version, each time', async (context) => {
    const setting = { url: postgres.url, table: postgres.makeName() }
    const racers = await Promise.all([1, 2].map(() => new CacheProcess(context, setting).ready()))
    const token = newToken()
    let record = newRecord()
    const wins = [0, 0]
    for (let round = 0; round < 100; round++) {
      const drafts = racers.map((_, index) => ({ ...record, label: `${round} ${index}` }))
      const answers = await Promise.all(racers.map((racer, index) => racer.write(token, drafts[index] as never)))
      const winners = answers.flatMap(({ value }, index) => (value === true ? index : []))
      expect(winners).toHaveLength(1)
      const [winner = 0] = winners
      wins[winner] = (wins[winner] ?? 0) + 1
      expect((await racers[1 - winner]?.read(token))?.value).toEqual(drafts[winner])
      record = nextOf(drafts[winner] as typeof record, {})
    }
    expect((wins[0] as number) + (wins[1] as number)).toBe(100)
  })
})

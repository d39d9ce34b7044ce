import { PGlite } from '@electric-sql/pglite'
import { createAfterJobs } from 'after-jobs'
import { postgresCache } from 'after-jobs/postgres'
import { cacheConformance } from 'after-jobs/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { lockFolder } from '../../src/postgres/folder-lock'
import { HOUR, newRecord, newToken, store } from '../../src/testing/cache-fixtures'
import { testRules } from '../core/cache-rules'
import { until } from '../crew/until'
import { rejection } from '../engine/support/runtime'
import { CacheProcess } from './support/cache-process'
import { makeFolder, makeName } from './support/suite'

/** To make a database takes seconds, and blocks the process. */
const PATIENT = { timeout: 120_000 }
const RULE_RUNS = 100

describe('the cache in this process', () => {
  const pglite = new PGlite()
  beforeAll(() => pglite.waitReady, PATIENT.timeout)
  afterAll(() => pglite.close())
  cacheConformance({ test, expect }, () => postgresCache({ pglite, table: makeName() }))

  test('is not waited for in a transaction of the application, which would wait for itself', async (context) => {
    const cache = postgresCache({ pglite, prefix: makeName() })
    const jobs = createAfterJobs({ cache })
    context.onTestFinished(() => jobs.close())
    const token = newToken()
    // Its table is there.
    expect(await jobs.status(token)).toMatchObject({ status: 'unknown' })
    const error = await pglite.transaction(() => rejection(jobs.status(token)))
    expect(error).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
  })
  testRules(() => postgresCache({ pglite, prefix: makeName() }), RULE_RUNS)
})

describe('a folder', PATIENT, () => {
  test('is one database for all of a process, until the last has closed, and then for the next process', async (context) => {
    const pglite = makeFolder(context)
    const [first, second] = [postgresCache({ pglite }), postgresCache({ pglite })]
    const { token, record } = await store(first, HOUR)
    expect(await second.read(token)).toEqual(record)
    await first.close()
    expect(await second.read(token)).toEqual(record)
    await second.close()
    const other = await new CacheProcess(context, { pglite }).ready()
    expect(await other.read(token)).toEqual({ value: record })
    await other.close()
    const third = postgresCache({ pglite })
    expect(await third.read(token)).toEqual(record)
    await third.close()
  })

  test('is given back by those who close while it is being opened', async (context) => {
    const pglite = makeFolder(context)
    const caches = [postgresCache({ pglite }), postgresCache({ pglite })]
    const readings = caches.map((cache) => rejection(cache.read(newToken())))
    await Promise.all(caches.map((cache) => cache.close()))
    for (const error of await Promise.all(readings)) expect(error).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    const lock = await lockFolder(pglite, 'test')
    lock.release()
    const next = postgresCache({ pglite })
    expect(await next.read(newToken())).toBeUndefined()
    await next.close()
  })

  test('is refused to a second process, and no row is lost', async (context) => {
    const pglite = makeFolder(context)
    const cache = postgresCache({ pglite })
    const { token, record } = await store(cache, HOUR)
    const others = await Promise.all([1, 2].map(() => new CacheProcess(context, { pglite }).ready()))
    for (const other of others) {
      const { error } = await other.write(newToken(), newRecord())
      expect(error?.code).toBe('DATABASE_IN_USE')
      expect(error?.message).toContain(`process ${process.pid}`)
      expect((await other.read(token)).error?.code).toBe('DATABASE_IN_USE')
    }
    expect(await cache.read(token)).toEqual(record)
    await cache.close()
    const answers = await Promise.all(others.map((other) => other.read(token)))
    // They come at the same time, and one of them is the first.
    expect(answers.filter(({ value }) => value !== undefined)).toEqual([{ value: record }])
    expect(answers.filter(({ error }) => error?.code === 'DATABASE_IN_USE')).toHaveLength(1)
  })

  test('is taken over from a process that was killed, with every row that was committed', async (context) => {
    const pglite = makeFolder(context)
    const written: string[] = []
    for (let round = 1; round <= 2; round++) {
      const writer = await new CacheProcess(context, { pglite }).ready()
      await writer.writeOn((token) => written.push(token))
      await until('hundred rows', () => written.length >= round * 100, 60_000)
      await writer.kill()
    }
    const cache = postgresCache({ pglite })
    const found = await Promise.all(written.map((token) => cache.read(token)))
    expect(found.filter((record) => record === undefined)).toEqual([])
    await cache.close()
  })
})

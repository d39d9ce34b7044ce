import { postgresCache } from 'after-jobs/postgres'
import { Pool } from 'pg'
import { expect, test, vi } from 'vitest'
import type { JobCache } from '../../src/ports/cache'
import { HOUR, newRecord, newToken, nextOf, store } from '../../src/testing/cache-fixtures'
import { until } from '../crew/until'
import { rejection } from '../engine/support/runtime'
import { describeWithServer, openServer } from './support/suite'

// Each has a server of its own, and mostly waits.
vi.setConfig({ maxConcurrency: 2 })
const OPTIONS = { concurrent: true, timeout: 60_000 }
const LIMIT = 3_000
const WAYS = ['stop', 'crash', 'kill', 'freeze'] as const

/** Fails many reads and writes at once, each in time. */
async function failAll(cache: JobCache, token: string): Promise<void> {
  const begin = Date.now()
  const entry = { token: newToken(), record: newRecord(), ttl: HOUR }
  const calls = [cache.read(token), cache.write(newToken(), newRecord(), HOUR), cache.writeMany([entry])]
  for (const error of await Promise.all(
    [...calls, ...Array.from({ length: 100 }, () => cache.read(token))].map(rejection),
  )) {
    expect(error).toMatchObject({
      code: 'CACHE_UNAVAILABLE',
      message: expect.stringMatching(/^postgresCache could not /),
    })
  }
  expect(Date.now() - begin).toBeLessThan(LIMIT)
}

describeWithServer('while PostgreSQL is away', OPTIONS, () => {
  test.for(WAYS)('after %s, all calls reject within 3 s, and work when it is back', async (way, context) => {
    const server = await openServer(context)
    const cache = postgresCache(server.url)
    context.onTestFinished(() => cache.close())
    const { token, record } = await store(cache, HOUR)
    await server[way]()
    for (let round = 0; round < 3; round++) await failAll(cache, token)
    if (way === 'freeze') server.thaw()
    else await server.restart()
    // What was committed is there, because no disk was lost.
    await until('answer', () => cache.read(token).catch(() => undefined))
    expect(await cache.write(token, nextOf(record, {}), HOUR)).toBe(true)
  })

  test.for(WAYS)('before the first call, by %s, it is the same', async (way, context) => {
    const server = await openServer(context)
    const cache = postgresCache(server.url)
    context.onTestFinished(() => cache.close())
    await server[way]()
    await failAll(cache, newToken())
    if (way === 'freeze') server.thaw()
    else await server.restart()
    await until('answer', () => store(cache, HOUR).catch(() => undefined))
  })

  test("a pool of the application's is left open, and its errors end no process", async (context) => {
    const server = await openServer(context)
    const pool = new Pool({ connectionString: server.url, max: 1 })
    const cache = postgresCache(pool)
    const { token, record } = await store(cache, HOUR)
    await server.crash()
    await failAll(cache, token)
    await server.restart()
    await until('answer', () => cache.read(token).catch(() => undefined))
    expect(await cache.read(token)).toEqual(record)
    await cache.close()
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
    await pool.end()
    await expect(cache.read(token)).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE', message: /closed/ })
  })

  test('closing waits for nothing', async (context) => {
    const server = await openServer(context)
    const cache = postgresCache(server.url)
    const { token } = await store(cache, HOUR)
    server.freeze()
    const call = rejection(cache.read(token))
    const begin = Date.now()
    await cache.close()
    expect(Date.now() - begin).toBeLessThan(LIMIT)
    expect(await call).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
  })
})

import { type PostgresCacheOptions, postgresCache } from 'after-jobs/postgres'
import { Pool } from 'pg'
import { expect, test } from 'vitest'

const URL = 'postgres://user:secret@localhost:1/app'

test.for([
  undefined,
  null,
  7,
  '',
  'localhost',
  'redis://localhost',
  {},
  { url: 'mysql://user:secret@localhost' },
  { url: URL, pglite: 'folder' },
  { boss: {} },
  { pool: {} },
  { pglite: 7 },
  { pglite: '' },
  { pglite: 'memory://' },
  { url: URL, table: 'Status' },
  { url: URL, table: 'x; drop table users' },
  { url: URL, prefix: '' },
  { url: URL, prefix: 'a\0' },
  { url: URL, prefix: 7 },
  { url: URL, sweepInterval: 99 },
  { url: URL, sweepInterval: Number.NaN },
])('postgresCache(%j) is refused with what was expected, and without a password', (target) => {
  const make = () => postgresCache(target as PostgresCacheOptions)
  const message = expect.stringMatching(/^postgresCache.* expected /)
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }))
  expect(make).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
})

test('a cache that is never used connects to nothing, and closes', async () => {
  const pool = new Pool({ connectionString: URL })
  for (const cache of [
    postgresCache(URL),
    postgresCache(pool),
    postgresCache({ pool }),
    postgresCache({ pglite: 'no' }),
  ]) {
    expect(cache.isLocal).toBe(false)
    await cache.close()
    await cache.close()
  }
  expect(pool.totalCount).toBe(0)
})

test('a ttl that is no number of milliseconds is refused', async () => {
  const cache = postgresCache(URL)
  const token = crypto.randomUUID()
  for (const ttl of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const refusal = { code: 'INVALID_OPTION', message: expect.stringContaining('ttl') }
    await expect(cache.write(token, {} as never, ttl)).rejects.toMatchObject(refusal)
    await expect(cache.writeMany([{ token, record: {} as never, ttl }])).rejects.toMatchObject(refusal)
  }
  await cache.close()
})

import { type PostgresQueueOptions, postgresQueue } from 'after-jobs/postgres'
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
  { pglite: 'memory://' },
  { url: URL, schema: 'Jobs' },
  { url: URL, schema: 'x; drop table users' },
  { url: URL, schema: '' },
  { url: URL, name: '' },
  { url: URL, name: "it's" },
  { url: URL, prefix: 'a b' },
  { url: URL, lockDuration: 99 },
  { url: URL, lockDuration: Number.NaN },
  { url: URL, stalledInterval: '5000' },
  { url: URL, pollInterval: Number.POSITIVE_INFINITY },
])('postgresQueue(%j) is refused with what was expected, and without a password', (target) => {
  const make = () => postgresQueue(target as PostgresQueueOptions)
  const message = expect.stringMatching(/^postgresQueue.* expected /)
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }))
  expect(make).toThrow(expect.not.objectContaining({ message: expect.stringContaining('secret') }))
})

test('a queue that is never used connects to nothing, and closes', async () => {
  const queue = postgresQueue(URL)
  expect([queue.isShared, queue.autoStart]).toEqual([true, false])
  expect(await queue.close()).toEqual([])
  await expect(queue.health()).rejects.toMatchObject({ code: 'CLOSED' })
})

test('a database that is not there is told as an outage, in time', async () => {
  const queue = postgresQueue(URL)
  await expect(queue.health()).rejects.toMatchObject({
    code: 'QUEUE_UNAVAILABLE',
    message: expect.stringContaining('ECONNREFUSED'),
  })
  await queue.close()
})

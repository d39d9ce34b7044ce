import { redisCache, redisQueue } from 'after-jobs/redis'
import { expect, test } from 'vitest'
import type { Finisher } from '../crew/shared-engine'
import { rejection } from '../engine/support/runtime'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithServer, openServer } from './support/suite'

/** Starts a job at a URL, runs it there, and reads its end. */
async function runJobAt(context: Finisher, url: string): Promise<string> {
  const { jobs, start } = openNeighbours(context, { url, makePrefix: () => 'at' }).add({ afterCreateJob() {} })
  jobs.work()
  const { status } = await jobs.settled(await start())
  return status
}

describeWithServer('queue and cache read from a URL', {}, () => {
  test.for([
    ['a user and a password', { user: 'ana@school', password: 'p@ss:w/rd#1?' }],
    ['a password alone', { password: 'p@ss:w/rd#1?' }],
  ] as const)('%s', async ([, login], context) => {
    const server = await openServer(context, login)
    expect(await runJobAt(context, server.url)).toBe('done')
    expect(await openClient(context, server).dbsize()).toBeGreaterThan(0)
  })

  test('a database number, and use no other', async (context) => {
    const server = await openServer(context)
    expect(await runJobAt(context, `${server.url}/3`)).toBe('done')
    const keyspace = await openClient(context, server).info('keyspace')
    expect(keyspace.match(/^db\d+/gm)).toEqual(['db3'])
  })
})

describeWithServer('a Redis that lets nobody in', { concurrent: true }, () => {
  test.for([
    ['the password is wrong', /ana:right/, 'ana:wrong', /WRONGPASS/],
    ['the user is not known', /ana:right/, 'bob:right', /WRONGPASS/],
    ['there is no password', /ana:right@/, '', /NOAUTH/],
    ['nothing listens', /:\d+$/, ':1', /ECONNREFUSED/],
  ] as const)('says so in each error, in time, where %s', async ([, right, wrong, reason], context) => {
    const server = await openServer(context, { user: 'ana', password: 'right' })
    const url = server.url.replace(right, wrong)
    const { jobs, start, logger } = openNeighbours(context, { url, makePrefix: () => 'in' }).add({
      afterCreateJob() {},
    })
    const begin = Date.now()
    const unread = await rejection(jobs.status(crypto.randomUUID()))
    expect(Date.now() - begin).toBeLessThan(3_000)
    const [unqueued, untaken] = await Promise.all([rejection(start()), rejection(jobs.runNext())])
    expect(Date.now() - begin).toBeLessThan(9_000)
    const message = expect.stringMatching(reason)
    expect(unread).toMatchObject({ code: 'CACHE_UNAVAILABLE', message })
    expect(unqueued).toMatchObject({ code: 'ENQUEUE_FAILED', message })
    expect(untaken).toMatchObject({ code: 'QUEUE_UNAVAILABLE', message })
    expect(await jobs.health()).toMatchObject({ queue: 'down', cache: 'down' })
    expect(logger.print()).not.toContain('ana:')
  })
})

test.for([
  ['nothing', undefined, /undefined/],
  ['an empty text', '', /a URL like/],
  ['no URL', 'localhost:6379', /a URL like/],
  ['a URL of something else', 'http://ana:secret@localhost:6379', /a URL like/],
  ['a password that is not encoded', 'redis://ana:s#cret@localhost', /a URL like/],
  ['a number', 6379, /6379/],
  ['an empty object', {}, /a URL like/],
  ['an empty prefix', { url: 'redis://localhost', prefix: '' }, /prefix/],
  ['a prefix that is no text', { url: 'redis://localhost', prefix: 7 }, /prefix/],
] as const)('%s is refused at once, and no password is told', ([, target, reason]) => {
  for (const make of [redisQueue, redisCache]) {
    const refusal = expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringMatching(reason) })
    expect(() => make(target as never)).toThrow(refusal)
    expect(() => make(target as never)).not.toThrow(/s.cret/)
  }
})

test.for([
  ['name', ''],
  ['name', 'a:b'],
  ['name', 7],
  ['lockDuration', 0],
  ['lockDuration', Number.NaN],
  ['lockDuration', '30s'],
  ['stalledInterval', 99],
  ['stalledInterval', Number.POSITIVE_INFINITY],
  ['lockDurration', 60_000],
  ['ttl', 60_000],
] as const)('redisQueue({ %s: %j }) is refused by its name', ([name, value]) => {
  const make = () => redisQueue({ url: 'redis://localhost', [name]: value })
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(name) }))
})

test.for(['prefx', 'connection', 'ttl'])('redisCache({ %s }) is refused by its name', (name) => {
  const make = () => redisCache({ url: 'redis://localhost', [name]: 'jobs' })
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining(name) }))
})

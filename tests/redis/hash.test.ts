import { JobError, type JobRecord, type ProgressReporter } from 'after-jobs'
import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { transition } from '../../src/core/status'
import { fromHash, toHash } from '../../src/redis/hash'
import { changes } from '../core/status-changes'
import { eventually } from '../crew/shared-engine'
import { makeGate, rejection } from '../engine/support/runtime'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithRedis, useRedis } from './support/suite'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const TOKEN = '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10'

test('what is written into a hash is read back as it was, whatever a job may have been through', () => {
  fc.assert(
    fc.property(changes, (sequence) => {
      let record: JobRecord | undefined
      for (const change of sequence) {
        record = transition(record, change) ?? record
        if (record !== undefined) expect(fromHash(TOKEN, asRedisAnswers(toHash(record)))).toEqual(record)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('a hash that is no record is an error, and only an empty one is no record', () => {
  const hash = asRedisAnswers(toHash(transition(undefined, QUEUED) as JobRecord))
  expect(fromHash(TOKEN, {})).toBe(undefined)
  expect(fromHash(TOKEN, hash)).toMatchObject({ status: 'pending' })
  const broken = [
    { some: 'field' },
    { ...hash, version: 'one' },
    { ...hash, status: 'unknown' },
    { ...hash, createdAt: '' },
    { ...hash, result: '{' },
    { version: hash.version as string },
  ]
  for (const wrong of broken) {
    expect(() => fromHash(TOKEN, wrong), JSON.stringify(wrong)).toThrow(
      expect.objectContaining({ code: 'CACHE_UNAVAILABLE' }),
    )
  }
})

const birth = { attempts: 1, parent: null, context: null, createdAt: 1_700_000_000_000, delay: 0 }
const QUEUED = { type: 'queued', at: birth.createdAt, birth } as const

/** As node-redis answers HGETALL: without a prototype, all values texts. */
function asRedisAnswers(words: readonly string[]): Record<string, string> {
  const hash: Record<string, string> = Object.create(null)
  for (let index = 0; index < words.length; index += 2) hash[words[index] as string] = words[index + 1] as string
  return hash
}

describeWithRedis('the record of a job in Redis', {}, () => {
  const redis = useRedis()

  test('is one hash in which the fields of the design can be read', async (context) => {
    const gate = makeGate()
    const neighbours = openNeighbours(context, redis)
    const client = openClient(context, redis)
    const worker = neighbours.add({
      async afterCreateJob(_id, _token, progress) {
        progress.set(42)
        progress.label('Importing the cities of Côte d’Ivoire')
        await gate.opened
        throw new JobError('The project does not exist')
      },
    })
    const token = await worker.start()
    const hash = () => client.hgetall(`${neighbours.prefix}.${token}`)
    expect(await hash()).toMatchObject({ status: 'pending', progress: '0', attempts: '1' })
    expect(await hash()).not.toHaveProperty('messageError')
    worker.jobs.work()
    await eventually(async () =>
      expect(await hash()).toMatchObject({ status: 'running', progress: '42', attempt: '1' }),
    )
    gate.open()
    const end = { status: 'error', progress: '42', messageError: 'The project does not exist', code: 'failed' }
    await eventually(async () => expect(await hash()).toMatchObject(end))
    expect(await client.keys(`${neighbours.prefix}.*`)).toEqual([`${neighbours.prefix}.${token}`])
  })

  test.for([
    [
      'is done, with a label and a result',
      (progress: ProgressReporter) => {
        progress.label('Importing cities')
        return { result: { id: 1 } }
      },
    ],
    [
      'has failed, with a message',
      () => {
        throw new JobError('The project does not exist')
      },
    ],
  ] as const)('takes at most 400 bytes once it %s', async ([, end], context) => {
    const neighbours = openNeighbours(context, redis)
    const client = openClient(context, redis)
    const worker = neighbours.add({ afterCreateJob: (_id, _token, progress) => end(progress) })
    worker.jobs.work()
    const token = await worker.start()
    await worker.jobs.settled(token)
    expect(await client.memory('USAGE', `${neighbours.prefix}.${token}`)).toBeLessThanOrEqual(400)
  })

  test.for([
    ['the defaults', {}, DAY, HOUR],
    ['lifetimes of its own', { ttl: 60_000, liveTtl: 120_000 }, 120_000, 60_000],
  ] as const)('lives for its liveTtl and then for its ttl, with %s', async ([, lives, liveTtl, ttl], context) => {
    const gate = makeGate()
    const neighbours = openNeighbours(context, redis)
    const client = openClient(context, redis)
    const worker = neighbours.add({ afterCreateJob: () => gate.opened }, lives)
    const lifeOf = (token: string) => client.pttl(`${neighbours.prefix}.${token}`)
    const delayed = await worker.start(1, { delay: HOUR })
    const token = await worker.start(2)
    expectAbout(await lifeOf(delayed), HOUR + liveTtl)
    expectAbout(await lifeOf(token), liveTtl)
    worker.jobs.work()
    await eventually(async () => expect(await worker.jobs.status(token)).toMatchObject({ status: 'running' }))
    expectAbout(await lifeOf(token), liveTtl)
    gate.open()
    await worker.jobs.settled(token)
    expectAbout(await lifeOf(token), ttl)
    // Cancelled, it is kept no longer than any other that has ended.
    await worker.jobs.cancel(delayed)
    expectAbout(await lifeOf(delayed), ttl)
  })

  test.for([
    ['a text', (client: Redis, key: string) => client.set(key, 'of another program')],
    ['a list', (client: Redis, key: string) => client.lpush(key, 'of another program')],
    ['a hash', (client: Redis, key: string) => client.hset(key, { name: 'of another program' })],
  ] as const)('is not taken for missing where %s stands in its place', async ([, put], context) => {
    const neighbours = openNeighbours(context, redis)
    const client = openClient(context, redis)
    const { jobs } = neighbours.add({})
    const key = `${neighbours.prefix}.${TOKEN}`
    await put(client, key)
    const before = await client.dump(key)
    expect(await rejection(jobs.status(TOKEN))).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    expect(await rejection(jobs.cancel(TOKEN))).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    expect(await client.dump(key)).toBe(before)
  })
})

/** An answer of Redis is a little younger than what it is about. */
function expectAbout(actual: number, expected: number): void {
  expect(actual).toBeLessThanOrEqual(expected)
  expect(actual).toBeGreaterThan(expected - 5_000)
}

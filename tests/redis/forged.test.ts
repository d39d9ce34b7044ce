import { Queue } from 'bullmq'
import { expect, test, vi } from 'vitest'
import { forge, MALFORMED, MEGABYTE, STRANGE } from '../crew/forgeries'
import { eventually, type Finisher } from '../crew/shared-engine'
import type { Bench } from '../engine/support/runtime'
import { openClient, openNeighbours } from './support/neighbours'
import { describeWithRedis, useRedis } from './support/suite'

const REFUSED = { status: 'error', code: 'missing_hook', attempt: 0, startedAt: null }

describeWithRedis('a message forged into the queue', {}, () => {
  const redis = useRedis()

  /** A worker, somebody who starts a sound job behind the forged ones, and the queue as anybody may write to it. */
  function openStage(context: Finisher) {
    const neighbours = openNeighbours(context, redis)
    const web = neighbours.add({ afterUpdateJob() {} })
    const spies = { delete: vi.fn(), afterCreateJob: vi.fn(), afterCreateJobFailed: vi.fn() }
    const worker = neighbours.add({ ...spies, afterUpdateJob() {} })
    const prefix = neighbours.queuePrefix
    const queue = new Queue('after-jobs', { connection: { url: redis.url }, prefix })
    context.onTestFinished(() => queue.close())
    return { ...neighbours, web, worker, spies, queue, client: openClient(context, redis) }
  }

  /** Lets the worker meet what was forged, and then a sound job. */
  async function work({ web, worker }: { web: Bench; worker: Bench }): Promise<void> {
    const token = (await web.service.executeJob('after', 'update', 'sound')) as string
    worker.jobs.work()
    expect(await web.jobs.settled(token)).toMatchObject({ status: 'done', attempt: 1 })
  }

  /** What the worker complained of. */
  const complaints = ({ logger }: Bench) => logger.lines.filter(({ level }) => level === 'warn' || level === 'error')

  test.for(Object.keys(MALFORMED))('that %s is refused, once, and ends its token', async (name, context) => {
    const stage = openStage(context)
    const { web, worker, spies, queue } = stage
    const token = crypto.randomUUID()
    await queue.add('forged', MALFORMED[name], { jobId: token })
    await work(stage)
    const message = expect.stringMatching(/^The queue held a message whose \w+ is not what after-jobs writes$/)
    expect(await web.jobs.status(token)).toMatchObject({ ...REFUSED, token, message })
    for (const spy of Object.values(spies)) expect(spy).not.toHaveBeenCalled()
    const short = token.slice(0, 8)
    expect(complaints(worker)).toMatchObject([{ fields: { token: short }, message: 'a malformed message was refused' }])
    expect(worker.logger.print().length).toBeLessThan(3_000)
    await eventually(async () => expect(await web.jobs.health()).toMatchObject({ waiting: 0, active: 0 }))
  })

  test.for(Object.keys(STRANGE))('that names %s is left to others', async (name, context) => {
    const stage = openStage(context)
    const { web, worker, spies, queue } = stage
    const token = crypto.randomUUID()
    await queue.add('forged', STRANGE[name], { jobId: token })
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 0, code: null })
    for (const spy of Object.values(spies)) expect(spy).not.toHaveBeenCalled()
    expect(complaints(worker)).toMatchObject([{ fields: { token: token.slice(0, 8) } }])
    await eventually(async () => expect(await web.jobs.health()).toMatchObject({ waiting: 1, active: 0 }))
  })

  test('whose data are not JSON is refused, once, and ends its token', async (context) => {
    const stage = openStage(context)
    const { web, worker, spies } = stage
    const token = crypto.randomUUID()
    await stage.queue.add('forged', forge(), { jobId: token })
    await stage.client.hset(`${stage.queuePrefix}:after-jobs:${token}`, { data: '{not JSON' })
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject({ ...REFUSED, token })
    expect(spies.afterCreateJob).not.toHaveBeenCalled()
    expect(complaints(worker)).toMatchObject([{ fields: { token: token.slice(0, 8) } }])
    await eventually(async () => expect(await web.jobs.health()).toMatchObject({ waiting: 0, active: 0 }))
  })

  test.for(['opts', 'progress'])('whose %s not even BullMQ can read stops no worker', async (field, context) => {
    const stage = openStage(context)
    const token = crypto.randomUUID()
    const first = (await stage.web.service.executeJob('after', 'update', 'sound')) as string
    await stage.queue.add('forged', forge(), { jobId: token, priority: 1_001 })
    await stage.client.hset(`${stage.queuePrefix}:after-jobs:${token}`, { [field]: '{not JSON' })
    await work(stage)
    expect(await stage.web.jobs.status(first)).toMatchObject({ status: 'done', attempt: 1 })
    expect(stage.worker.events.map(({ event }) => event)).toEqual(['started', 'done', 'started', 'done'])
    expect(complaints(stage.worker).length).toBeLessThanOrEqual(1)
  })

  test.for([
    ['a word', 'no-token'],
    ['a number', '1'],
    ['a UUID in capitals', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'],
    ['the prototype', '__proto__'],
    ['a megabyte', MEGABYTE],
  ] as const)('under an id that is no token but %s is refused, once, and leaves no record', async ([, id], context) => {
    const stage = openStage(context)
    const { web, worker, spies } = stage
    // BullMQ takes no number as an id, and makes numbers itself.
    await stage.queue.add('forged', forge(), id === '1' ? {} : { jobId: id })
    await work(stage)
    expect(complaints(worker)).toMatchObject([{ fields: { flaw: 'token' } }])
    expect(spies.afterCreateJob).not.toHaveBeenCalled()
    expect(await stage.client.keys(`${stage.prefix}.*`)).toHaveLength(1)
    expect(await web.jobs.status(id)).toEqual({ status: 'unknown', progress: 0, message: null })
  })

  test('that names the token of another job in its data does not touch that one', async (context) => {
    const stage = openStage(context)
    const { web, worker, spies } = stage
    const victim = await web.service.executeJob('after', 'update', 1, { delay: 3_600_000 })
    const token = crypto.randomUUID()
    await stage.queue.add('forged', forge({ token: victim, hook: 'delete' }), { jobId: token })
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject(REFUSED)
    expect(await web.jobs.status(victim as string)).toMatchObject({ status: 'pending' })
    expect(spies.delete).not.toHaveBeenCalled()
    expect(complaints(worker)).toHaveLength(1)
  })

  test('with prototypes in it pollutes nothing', async (context) => {
    const stage = openStage(context)
    const { web, spies } = stage
    const token = crypto.randomUUID()
    const poison = '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'
    const data = JSON.stringify(forge({ payload: 'poison', context: 'poison' })).replaceAll('"poison"', poison)
    await stage.queue.add('forged', {}, { jobId: token })
    const key = `${stage.queuePrefix}:after-jobs:${token}`
    await stage.client.hset(key, { data: `${poison.slice(0, -1)},${data.slice(1)}` })
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject({ status: 'done' })
    expect(spies.afterCreateJob).toHaveBeenCalledOnce()
    expect({}).not.toHaveProperty('polluted')
    expect(Object.getPrototypeOf(spies.afterCreateJob.mock.calls[0]?.[3].payload)).toBe(Object.prototype)
  })
})

import { expect, test, vi } from 'vitest'
import { MALFORMED as FORGED, forge, STRANGE } from '../crew/forgeries'
import { eventually, type Finisher } from '../crew/shared-engine'
import type { Bench } from '../engine/support/runtime'
import { forgeJob, openClient, openNeighbours } from './support/neighbours'
import { describeWithPostgres, usePostgres } from './support/suite'

const REFUSED = { status: 'error', code: 'missing_hook', attempt: 0, startedAt: null }
const MALFORMED: Readonly<Record<string, unknown>> = {
  ...FORGED,
  'is a text that holds a text': '"afterCreateJob"',
  'is a number': 7,
  'is not there': undefined,
}

describeWithPostgres('a row forged into the queue', {}, () => {
  const postgres = usePostgres()

  /** A worker, somebody who starts a sound job behind the forged ones, and the table as anybody may write to it. */
  async function openStage(context: Finisher) {
    const neighbours = openNeighbours(context, postgres)
    const web = neighbours.add({ afterUpdateJob() {} })
    const spies = { delete: vi.fn(), afterCreateJob: vi.fn(), afterCreateJobFailed: vi.fn() }
    const worker = neighbours.add({ ...spies, afterUpdateJob() {} })
    await web.jobs.health()
    return { ...neighbours, web, worker, spies, client: await openClient(context, postgres) }
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
    const stage = await openStage(context)
    const { web, worker, spies, client, queue } = stage
    const token = await forgeJob(client, queue, MALFORMED[name])
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
    const stage = await openStage(context)
    const { web, worker, spies, client, queue } = stage
    const token = await forgeJob(client, queue, STRANGE[name])
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 0, code: null })
    for (const spy of Object.values(spies)) expect(spy).not.toHaveBeenCalled()
    expect(complaints(worker)).toMatchObject([{ fields: { token: token.slice(0, 8) } }])
    await eventually(async () => expect(await web.jobs.health()).toMatchObject({ waiting: 1, active: 0 }))
  })

  test('that names the token of another job in its data does not touch that one', async (context) => {
    const stage = await openStage(context)
    const { web, spies, client, queue } = stage
    const victim = await web.service.executeJob('after', 'update', 1, { delay: 3_600_000 })
    const token = await forgeJob(client, queue, forge({ token: victim, hook: 'delete' }))
    await work(stage)
    expect(await web.jobs.status(token)).toMatchObject(REFUSED)
    expect(await web.jobs.status(victim as string)).toMatchObject({ status: 'pending' })
    expect(spies.delete).not.toHaveBeenCalled()
  })

  test('with prototypes in it pollutes nothing', async (context) => {
    const stage = await openStage(context)
    const poison = JSON.parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}')
    const data = Object.assign(Object.create(null), poison, forge({ payload: poison, context: poison }))
    const token = await forgeJob(stage.client, stage.queue, data)
    await work(stage)
    expect(await stage.web.jobs.status(token)).toMatchObject({ status: 'done' })
    expect({}).not.toHaveProperty('polluted')
    expect(Object.getPrototypeOf(stage.spies.afterCreateJob.mock.calls[0]?.[3].payload)).toBe(Object.prototype)
  })

  test.for([
    ['a count of attempts that is none', `output = '{"attempt": "many"}'`],
    ['a count of attempts below zero', `output = '{"attempt": -5}'`],
    ['an output that is a list', `output = '[1]'`],
    ['an output that is a text', `output = '"text"'`],
    ['a count of deliveries below zero', 'retry_count = -7'],
    ['a lock without an end', `state = 'active', heartbeat_on = NULL`],
    ['a lock that ended long ago', `state = 'active', heartbeat_on = now() - interval '1 day'`],
    ['a key of its own', `singleton_key = 'key', singleton_on = now()`],
    ['a time that is infinitely early', `start_after = '-infinity', created_on = '-infinity'`],
  ] as const)('with %s is run all the same, as the first attempt', async ([, columns], context) => {
    const stage = await openStage(context)
    const token = await forgeJob(stage.client, stage.queue, forge(), columns)
    await work(stage)
    expect(await stage.web.jobs.settled(token)).toMatchObject({ status: 'done', attempt: 1 })
  })
})

describeWithPostgres('what jsonb cannot hold', {}, () => {
  const postgres = usePostgres()

  test.for(['a\u0000b', '\ud800', 'half \udfff of a pair', '\\u0000', "it's"])(
    'travels in a payload and a result all the same: %j',
    async (text, context) => {
      const neighbours = openNeighbours(context, postgres)
      const web = neighbours.add({ afterCreateJob() {} })
      const worker = neighbours.add({
        afterCreateJob: (_id, _token, _progress, { payload }) => ({ result: payload as string }),
      })
      worker.jobs.work()
      const tokens = await web.service.executeJobs('after', 'create', [1, 'two'], { payload: { [text]: text } })
      for (const token of tokens) {
        const end = await web.jobs.settled(token)
        expect(end).toMatchObject({ status: 'done', result: { [text]: text } })
      }
    },
  )
})

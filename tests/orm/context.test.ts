import { AsyncLocalStorage } from 'node:async_hooks'
import { createAfterJobs, type JobContext, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { createJobHandler } from 'after-jobs/http'
import { describe, expect, test } from 'vitest'
import { rejection } from '../engine/support/runtime'
import { spyLogger } from '../engine/support/spies'

type Caller = { user: string }

type Job<P = undefined> = JobContext<P, Caller>

/** An application that knows who asks by an AsyncLocalStorage of its own, as most do. */
function makeApplication() {
  const caller = new AsyncLocalStorage<Caller>()
  const logger = spyLogger()
  const jobs = createAfterJobs({ context: { capture: () => caller.getStore() }, attempts: 3, logger })
  const seen: unknown[] = []
  class Service extends withAfterJobs({ jobs, auto: ['create'] }) {
    async create(id: number) {
      return { id }
    }
    afterCreateJob(_id: number, _token: string, _progress: ProgressReporter, job: Job) {
      seen.push([job.attempt, job.context.user])
      // What an attempt does to its copy is not what the next one gets.
      job.context.user = 'mallory'
      if (job.attempt < 3) throw new Error('not yet')
    }
    async afterFamilyJob(id: number, token: string, _progress: ProgressReporter, job: Job) {
      seen.push(['parent', job.context.user])
      // As in the process of a worker, to which nobody speaks.
      await caller.exit(async () => {
        await this.executeJob('after', 'child', id)
        await this.executeJob('after', 'inline', id, { nested: 'inline' })
      })
      return { result: token }
    }
    async afterInlineJob(id: number, _token: string, _progress: ProgressReporter, job: Job) {
      seen.push(['inline', job.context.user])
      await this.executeJob('after', 'child', id)
    }
    afterChildJob(_id: number, _token: string, _progress: ProgressReporter, job: Job) {
      seen.push([job.parent, job.context.user])
    }
  }
  return { caller, logger, jobs, seen, service: new Service(), as: (user: string) => ({ user }) }
}

describe('the context of whoever asked', () => {
  test('is the same in every attempt, whoever asks meanwhile and whatever an attempt does to it', async () => {
    const { caller, jobs, seen, service, as } = makeApplication()
    await caller.run(as('zoe'), () => service.executeJob('after', 'create', 1))
    await caller.run(as('eve'), () => jobs.drain())
    expect(seen).toEqual([1, 2, 3].map((attempt) => [attempt, 'zoe']))
  })

  test('goes on to children, in jobs of their own, inline, and from an inline one', async () => {
    const { caller, jobs, seen, service, as } = makeApplication()
    const token = await caller.run(as('zoe'), () => service.executeJob('after', 'family', 1))
    await jobs.drain()
    expect(seen.slice(0, 2)).toEqual([
      ['parent', 'zoe'],
      ['inline', 'zoe'],
    ])
    expect(seen.slice(2)).toEqual([
      [token, 'zoe'],
      [token, 'zoe'],
    ])
  })

  test('is that of the call in a transaction, not that of the commit', async () => {
    const { caller, jobs, seen, service, as } = makeApplication()
    await caller.run(as('root'), () =>
      jobs.transaction(async () => {
        await caller.run(as('zoe'), () => service.create(1))
      }),
    )
    await jobs.drain()
    expect(seen.at(0)).toEqual([1, 'zoe'])
  })

  test('decides over HTTP who may see the status, and is in no answer', async () => {
    const { caller, jobs, service, as } = makeApplication()
    const handle = createJobHandler(jobs, {
      authorize: (request, { context }) => {
        return (context as Caller | undefined)?.user === request.headers.get('X-User')
      },
    })
    const row = await caller.run(as('zoe'), () => jobs.transaction(() => service.create(1)))
    const token = service.getJobToken(row)
    await jobs.settled(token ?? '')
    const ask = (user: string) => {
      return handle(new Request(`http://localhost/jobs/status/${token}`, { headers: { 'X-User': user } }))
    }
    expect((await ask('eve')).status).toBe(404)
    const answer = await ask('zoe')
    expect(answer.status).toBe(200)
    expect(await answer.text()).not.toContain('zoe')
  })
})

describe('a context that is too large, by one byte', () => {
  const MAX_BYTES = 16_384
  const fitting: Caller = { user: 'é'.repeat((MAX_BYTES - '{"user":""}'.length - 1) / 2) }
  const tooLarge: Caller = { user: `${fitting.user}xx` }

  test('is refused where the job is started', async () => {
    const { caller, jobs, service } = makeApplication()
    expect(Buffer.byteLength(JSON.stringify(tooLarge))).toBe(MAX_BYTES + 1)
    const refused = caller.run(tooLarge, () => service.executeJob('after', 'create', 1))
    expect(await rejection(refused)).toMatchObject({
      code: 'INVALID_CONTEXT',
      message: expect.stringMatching(/16,?384/),
    })
    const token = await caller.run(fitting, () => service.executeJob('after', 'create', 1))
    expect(await jobs.record(token ?? '')).toMatchObject({ context: fitting })
    await jobs.drain()
  })

  test('makes no action of auto fail, and is told', async () => {
    const { caller, logger, service, seen } = makeApplication()
    expect(await caller.run(tooLarge, () => service.create(1))).toEqual({ id: 1 })
    expect(logger.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)).toEqual([
      expect.stringMatching(/auto started no job.*capture/),
    ])
    expect(seen).toEqual([])
  })
})

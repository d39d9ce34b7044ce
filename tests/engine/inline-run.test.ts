import { createAfterJobs, type Hook, type JobContext, JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { describe, expect, test, vi } from 'vitest'
import { rejection } from './support/runtime'

const jobs = createAfterJobs()

/** A job that makes its children inside of itself, as the application of the design does. */
function makeFamily(children: readonly (string | number)[], childHook: Hook) {
  class Children extends withAfterJobs({ jobs }) {
    afterCreateJob = childHook
  }
  const service = new Children()
  class Parents extends withAfterJobs({ jobs }) {
    async afterCreateJob(_id: number, _token: string, progress: ProgressReporter) {
      for await (const child of progress.each(children)) {
        tokens.push(await service.executeJob('after', 'create', child, { nested: 'inline' }))
      }
    }
    async afterCreateJobFailed() {}
  }
  const tokens: (string | undefined)[] = []
  return { start: () => new Parents().executeJob('after', 'create', 1), tokens }
}

describe("nested: 'inline'", () => {
  test('runs thirty children inside of the job, in order, each with its id and the token of the parent', async () => {
    const ids = Array.from({ length: 30 }, (_, index) => index)
    const ran: unknown[] = []
    const family = makeFamily(ids, async (id, token, _progress, job) => {
      await null
      ran.push([id, token, job.id, job.token, job.attempt])
    })
    const token = await family.start()
    expect(await jobs.settled(token as string)).toMatchObject({ status: 'done', progress: 100 })
    expect(ran).toEqual(ids.map((id) => [id, token, id, token, 1]))
    expect(family.tokens).toEqual(ids.map(() => token))
  })

  test('fills the current step of the parent with the progress of the child', async () => {
    const seen: number[] = []
    const family = makeFamily([1, 2], async (_id, token, progress) => {
      for (const percent of [0, 50, 100]) {
        progress.set(percent)
        progress.label(`${percent} %`)
        await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ label: `${percent} %` }))
        seen.push((await jobs.status(token)).progress)
      }
    })
    await jobs.settled((await family.start()) as string)
    expect(seen).toEqual([0, 25, 50, 50, 75, 99])
  })

  test.each<[string, Hook, object]>([
    ['a JobError', () => Promise.reject(new JobError('no room')), { code: 'failed', message: 'no room' }],
    ['an error', () => Promise.reject(new Error('oops')), { code: 'unexpected', message: 'oops' }],
    ["'error'", () => 'error', { code: 'failed' }],
    ['rubbish', () => 5 as unknown as undefined, { code: 'unexpected' }],
  ])('a child that ends with %s fails the parent', async (_, hook, expected) => {
    const family = makeFamily([1, 2], hook)
    expect(await jobs.settled((await family.start()) as string)).toMatchObject({ status: 'error', ...expected })
    expect(family.tokens).toEqual([])
  })

  test('a result that JSON cannot carry is final for the parent, too', async () => {
    const hook = vi.fn(() => ({ result: new Date() }))
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob() {
        await this.executeJob('after', 'update', 1, { nested: 'inline' })
      }
      afterUpdateJob = hook
    }
    const token = (await new Service().executeJob('after', 'create', 1, { attempts: 3 })) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'error', code: 'unexpected', attempt: 1 })
    expect(hook).toHaveBeenCalledOnce()
  })

  test('fills a step of the whole bar once the loop of a part is over', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob(_id: number, token: string, progress: ProgressReporter) {
        for await (const _ of progress.split(50).each([1]));
        progress.total(1)
        await this.executeJob('after', 'update', 1, { nested: 'inline' })
        return { result: seen(token) }
      }
      async afterUpdateJob(_id: number, token: string, progress: ProgressReporter) {
        progress.set(80)
        progress.label('child')
        await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ label: 'child' }))
        percent = (await jobs.status(token)).progress
      }
    }
    let percent = 0
    const seen = (_token: string) => percent
    const token = (await new Service().executeJob('after', 'create', 1)) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'done', result: 90 })
  })

  test('fills the step of a part that counts by hand, and one of the whole when the part is full', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob(_id: number, _token: string, progress: ProgressReporter) {
        const part = progress.split(50)
        // Without a total it has no steps.
        progress.split(0).tick()
        part.total(2)
        await this.executeJob('after', 'update', 1, { nested: 'inline' })
        part.tick(2)
        progress.total(1)
        await this.executeJob('after', 'update', 2, { nested: 'inline' })
        return { result: percents }
      }
      async afterUpdateJob(id: number, token: string, progress: ProgressReporter) {
        progress.set(80)
        progress.label(`child ${id}`)
        await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ label: `child ${id}` }))
        percents.push((await jobs.status(token)).progress)
      }
    }
    const percents: number[] = []
    const token = (await new Service().executeJob('after', 'create', 1)) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'done', result: [20, 90] })
  })

  test('takes an option that is undefined for one that is absent', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob(_id: number, token: string) {
        const options = { nested: 'inline', delay: undefined } as { nested: 'inline' }
        return { result: (await this.executeJob('after', 'update', 1, options)) === token }
      }
      async afterUpdateJob() {}
    }
    const token = (await new Service().executeJob('after', 'create', 1)) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'done', result: true })
  })

  test('is cancelled with the parent', async () => {
    const family = makeFamily([1, 2], async (id, _token, _progress, job) => {
      ran.push(id)
      await new Promise((_, reject) => job.signal.addEventListener('abort', () => reject(job.signal.reason)))
    })
    const ran: unknown[] = []
    const token = (await family.start()) as string
    await vi.waitFor(() => expect(ran).toEqual([1]))
    expect(await jobs.cancel(token)).toBe(true)
    await jobs.drain()
    expect(ran).toEqual([1])
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
  })

  test('gives the child a copy of its payload and the context of the parent', async () => {
    const seen: unknown[] = []
    const runtime = createAfterJobs({ context: { capture: () => ({ user: 'ada' }) } })
    class Service extends withAfterJobs({ jobs: runtime }) {
      async afterCreateJob(id: number, _t: string, _p: ProgressReporter, job: JobContext<{ n: number } | undefined>) {
        seen.push([id, job.payload, job.context])
        const payload = { n: 1 }
        if (id === 1) await this.executeJob('after', 'create', 2, { nested: 'inline', payload })
      }
    }
    await runtime.settled((await new Service().executeJob('after', 'create', 1)) as string)
    expect(seen).toEqual([
      [1, undefined, { user: 'ada' }],
      [2, { n: 1 }, { user: 'ada' }],
    ])
  })

  test('with executeJobs, one after the other', async () => {
    const ran: unknown[] = []
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob() {
        const tokens = await this.executeJobs('after', 'update', [1, 2, 3], { nested: 'inline' })
        return { result: tokens.length }
      }
      async afterUpdateJob(id: number) {
        ran.push(`start ${id}`)
        await null
        ran.push(`end ${id}`)
      }
    }
    const token = (await new Service().executeJob('after', 'create', 1)) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'done', result: 3 })
    expect(ran).toEqual([1, 2, 3].flatMap((id) => [`start ${id}`, `end ${id}`]))
  })

  test('outside of a job it is a job of its own', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob() {}
    }
    const token = (await new Service().executeJob('after', 'create', 1, { nested: 'inline' })) as string
    expect(await jobs.settled(token)).toMatchObject({ status: 'done', parent: null })
  })

  test('where there is no hook it starts nothing', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob() {
        return { result: (await this.executeJob('after', 'nothing' as string, 1, { nested: 'inline' })) ?? 'none' }
      }
    }
    const token = (await new Service().executeJob('after', 'create', 1)) as string
    expect(await jobs.settled(token)).toMatchObject({ result: 'none' })
  })

  test.each([{ delay: 1 }, { attempts: 2 }, { priority: 0 }, { timeout: 5 }, { dedupe: 'k' }])(
    'refuses options of a queue: %j',
    async (option) => {
      class Service extends withAfterJobs({ jobs }) {
        async afterCreateJob() {}
      }
      const error = await rejection(new Service().executeJob('after', 'create', 1, { nested: 'inline', ...option }))
      expect(error).toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringContaining(Object.keys(option)[0] ?? ''),
      })
    },
  )

  test('refuses any other word', async () => {
    class Service extends withAfterJobs({ jobs }) {
      async afterCreateJob() {}
    }
    const error = await rejection(new Service().executeJob('after', 'create', 1, { nested: 'later' as 'inline' }))
    expect(error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringContaining("'inline'") })
  })
})

test('by default a child is a job of its own, which carries its parent', async () => {
  const test = createTestJobs()
  class Service extends withAfterJobs({ jobs: test }) {
    async afterCreateJob(id: number) {
      if (id === 1) await this.executeJob('after', 'create', 2)
    }
  }
  const token = await new Service().executeJob('after', 'create', 1)
  await test.drain()
  const child = test.dispatched[1]
  expect(child).toMatchObject({ id: 2, parent: token })
  expect(await test.status(child?.token ?? '')).toMatchObject({ status: 'done', parent: token })
})

test('a service that starts a job while a worker makes it is told', async () => {
  const test = createTestJobs()
  const failures: unknown[] = []
  class Service extends withAfterJobs({ jobs: test }) {
    static readonly jobName = 'eager'
    constructor(isEager = true) {
      super()
      if (isEager) this.executeJob('after', 'create', 1).catch((error) => failures.push(error))
    }
    async afterCreateJob() {}
  }
  test.register(Service)
  const { engineOf } = await import('../../src/engine/engine')
  const { makeEnvelope } = await import('./support/stub-queue')
  const { registry } = engineOf(test)
  await registry.find(makeEnvelope({ service: 'eager' }), undefined)
  await vi.waitFor(() => expect(failures).toHaveLength(1))
  expect(failures[0]).toMatchObject({ code: 'INVALID_SERVICE', message: expect.stringContaining('constructor') })
})

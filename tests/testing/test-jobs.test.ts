import {
  type AfterJobsServiceOptions,
  attachAfterJobs,
  type JobContext,
  JobError,
  memoryCache,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { createTestJobs, type TestJobs } from 'after-jobs/testing'
import { expect, onTestFinished, test, vi } from 'vitest'
import { spyLogger } from '../engine/support/spies'

const YEAR = 365 * 24 * 3_600_000

/** Drains within a time that no test needs; the error tells which one hung. */
function drain(jobs: TestJobs): Promise<void> {
  return jobs.drain({ signal: AbortSignal.timeout(3_000) })
}

async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

// As the README shows it.

interface Project {
  id: number
  tasks: string[]
}

class ProjectService extends withAfterJobs() {
  readonly assigned: string[] = []
  readonly #projects = new Map<number, Project>()

  async create(tasks: string[]): Promise<Project> {
    const project = { id: this.#projects.size + 1, tasks }
    this.#projects.set(project.id, project)
    await this.executeJob('after', 'create', project)
    return project
  }

  async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
    const project = this.#projects.get(id)
    if (!project) throw new JobError('The project does not exist')
    for await (const task of progress.each(project.tasks)) this.assigned.push(task)
  }
}

/** The same service on a runtime of the test's own. */
function makeProjects(jobs: TestJobs) {
  return class extends withAfterJobs({ jobs }) {
    readonly assigned: string[] = []
    async create(tasks: string[]): Promise<Project> {
      const project = { id: 1, tasks }
      await this.executeJob('after', 'create', project, { payload: tasks })
      return project
    }
    async afterCreateJob(_id: number, _token: string, progress: ProgressReporter, job: JobContext<string[]>) {
      for await (const task of progress.each(job.payload)) this.assigned.push(task)
    }
  }
}

test('an example: the unit test of a service', async () => {
  const jobs = createTestJobs()
  const service = new (makeProjects(jobs))()

  const project = await service.create(['read', 'write'])
  const token = service.getJobToken(project)
  expect(jobs.dispatched).toMatchObject([{ token, hook: 'afterCreateJob', id: 1 }])
  expect(service.assigned).toEqual([])

  await jobs.drain()
  expect(service.assigned).toEqual(['read', 'write'])
  expect(await jobs.status(token ?? '')).toMatchObject({ status: 'done', progress: 100 })
})

test('an example: a hook called by hand', async () => {
  const { createTestProgress } = await import('after-jobs/testing')
  const progress = createTestProgress()
  const service = new ProjectService()
  await expect(service.afterCreateJob(7, 'token', progress)).rejects.toThrow('The project does not exist')
})

// dispatched.

test('dispatched holds the envelopes of what was accepted, oldest first', async () => {
  const jobs = createTestJobs({ context: { capture: () => 'ada' }, attempts: 2 })
  const service = attachAfterJobs({ afterCreateJob() {}, beforeDeleteJob() {} }, { jobs, name: 'rows' })
  expect(jobs.dispatched).toEqual([])
  const first = await service.executeJob('after', 'create', 1, {
    payload: { a: 1 },
    delay: 5,
    priority: 3,
    dedupe: 'k',
  })
  const many = await service.executeJobs('before', 'delete', ['x', 'y'])
  expect(jobs.dispatched).toEqual([
    {
      ...{
        version: 1,
        token: first,
        service: 'rows',
        hook: 'afterCreateJob',
        id: 1,
        payload: { a: 1 },
        context: 'ada',
      },
      ...{ parent: null, delay: 5, priority: 3, attempts: 2, backoff: null, timeout: null, dedupe: 'k' },
      createdAt: expect.any(Number),
    },
    expect.objectContaining({ token: many[0], hook: 'beforeDeleteJob', id: 'x' }),
    expect.objectContaining({ token: many[1], hook: 'beforeDeleteJob', id: 'y' }),
  ])
})

test('dispatched keeps what has run, and lacks what was not accepted', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  await service.executeJob('after', 'create', 1, { dedupe: 'k' })
  await service.executeJob('after', 'create', 2, { dedupe: 'k' })
  await service.executeJob('after', 'update' as string, 3)
  await service.executeJob('after', 'create', 4n as never).catch(() => {})
  await drain(jobs)
  expect(jobs.dispatched.map(({ id }) => id)).toEqual([1])
})

test('two runtimes know nothing of each other', async () => {
  const [one, two] = [createTestJobs(), createTestJobs()]
  const token = await attachAfterJobs({ afterCreateJob() {} }, { jobs: one }).executeJob('after', 'create', 1)
  expect(two.dispatched).toEqual([])
  expect(await two.status(token ?? '')).toMatchObject({ status: 'unknown' })
  expect(await two.runNext()).toBe(false)
})

// runNext.

test('nothing runs unless told', async () => {
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn()
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  await service.executeJobs('after', 'create', [1, 2])
  await turns(20)
  expect(afterCreateJob).not.toHaveBeenCalled()
  expect(await jobs.health()).toMatchObject({ waiting: 2, active: 0, workers: 0 })
})

test('runNext runs one job to its end, and says whether there was one', async () => {
  const jobs = createTestJobs()
  const ran: number[] = []
  const afterCreateJob = async (id: number) => {
    await turns(2)
    ran.push(id)
  }
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  expect(await jobs.runNext()).toBe(false)
  await service.executeJobs('after', 'create', [1, 2])
  expect(await jobs.runNext()).toBe(true)
  expect(ran).toEqual([1])
  expect(await jobs.runNext()).toBe(true)
  expect(await jobs.runNext()).toBe(false)
  expect(ran).toEqual([1, 2])
})

test('runNext leaves a delayed job where it is', async () => {
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn()
  await attachAfterJobs({ afterCreateJob }, { jobs }).executeJob('after', 'create', 1, { delay: 60_000 })
  expect(await jobs.runNext()).toBe(false)
  expect(afterCreateJob).not.toHaveBeenCalled()
})

// drain.

test('drain of nothing resolves', async () => {
  await drain(createTestJobs())
})

test('drain makes delays due, a year as well as a millisecond', async () => {
  const jobs = createTestJobs()
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs })
  for (const delay of [YEAR, 1, 0]) await service.executeJob('after', 'create', delay, { delay })
  await drain(jobs)
  expect(ran.toSorted()).toEqual([0, 1, YEAR])
  expect(await jobs.health()).toMatchObject({ waiting: 0, active: 0 })
})

test('drain runs further attempts at once, whatever the backoff', async () => {
  const jobs = createTestJobs()
  const attempts: number[] = []
  const afterCreateJob = (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
    attempts.push(job.attempt)
    if (job.attempt < 3) throw new Error('again')
  }
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const backoff = { type: 'exponential', delay: YEAR } as const
  const token = await service.executeJob('after', 'create', 1, { attempts: 5, backoff })
  await drain(jobs)
  expect(attempts).toEqual([1, 2, 3])
  expect(await jobs.status(token ?? '')).toMatchObject({ status: 'done', attempt: 3 })
})

test('drain runs the jobs that jobs start, delayed ones included', async () => {
  const jobs = createTestJobs()
  const ran: number[] = []
  const service = attachAfterJobs(
    {
      async afterCreateJob(id: number) {
        ran.push(id)
        if (id < 3) await service.executeJob('after', 'create', id + 1, { delay: YEAR })
      },
    },
    { jobs },
  )
  await service.executeJob('after', 'create', 1)
  await drain(jobs)
  expect(ran).toEqual([1, 2, 3])
})

test('drain waits for the compensation of what was cancelled', async () => {
  const jobs = createTestJobs()
  const failed: unknown[] = []
  const afterCreateJobFailed = async (id: number, _token: string, error: Error) => {
    await turns(5)
    failed.push([id, error.message])
  }
  const service = attachAfterJobs({ afterCreateJob() {}, afterCreateJobFailed }, { jobs })
  const tokens = await service.executeJobs('after', 'create', [1, 2])
  expect(await jobs.cancel(tokens[0] ?? '')).toBe(true)
  await drain(jobs)
  expect(failed).toEqual([[1, expect.stringMatching(/cancelled/)]])
  expect(await jobs.status(tokens[1] ?? '')).toMatchObject({ status: 'done' })
})

test('drain runs what a compensation starts with a delay', async () => {
  const jobs = createTestJobs()
  const afterUpdateJob = vi.fn()
  const service = attachAfterJobs(
    {
      afterCreateJob() {},
      async afterCreateJobFailed(id: number) {
        await turns(5)
        await service.executeJob('after', 'update', id, { delay: YEAR })
      },
      afterUpdateJob,
    },
    { jobs },
  )
  await jobs.cancel((await service.executeJob('after', 'create', 1)) ?? '')
  await drain(jobs)
  expect(afterUpdateJob).toHaveBeenCalledTimes(1)
})

test('drain waits for what runNext is running, and for the attempts that follow', async () => {
  const jobs = createTestJobs()
  const attempts: number[] = []
  const afterCreateJob = async (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
    await turns(5)
    attempts.push(job.attempt)
    throw new Error('again')
  }
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const backoff = { type: 'fixed', delay: YEAR } as const
  await service.executeJob('after', 'create', 1, { attempts: 2, backoff })
  const running = jobs.runNext()
  await turns(2)
  await drain(jobs)
  await running
  expect(attempts).toEqual([1, 2])
})

test('drain waits between two tries of a job that cannot be claimed', async () => {
  const cache = memoryCache()
  const write = vi.fn(async () => Promise.reject(new Error('away')))
  const jobs = createTestJobs({ cache: { ...cache, write } })
  await attachAfterJobs({ afterCreateJob() {} }, { jobs }).executeJob('after', 'create', 1)
  const tries = write.mock.calls.length
  await expect(jobs.drain({ signal: AbortSignal.timeout(300) })).rejects.toThrow()
  expect(write.mock.calls.length - tries).toBeLessThan(5)
})

test('drain leaves no worker behind', async () => {
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn()
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  await service.executeJob('after', 'create', 1)
  await drain(jobs)
  await service.executeJob('after', 'create', 2)
  await turns(20)
  expect(afterCreateJob).toHaveBeenCalledTimes(1)
  expect(await jobs.health()).toMatchObject({ waiting: 1, workers: 0 })
})

test('a job that starts itself for ever is told, not waited for', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs(
    {
      async afterCreateJob() {
        await service.executeJob('after', 'create', 1)
      },
    },
    { jobs },
  )
  await service.executeJob('after', 'create', 1)
  await expect(jobs.drain()).rejects.toMatchObject({ name: 'AfterJobsError', message: expect.stringMatching(/itself/) })
}, 60_000)

test('drain rejects with the reason of a signal: aborted before', async () => {
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn()
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  await service.executeJob('after', 'create', 1)
  await turns(1)
  await service.executeJob('after', 'create', 2, { delay: 1_000 })
  const reason = new Error('enough')
  await expect(jobs.drain({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  await turns(2)
  expect(afterCreateJob).not.toHaveBeenCalled()
})

test('runs under the fake timers of a test', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn()
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  await service.executeJob('after', 'create', 1)
  expect(await jobs.runNext()).toBe(true)
  await service.executeJob('after', 'create', 2, { delay: YEAR })
  await jobs.drain()
  expect(afterCreateJob).toHaveBeenCalledTimes(2)
})

test('drain rejects with the reason of a signal: aborted between two jobs', async () => {
  const jobs = createTestJobs()
  const controller = new AbortController()
  const reason = new Error('enough')
  const afterCreateJob = vi.fn(() => controller.abort(reason))
  await attachAfterJobs({ afterCreateJob }, { jobs }).executeJobs('after', 'create', [1, 2])
  await expect(jobs.drain({ signal: controller.signal })).rejects.toBe(reason)
  expect(afterCreateJob).toHaveBeenCalledTimes(1)
})

test('drain rejects with the reason of a signal: aborted while a hook hangs', { timeout: 3_000 }, async () => {
  const jobs = createTestJobs()
  const controller = new AbortController()
  const reason = new Error('enough')
  const afterCreateJob = () => {
    setImmediate(() => controller.abort(reason))
    return new Promise<void>(() => {})
  }
  await attachAfterJobs({ afterCreateJob }, { jobs }).executeJob('after', 'create', 1)
  await expect(jobs.drain({ signal: controller.signal })).rejects.toBe(reason)
})

test('drain rejects with the reason of a signal: aborted while a compensation hangs', { timeout: 3_000 }, async () => {
  const jobs = createTestJobs()
  const afterCreateJobFailed = () => new Promise<void>(() => {})
  const service = attachAfterJobs({ afterCreateJob() {}, afterCreateJobFailed }, { jobs })
  await jobs.cancel((await service.executeJob('after', 'create', 1)) ?? '')
  const reason = new Error('enough')
  const controller = new AbortController()
  setImmediate(() => controller.abort(reason))
  await expect(jobs.drain({ signal: controller.signal })).rejects.toBe(reason)
})

test('two drains at once both end', async () => {
  const jobs = createTestJobs()
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs })
  await service.executeJobs('after', 'create', [1, 2, 3])
  await Promise.all([drain(jobs), drain(jobs)])
  expect(ran.toSorted()).toEqual([1, 2, 3])
})

test('a drain that is given up takes nothing from another', async () => {
  const jobs = createTestJobs()
  const controller = new AbortController()
  const attempts: number[] = []
  const afterCreateJob = async (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
    attempts.push(job.attempt)
    controller.abort()
    await turns(5)
    if (job.attempt < 3) throw new Error('again')
  }
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const backoff = { type: 'fixed', delay: YEAR } as const
  await service.executeJob('after', 'create', 1, { attempts: 3, backoff })
  const givenUp = jobs.drain({ signal: controller.signal })
  const kept = drain(jobs)
  await expect(givenUp).rejects.toMatchObject({ name: 'AbortError' })
  await kept
  expect(attempts).toEqual([1, 2, 3])
})

// Tokens of each instance.

function makeService(jobs: TestJobs, options: AfterJobsServiceOptions = {}) {
  return class extends withAfterJobs({ jobs, ...options }) {
    async save(id: number) {
      return { id }
    }
    afterSaveJob() {}
  }
}

test('getJobToken() needs no scope, not even where actions overlap', async () => {
  const jobs = createTestJobs()
  const Service = makeService(jobs)
  const [one, two] = [new Service(), new Service()]
  await Promise.all([1, 2].map((id) => one.executeJob('after', 'save', id)))
  const other = await two.executeJob('after', 'save', 3)
  expect(one.getJobToken()).toBe(jobs.dispatched[1]?.token)
  expect(two.getJobToken()).toBe(other)
  await two.executeJob('after', 'update' as string, 3)
  expect(two.getJobToken()).toBeUndefined()
  expect(one.getJobToken()).toBe(jobs.dispatched[1]?.token)
  expect(new Service().getJobToken()).toBeUndefined()
})

test('getJobToken() has none after a bulk of nothing', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const token = await service.executeJob('after', 'create', 1)
  expect(service.getJobToken()).toBe(token)
  await service.executeJobs('after', 'create', [])
  expect(service.getJobToken()).toBeUndefined()
})

test('getJobToken() works after an automatic start, by instance and by entity', async () => {
  const jobs = createTestJobs()
  const service = new (makeService(jobs, { auto: ['save'] }))()
  const saved = await service.save(5)
  expect(jobs.dispatched).toHaveLength(1)
  expect(service.getJobToken()).toBe(jobs.dispatched[0]?.token)
  expect(service.getJobToken(saved)).toBe(jobs.dispatched[0]?.token)
})

// It is a runtime like any other.

test('takes the options of a runtime, but no queue of its own', async () => {
  const cache = { ...memoryCache(), read: vi.fn(memoryCache().read) }
  const jobs = createTestJobs({ cache })
  await jobs.status('6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10')
  expect(cache.read).toHaveBeenCalled()
  expect(() => createTestJobs({ ttl: -1 })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
})

test('watches, listens and closes like any other', async () => {
  const jobs = createTestJobs({ logger: spyLogger() })
  const done = vi.fn()
  jobs.on('done', done)
  const service = attachAfterJobs({ afterCreateJob: () => ({ result: 5 }) }, { jobs })
  const [first = '', second = ''] = await service.executeJobs('after', 'create', [1, 2])
  const settled = jobs.settled(first)
  await jobs.runNext()
  expect(await settled).toMatchObject({ status: 'done', result: 5 })
  expect(done).toHaveBeenCalledTimes(1)
  await jobs.close()
  expect(await jobs.status(second)).toMatchObject({ status: 'error', code: 'cancelled' })
})

test('more jobs than one could start by itself are run to the last', async () => {
  const jobs = createTestJobs()
  let runs = 0
  const service = attachAfterJobs({ afterCreateJob: () => void runs++ }, { jobs, name: 'many' })
  await service.executeJobs(
    'after',
    'create',
    Array.from({ length: 11_000 }, (_, id) => id),
  )
  await jobs.drain()
  expect(runs).toBe(11_000)
})

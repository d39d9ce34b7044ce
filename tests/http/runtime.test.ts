import {
  AfterJobsError,
  createAfterJobs,
  JobError,
  type JobStatus,
  jobHeaders,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { createJobHandler, createNodeHandler, type NodeRequest } from 'after-jobs/http'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type Ask, FACES } from './faces'

describe.each(FACES)('$name: a job of the real runtime', (face) => {
  test('waits, is started over HTTP, runs, and is done', async () => {
    const { jobs, service, hook } = makeService()
    const ask = await face.serve(jobs, { start: true })
    const token = (await service.executeJob('after', 'create', 7)) as string
    const path = jobHeaders(token)['Operation-Location'] ?? ''
    expect(await read(ask, path)).toMatchObject({ token, status: 'pending', progress: 0 })
    expect((await ask('POST', '/jobs/start')).status).toBe(202)
    await hook.started
    expect(await read(ask, path)).toMatchObject({ status: 'running', attempt: 1 })
    hook.end('done')
    await jobs.settled(token)
    expect(await read(ask, path)).toEqual(await jobs.status(token))
    expect(await read(ask, path)).toMatchObject({ status: 'done', progress: 100 })
  })

  test('is cancelled over HTTP, and its hook sees it', async () => {
    const { jobs, service, hook } = makeService()
    const ask = await face.serve(jobs, { cancel: true, start: true })
    const token = (await service.executeJob('after', 'create', 7)) as string
    await ask('POST', '/jobs/start')
    await hook.started
    const cancelled = { status: 'error', code: 'cancelled' }
    expect(await read(ask, `/jobs/cancel/${token}`, 'POST')).toMatchObject(cancelled)
    await hook.aborted
    hook.end('done')
    expect(await read(ask, `/jobs/cancel/${token}`, 'POST')).toMatchObject(cancelled)
    expect(await read(ask, `/jobs/status/${token}`)).toMatchObject(cancelled)
  })

  test('is shown to whoever its context belongs to', async () => {
    const { jobs, service, hook } = makeService()
    const token = (await service.executeJob('after', 'create', 7)) as string
    hook.end('done')
    await jobs.runNext()
    const served = async (user: string): Promise<string> => {
      const ask = await face.serve(jobs, { authorize: (_, { context }) => (context as { user: string }).user === user })
      return (await ask('GET', `/jobs/status/${token}`)).body
    }
    expect(await served('zoe')).toContain(token)
    expect(await served('zoe')).not.toContain('zoe')
    expect(await served('eve')).toBe('{"status":"unknown","progress":0,"message":null}')
  })

  test('that failed tells its own message only where it is meant for users', async () => {
    const { jobs, service, hook } = makeService()
    const ask = await face.serve(jobs, { exposeErrors: false })
    const messages: unknown[] = []
    for (const error of [new JobError('The project does not exist'), new Error('relation "secret" does not exist')]) {
      const token = (await service.executeJob('after', 'create', 7)) as string
      hook.end(error)
      await jobs.runNext()
      messages.push((await read(ask, `/jobs/status/${token}`)).message)
    }
    expect(messages).toEqual(['The project does not exist', 'The job failed unexpectedly.'])
  })
})

test('a job in memory is shown in the very turn that asked', async () => {
  const { jobs, service } = makeService()
  const token = (await service.executeJob('after', 'create', 7)) as string
  const end = vi.fn<(body?: string) => void>()
  const response = { headersSent: false, writeHead: vi.fn(), write: vi.fn(), on: vi.fn(), end }
  createNodeHandler<NodeRequest>(jobs)({ method: 'GET', url: `/jobs/status/${token}` }, response)
  expect(JSON.parse(end.mock.lastCall?.[0] ?? '')).toEqual(await jobs.status(token))
})

test('a runtime whose record() was replaced is asked there', async () => {
  const { jobs, service } = makeService()
  const token = (await service.executeJob('after', 'create', 7)) as string
  const replaced = { ...jobs, record: async () => ({ ...(await jobs.record(token)), label: 'replaced' }) as JobStatus }
  const response = await createJobHandler(replaced)(new Request(`http://localhost/jobs/status/${token}`))
  expect(await response.json()).toMatchObject({ token, label: 'replaced' })
})

test('a cache that is away answers 503', async () => {
  const away = async (): Promise<never> => {
    throw new AfterJobsError('CACHE_UNAVAILABLE', 'The cache is away')
  }
  const { immediate: _, ...memory } = memoryCache()
  const jobs = createAfterJobs({ queue: memoryQueue({ autoStart: false }), cache: { ...memory, read: away } })
  onTestFinished(() => jobs.close())
  const token = '11111111-1111-4111-8111-111111111111'
  const response = await createJobHandler(jobs)(new Request(`http://localhost/jobs/status/${token}`))
  expect(response.status).toBe(503)
})

async function read(ask: Ask, path: string, method = 'GET'): Promise<Record<string, unknown>> {
  const { status, body } = await ask(method, path)
  expect(status).toBe(200)
  return JSON.parse(body)
}

/** A hook that tells when it starts and when it is aborted, and ends when and how it was told. */
interface Hook {
  started: Promise<void>
  aborted: Promise<void>
  end(how: 'done' | Error): void
  run(signal: AbortSignal): Promise<void>
}

function createHook(): Hook {
  const [start, abort] = [createDeferred(), createDeferred()]
  let ended = createDeferred()
  return {
    started: start.promise,
    aborted: abort.promise,
    end(how) {
      if (how === 'done') return ended.resolve()
      ended = createDeferred()
      ended.promise.catch(() => {})
      ended.reject(how)
    },
    run(signal) {
      signal.addEventListener('abort', abort.resolve)
      start.resolve()
      return ended.promise
    },
  }
}

interface Deferred {
  promise: Promise<void>
  resolve: () => void
  reject: (error: Error) => void
}

function createDeferred(): Deferred {
  const deferred: Partial<Deferred> = {}
  deferred.promise = new Promise<void>((resolve, reject) => Object.assign(deferred, { resolve, reject }))
  return deferred as Deferred
}

function makeService() {
  const jobs = createAfterJobs({
    queue: memoryQueue({ autoStart: false }),
    context: { capture: () => ({ user: 'zoe' }) },
  })
  onTestFinished(() => jobs.close({ grace: 0 }))
  const hook = createHook()
  class ProjectService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      return hook.run(progress.signal)
    }
  }
  return { jobs, hook, service: new ProjectService() }
}

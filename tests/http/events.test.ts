import {
  createAfterJobs,
  JobError,
  type JobStatus,
  memoryQueue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { AfterJobsError } from '../../src/core/errors'
import { type Ask, FACES } from './faces'
import { openLive, statusesIn } from './live'
import { CONTEXT, createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const AWAY = new AfterJobsError('CACHE_UNAVAILABLE', 'redis://secret@10.0.0.7 does not answer')

describe.each(FACES)('$name', (face) => {
  test('the whole status comes first, then each change, and the final one ends the stream', async () => {
    const { start, seen, ended } = await followJob(face.serve)
    const { progress, end } = await start
    progress.set(40)
    await seen(({ progress }) => progress === 40)
    progress.label('Tasks')
    await seen(({ status, ...rest }) => status === 'running' && rest.label === 'Tasks')
    end()
    const statuses = statusesIn((await ended).body)
    expect(statuses.map(({ status, progress }) => `${status} ${progress}`)).toEqual([
      ...['pending 0', 'running 0', 'running 40', 'running 40', 'done 100'],
    ])
  })

  test('no event holds the context, nor what is for servers', async () => {
    const { start, ended } = await followJob(face.serve)
    const { progress, end } = await start
    progress.set(40)
    end()
    const { body } = await ended
    expect(body).not.toContain('zoe')
    for (const status of statusesIn(body)) {
      expect(Object.keys(status)).toEqual(Object.keys(STATUSES.done))
    }
  })

  test('a message that is for nobody is hidden, one for the user is not', async () => {
    for (const [error, message] of [
      [new Error('relation "secret" does not exist'), 'The job failed unexpectedly.'],
      [new JobError('No such <img> & "quote"\nnext'), 'No such <img> & "quote" next'],
    ] as const) {
      const { start, ended } = await followJob((jobs) => face.serve(jobs, { exposeErrors: false }))
      const { fail } = await start
      fail(error)
      expect(statusesIn((await ended).body).at(-1)).toMatchObject({ status: 'error', message })
    }
  })

  test('a client that goes ends the watch of its job', async () => {
    const stub = createStubJobs()
    const live = openLive(await face.serve(stub.jobs), TOKENS.running)
    await vi.waitFor(() => expect(live.statuses()).toEqual([STATUSES.running]))
    const [, options] = stub.watch.mock.calls[0] ?? []
    expect(options?.signal?.aborted).toBe(false)
    live.leave()
    await vi.waitFor(() => expect(options?.signal?.aborted).toBe(true))
    expect(stub.logger.error).not.toHaveBeenCalled()
  })

  test('whoever has had the final status is told to come back no more', async () => {
    const ask = await face.serve(createStubJobs().jobs)
    const path = `/jobs/events/${TOKENS.done}`
    const [, id = ''] = /^id: (.*)$/m.exec((await ask('GET', path)).body) ?? []
    const headers = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
    expect(await ask('GET', path, { headers: { 'Last-Event-ID': id } })).toEqual({ status: 204, headers, body: '' })
    const other = await ask('GET', path, { headers: { 'Last-Event-ID': '3-running' } })
    expect(statusesIn(other.body)).toEqual([STATUSES.done])
  })

  test('whoever comes back before the end gets the whole status, and what follows', async () => {
    const stub = createStubJobs()
    const live = openLive(await face.serve(stub.jobs), TOKENS.running, { 'Last-Event-ID': '3-running' })
    await vi.waitFor(() => expect(live.statuses()).toEqual([STATUSES.running]))
    stub.tell(STATUSES.done)
    expect(statusesIn((await live.ended).body)).toEqual([STATUSES.running, STATUSES.done])
  })

  test('a job that can be followed no longer ends the stream, and the log says why', async () => {
    const stub = createStubJobs()
    stub.tell(AWAY)
    const ask = await face.serve(stub.jobs)
    const { status, body } = await ask('GET', `/jobs/events/${TOKENS.running}`)
    expect([status, statusesIn(body)]).toEqual([200, [STATUSES.running]])
    expect(stub.logger.error.mock.calls).toEqual([
      [{ err: AWAY, token: TOKENS.running.slice(0, 8) }, expect.stringContaining('watched')],
    ])
  })

  test('a job that expires while it is watched is told as unknown', async () => {
    const stub = createStubJobs()
    const live = openLive(await face.serve(stub.jobs), TOKENS.running)
    await vi.waitFor(() => expect(live.statuses()).toEqual([STATUSES.running]))
    stub.tell({ status: 'unknown', progress: 0, message: null })
    const { body } = await live.ended
    expect(body).toContain('id: unknown\ndata: {"status":"unknown","progress":0,"message":null}\n\n')
  })

  test('authorize is asked once for a stream, however long it lives', async () => {
    const authorize = vi.fn(async () => true)
    const stub = createStubJobs()
    const live = openLive(await face.serve(stub.jobs, { authorize }), TOKENS.running)
    await vi.waitFor(() => expect(live.statuses()).toEqual([STATUSES.running]))
    stub.tell({ ...STATUSES.running, progress: 50 })
    stub.tell(STATUSES.done)
    expect(statusesIn((await live.ended).body)).toHaveLength(3)
    expect(authorize.mock.calls).toEqual([
      [expect.anything(), { token: TOKENS.running, context: CONTEXT, action: 'read' }],
    ])
  })
})

/** What a job of the real runtime does, as told by the test. */
interface Started {
  progress: ProgressReporter
  end(): void
  fail(error: Error): void
}

/** Starts a job, opens a stream of it while it is pending, and lets it run. */
async function followJob(serve: (jobs: ReturnType<typeof createAfterJobs>) => Promise<Ask>) {
  const queue = memoryQueue({ autoStart: false })
  const jobs = createAfterJobs({ queue, context: { capture: () => ({ user: 'zoe' }) } })
  onTestFinished(() => jobs.close({ grace: 0 }))
  let onStart = (_: Started): void => {}
  const start = new Promise<Started>((resolve) => {
    onStart = resolve
  })
  class ProjectService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      return new Promise((end, fail) => onStart({ progress, end, fail }))
    }
  }
  const ask = await serve(jobs)
  const token = await new ProjectService().executeJob('after', 'create', 7)
  const live = openLive(ask, token as string)
  const seen = (matches: (status: JobStatus & { label?: string | null }) => boolean): Promise<void> =>
    vi.waitFor(() => expect(live.statuses().some(matches)).toBe(true), { timeout: 5_000 })
  await seen(({ status }) => status === 'pending')
  jobs.work()
  return { start, seen, ended: live.ended }
}

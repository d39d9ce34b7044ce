import { createAfterJobs, JobError, withAfterJobs } from 'after-jobs'
import { expect, test, vi } from 'vitest'
import { aborted, type Bench, type Hooks, makeGate, rejection } from '../../engine/support/runtime'
import { eventually, type Finisher, type SharedEngine } from '../shared-engine'

/** A timer may fire a millisecond early by the wall clock. */
const JITTER = 2
/** More than a timer can take. */
const YEAR = 365 * 86_400_000

/** Proves how a job goes from the process that starts it to the one that runs it. */
export function testLife(engine: SharedEngine): void {
  engine.describe(`a job through ${engine.name}`, {}, () => {
    const place = engine.use()

    /** A process that starts jobs, and another one that will run them once it is told to work. */
    function openPair(context: Finisher, hooks: Hooks, onWeb: Hooks = { ...hooks }) {
      const neighbours = place.openNeighbours(context)
      return { web: neighbours.add(onWeb), worker: neighbours.add(hooks) }
    }

    test('is pending, then runs elsewhere with all that it was given, then is done', async (context) => {
      const gate = makeGate()
      const hook = vi.fn()
      const onWeb = vi.fn()
      const neighbours = place.openNeighbours(context)
      const capture = () => ({ user: 7, names: ['Zoë'] })
      const web = neighbours.add({ afterCreateJob: onWeb }, { context: { capture } })
      const worker = neighbours.add({
        async afterCreateJob(...given) {
          hook(...given)
          given[2].set(30)
          given[2].label('Côte')
          await gate.opened
          return { result: { rows: [1, null, 'ü'] } }
        },
      })
      const token = await web.start('é 1', { payload: { list: [1, { deep: null }] } })
      expect(await web.jobs.status(token)).toMatchObject({
        status: 'pending',
        progress: 0,
        attempt: 0,
        startedAt: null,
      })

      worker.jobs.work()
      const seen = { status: 'running', progress: 30, label: 'Côte', attempt: 1, parent: null }
      await eventually(async () => expect(await web.jobs.status(token)).toMatchObject(seen))
      gate.open()
      const end = await web.jobs.settled(token)
      expect(end).toMatchObject({ status: 'done', progress: 100, result: { rows: [1, null, 'ü'] } })
      expect(hook.mock.calls).toMatchObject([['é 1', token, {}, { token, service: 'bench', hook: 'afterCreateJob' }]])
      const job = {
        payload: { list: [1, { deep: null }] },
        context: { user: 7, names: ['Zoë'] },
        attempt: 1,
        attempts: 1,
      }
      expect(hook.mock.calls[0]?.[3]).toMatchObject(job)
      expect(onWeb).not.toHaveBeenCalled()
      expect(await web.jobs.record(token)).toMatchObject({ context: { user: 7, names: ['Zoë'] } })
    })

    test('keeps 0, an empty text and a fraction apart as its id', async (context) => {
      const ids: unknown[] = []
      const { web, worker } = openPair(context, { afterCreateJob: (id) => void ids.push(id) })
      for (const id of [0, '', '0', -1.5]) await web.start(id)
      worker.jobs.work()
      await worker.jobs.drain()
      expect(ids).toEqual([0, '', '0', -1.5])
    })

    test('starts a job of its own with itself as parent, and with its context', async (context) => {
      const child = makeGate<string>()
      const neighbours = place.openNeighbours(context)
      const hooks = { afterCreateJob: () => {}, afterUpdateJob: vi.fn() }
      const web = neighbours.add(hooks, { context: { capture: () => ({ user: 7 }) } })
      const worker: Bench = neighbours.add({
        async afterCreateJob(id) {
          child.open((await worker.service.executeJob('after', 'update', id)) as string)
        },
        afterUpdateJob: (_id, _token, _progress, { context: kept }) => ({ result: kept }),
      })
      const token = await web.start()
      worker.jobs.work()
      const end = await web.jobs.settled(await child.opened)
      expect(end).toMatchObject({ status: 'done', parent: token, result: { user: 7 } })
    })

    test('waits for its delay, be it a year', async (context) => {
      const ids: unknown[] = []
      const { web, worker } = openPair(context, { afterCreateJob: (id) => void ids.push(id) })
      worker.jobs.work()
      const begin = Date.now()
      const token = await web.start('late', { delay: 1_500 })
      const far = await web.start('far', { delay: YEAR })
      const other = await web.jobs.settled(await web.start('now'))
      expect(other).toMatchObject({ status: 'done' })
      const { startedAt } = (await web.jobs.settled(token)) as { startedAt: number }
      expect(startedAt - begin).toBeGreaterThanOrEqual(1_500 - JITTER)
      expect(ids).toEqual(['now', 'late'])
      expect(await web.jobs.status(far)).toMatchObject({ status: 'pending', attempt: 0 })
    })

    test('overtakes those of a lower priority, and equal ones keep their order', async (context) => {
      const ids: unknown[] = []
      const { web, worker } = openPair(context, { afterCreateJob: (id) => void ids.push(id) })
      for (const [id, priority] of [0, 5, -1_000, 0, 1_000, 5].entries()) await web.start(id, { priority })
      await web.start('last')
      worker.jobs.work()
      await worker.jobs.drain()
      expect(ids).toEqual([4, 1, 5, 0, 3, 'last', 2])
    })

    test.for([
      ['fixed', [150, 150, 150]],
      ['exponential', [150, 300, 600]],
    ] as const)(
      'is tried again with a backoff that is %s, and is pending at 0 in between',
      async ([type, waits], context) => {
        const starts: number[] = []
        const { web, worker } = openPair(context, {
          async afterCreateJob(_id, _token, progress, { attempt }) {
            starts.push(Date.now())
            progress.set(10 * attempt)
            if (attempt < 4) throw new Error('not yet')
          },
        })
        const token = await web.start(1, { attempts: 4, backoff: { type, delay: 150 } })
        worker.jobs.work()
        expect(await web.jobs.settled(token)).toMatchObject({ status: 'done', attempt: 4, attempts: 4 })
        const between = worker.cache.versions(token).filter(({ status }) => status === 'pending')
        expect(between.map(({ progress, attempt, message }) => [progress, attempt, message])).toEqual([
          [0, 1, null],
          [0, 2, null],
          [0, 3, null],
        ])
        const rounded = between.map(({ dueAt, updatedAt }) => Math.round(((dueAt ?? 0) - updatedAt) / 50) * 50)
        expect(rounded).toEqual(waits)
        for (const [index, { dueAt }] of between.entries()) {
          expect(starts[index + 1]).toBeGreaterThanOrEqual((dueAt ?? 0) - JITTER)
        }
        expect(worker.events.filter(({ event }) => event === 'retrying')).toHaveLength(3)
      },
    )

    test.for([
      ['an error, for the last time', () => new Error('private'), 2, 'unexpected'],
      ['a JobError, at once', () => new JobError('no such city'), 1, 'failed'],
    ] as const)('ends with %s, and is compensated by its worker', async ([, make, attempts, code], context) => {
      const hook = vi.fn(async () => Promise.reject(make()))
      const failed = vi.fn()
      const onWeb = { afterCreateJob: vi.fn(), afterCreateJobFailed: vi.fn() }
      const { web, worker } = openPair(context, { afterCreateJob: hook, afterCreateJobFailed: failed }, onWeb)
      const token = await web.start(1, { attempts: 2 })
      worker.jobs.work()
      const message = make().message
      expect(await web.jobs.settled(token)).toMatchObject({ status: 'error', code, message, attempt: attempts })
      await eventually(() => expect(failed).toHaveBeenCalledOnce())
      expect(failed.mock.calls[0]).toMatchObject([1, token, { message }, { token, attempt: attempts }])
      await worker.jobs.drain()
      expect(hook).toHaveBeenCalledTimes(attempts)
      expect(failed).toHaveBeenCalledOnce()
      for (const spy of Object.values(onWeb)) expect(spy).not.toHaveBeenCalled()
    })

    test('ends for good with its time-out, though attempts are left', async (context) => {
      const hook = vi.fn((_id, _token, { signal }) => aborted(signal))
      const failed = vi.fn()
      const { web, worker } = openPair(context, { afterCreateJob: hook, afterCreateJobFailed: failed })
      const token = await web.start(1, { attempts: 5, timeout: 100 })
      worker.jobs.work()
      expect(await web.jobs.settled(token)).toMatchObject({ status: 'error', code: 'timeout', attempt: 1, attempts: 5 })
      await worker.jobs.drain()
      expect(hook).toHaveBeenCalledOnce()
      expect(failed).toHaveBeenCalledOnce()
    })
  })

  engine.describe(`what could not work through ${engine.name} is refused at once:`, {}, () => {
    const place = engine.use()

    test('a class without a jobName', async (context) => {
      const { jobs } = place.openNeighbours(context).add({})
      class Nameless extends withAfterJobs({ jobs }) {
        afterCreateJob() {}
      }
      const error = await rejection(new Nameless().executeJob('after', 'create', 1))
      expect(error).toMatchObject({
        code: 'NO_JOB_NAME',
        message: expect.stringContaining("static readonly jobName = '"),
      })
      expect(await jobs.health()).toMatchObject({ waiting: 0, queue: 'up' })
    })

    test('a queue beside the memory of one process as its cache', () => {
      const make = () => createAfterJobs({ queue: place.makeQueue(place.url) })
      expect(make).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringContaining('cache') }),
      )
    })
  })
}

import { expect, test, vi } from 'vitest'
import { aborted, type Bench, makeGate } from '../../engine/support/runtime'
import { eventually, type Finisher, type NeighbourOptions, type Neighbours, type SharedEngine } from '../shared-engine'

const DAY = 86_400_000
/** Longer than any test: what a worker learns in spite of it, it was told. */
const SELDOM = 60_000
const CANCELLED = { status: 'error', code: 'cancelled', message: 'The job was cancelled' }

/** So often did a runtime learn from its cache that a job is no longer its own. */
const refusals = ({ cache }: Bench) => cache.calls.write - cache.writes.length

/** Proves what a cancellation does from another process than the one that works. */
export function testCancel(engine: SharedEngine): void {
  engine.describe('cancel(), from another process than the one that works', {}, () => {
    const place = engine.use()

    /** A service whose hook and compensation are recorded; the hook is to be cancelled or to wait for its gate. */
    function openWorker(neighbours: Neighbours, options: NeighbourOptions = {}) {
      const gate = makeGate()
      const story: string[] = []
      const hook = vi.fn(async (_id, _token, progress) => {
        story.push('started')
        await aborted(progress.signal)
        story.push(`aborted: ${progress.signal.reason.message}`)
        await gate.opened
        story.push('ended')
      })
      const failed = vi.fn((_id, _token, error) => void story.push(`compensated: ${error.message}`))
      const bench = neighbours.add({ afterCreateJob: hook, afterCreateJobFailed: failed }, options)
      return { ...bench, gate, story, hook, failed }
    }

    function openThree(context: Finisher, options?: NeighbourOptions) {
      const neighbours = place.openNeighbours(context)
      const web = neighbours.add({ afterCreateJob() {}, afterCreateJobFailed: vi.fn() })
      return { neighbours, web, other: neighbours.add({}), worker: openWorker(neighbours, options) }
    }

    const COMPENSATED = ['compensated: The job was cancelled']

    test('of a job that waits: it never runs, and the worker that takes it compensates once', async (context) => {
      const { web, other, worker } = openThree(context)
      const token = await web.start()
      expect(await other.jobs.cancel(token)).toBe(true)
      expect(await web.jobs.status(token)).toMatchObject({ ...CANCELLED, attempt: 0, startedAt: null })
      worker.jobs.work()
      await worker.jobs.drain()
      expect(worker.story).toEqual(COMPENSATED)
      expect(worker.failed.mock.calls).toMatchObject([[1, token, {}, { token, id: 1 }]])
      expect(worker.events).toMatchObject([{ event: 'error', token, code: 'cancelled' }])
      expect(await web.jobs.status(token)).toMatchObject(CANCELLED)
    })

    test.for(['tells of it', 'never runs it'])(
      'of a job that waits for longer than its status is kept: the queue %s',
      async (what, context) => {
        const { neighbours, web } = openThree(context)
        const other = neighbours.add({}, { ttl: 1 })
        const worker = openWorker(neighbours)
        const token = await web.start(1, { attempts: 2 })
        expect(await other.jobs.cancel(token)).toBe(true)
        await eventually(async () => expect(await web.cache.read(token)).toBeUndefined())
        if (what === 'tells of it') expect(await web.jobs.status(token)).toMatchObject({ ...CANCELLED, attempt: 0 })
        worker.jobs.work()
        await worker.jobs.drain()
        expect(worker.story).toEqual(COMPENSATED)
        expect(worker.hook).not.toHaveBeenCalled()
        expect(await web.jobs.status(token)).toMatchObject({ ...CANCELLED, attempt: 0 })
      },
    )

    test('of a job that is due tomorrow: a worker compensates now', async (context) => {
      const { web, other, worker } = openThree(context, { pollInterval: SELDOM })
      worker.jobs.work()
      const token = await web.start(1, { delay: DAY })
      const begin = Date.now()
      expect(await other.jobs.cancel(token)).toBe(true)
      await eventually(() => expect(worker.story).toEqual(COMPENSATED))
      expect(Date.now() - begin).toBeLessThan(2_000)
      expect(await web.jobs.health()).toMatchObject({ waiting: 0 })
    })

    test('of a job whose next attempt is due tomorrow: a worker compensates now', async (context) => {
      const { web, other, worker } = openThree(context)
      worker.hook.mockRejectedValue(new Error('not yet'))
      worker.jobs.work()
      const token = await web.start(1, { attempts: 2, backoff: { type: 'fixed', delay: DAY } })
      await eventually(async () =>
        expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 }),
      )
      await eventually(async () => expect(await web.jobs.health()).toMatchObject({ active: 0 }))
      expect(await other.jobs.cancel(token)).toBe(true)
      await eventually(() => expect(worker.story).toEqual(COMPENSATED))
      expect(worker.hook).toHaveBeenCalledOnce()
      expect(await web.jobs.status(token)).toMatchObject({ ...CANCELLED, attempt: 1 })
    })

    test('of a job that runs: it sees its signal at once, and is compensated after its body', async (context) => {
      const { web, other, worker } = openThree(context)
      worker.jobs.work()
      const token = await web.start(1, { attempts: 3 })
      await eventually(() => expect(worker.story).toEqual(['started']))
      const [begin, before] = [Date.now(), refusals(worker)]
      expect(await other.jobs.cancel(token)).toBe(true)
      const end = await web.jobs.status(token)
      expect(end).toMatchObject({ ...CANCELLED, attempt: 1 })
      await eventually(() => expect(worker.story).toEqual(['started', 'aborted: The job was cancelled']))
      expect(Date.now() - begin).toBeLessThan(1_000)
      expect(refusals(worker)).toBe(before)
      worker.gate.open()
      await worker.jobs.drain()
      expect(worker.story.slice(2)).toEqual(['ended', ...COMPENSATED])
      expect(await web.jobs.status(token)).toEqual(end)
      expect(worker.hook).toHaveBeenCalledOnce()
    })

    test('of a job that has ended, or of none, is false and changes nothing', async (context) => {
      const { neighbours, web, other } = openThree(context)
      neighbours.add({ afterCreateJob() {} }).jobs.work()
      const token = await web.start()
      const end = await web.jobs.settled(token)
      expect(await other.jobs.cancel(token)).toBe(false)
      expect(await web.jobs.status(token)).toEqual(end)
      expect(await other.jobs.cancel(crypto.randomUUID())).toBe(false)
    })

    test('of one job, by many at once, is true for one of them', async (context) => {
      const { web, other, worker } = openThree(context)
      const token = await web.start()
      const answers = await Promise.all([web, other, web, other].map(({ jobs }) => jobs.cancel(token)))
      expect(answers.filter((isCancelled) => isCancelled)).toHaveLength(1)
      worker.jobs.work()
      await worker.jobs.drain()
      expect(worker.failed).toHaveBeenCalledOnce()
    })

    test('is heard again after the connection for announcements has broken', async (context) => {
      // Often, its lock would be renewed on the connection that is to be cut.
      const { neighbours, web, other, worker } = openThree(context, { stalledInterval: SELDOM })
      worker.jobs.work()
      const token = await web.start()
      await eventually(() => expect(worker.story).toEqual(['started']))
      await place.cutAnnouncements(context, neighbours)
      const [begin, before] = [Date.now(), refusals(worker)]
      expect(await other.jobs.cancel(token)).toBe(true)
      await eventually(() => expect(worker.story).toHaveLength(2))
      expect(Date.now() - begin).toBeLessThan(1_000)
      expect(refusals(worker)).toBe(before)
      worker.gate.open()
    })

    test('is learned with the next heartbeat where it could not be announced', async (context) => {
      const { neighbours, web, worker } = openThree(context)
      const queue = neighbours.makeQueue()
      const mute = { ...queue, cancel: () => Promise.reject(new Error('connect ECONNREFUSED')) }
      const other = neighbours.add({}, { queue: mute })
      worker.jobs.work()
      const token = await web.start()
      await eventually(() => expect(worker.story).toEqual(['started']))
      const before = refusals(worker)
      expect(await other.jobs.cancel(token)).toBe(true)
      expect(other.logger.print()).toContain('could not be announced')
      expect(await web.jobs.status(token)).toMatchObject(CANCELLED)
      await eventually(() => expect(worker.story).toHaveLength(2))
      expect(refusals(worker)).toBe(before + 1)
      worker.gate.open()
      await worker.jobs.drain()
      expect(worker.story.slice(2)).toEqual(['ended', ...COMPENSATED])
    })
  })
}

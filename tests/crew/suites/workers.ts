import { expect, test, vi } from 'vitest'
import { aborted, type Bench, makeGate, rejection } from '../../engine/support/runtime'
import { eventually, type SharedEngine } from '../shared-engine'
import { until } from '../until'

const isRunning = (bench: Bench, token: string) =>
  eventually(async () => expect(await bench.jobs.status(token)).toMatchObject({ status: 'running' }))

/** Proves what workers do beside each other. */
export function testWorkers(engine: SharedEngine): void {
  engine.describe(`workers on one ${engine.name}`, {}, () => {
    const place = engine.use()

    test('are counted by everybody, as is what waits and what runs', async (context) => {
      const gate = makeGate()
      const neighbours = place.openNeighbours(context)
      const hooks = { afterCreateJob: () => gate.opened }
      const [web, one, two] = [neighbours.add(hooks), neighbours.add(hooks), neighbours.add(hooks)]
      const counts = (expected: object) =>
        eventually(async () => expect(await web.jobs.health()).toMatchObject(expected))
      await web.service.executeJobs('after', 'create', [1, 2, 3, 4])
      await web.start(5, { delay: 3_600_000 })
      await web.start(6, { priority: -5 })
      expect(await web.jobs.health()).toEqual({ waiting: 6, active: 0, workers: 0, queue: 'up', cache: 'up' })
      const first = one.jobs.work()
      await counts({ waiting: 5, active: 1, workers: 1 })
      two.jobs.work({ concurrency: 2 })
      await counts({ waiting: 3, active: 3, workers: 2 })
      gate.open()
      await first.close()
      await counts({ waiting: 1, active: 0, workers: 1 })
      one.jobs.work()
      await counts({ workers: 2 })
    })

    test('are not those who run single jobs when they are told to', async (context) => {
      const neighbours = place.openNeighbours(context)
      const web = neighbours.add({ afterCreateJob() {} })
      await web.start(1)
      expect(await web.jobs.runNext()).toBe(true)
      expect(await web.jobs.health()).toMatchObject({ waiting: 0, workers: 0 })
      const token = await web.start(2)
      await eventually(async () => expect(await web.jobs.status(token)).toMatchObject({ hint: 'no_worker' }))
    })

    test('are missed in the status of a job that has waited for 2 s, until one comes', async (context) => {
      const neighbours = place.openNeighbours(context)
      const [web, worker] = [neighbours.add({ afterCreateJob() {} }), neighbours.add({ afterCreateJob() {} })]
      const token = await web.start(1, { delay: 300 })
      const hinted = await until('hint', async () => {
        const status = await web.jobs.status(token)
        return 'hint' in status && status.hint !== null && status
      })
      expect(hinted).toMatchObject({ status: 'pending', hint: 'no_worker' })
      expect(Date.now() - hinted.createdAt).toBeGreaterThanOrEqual(2_300)
      expect(Date.now() - hinted.createdAt).toBeLessThan(4_500)
      // One whose delay is not over misses nobody.
      expect(await web.jobs.status(await web.start(2, { delay: 3_600_000 }))).toMatchObject({ hint: null })
      worker.jobs.work()
      expect(await web.jobs.settled(token)).toMatchObject({ status: 'done', hint: null })
    })

    test('are not missed where one lives that has no time', async (context) => {
      const gate = makeGate()
      const neighbours = place.openNeighbours(context)
      const hooks = { afterCreateJob: () => gate.opened }
      const [web, worker] = [neighbours.add(hooks), neighbours.add(hooks)]
      worker.jobs.work()
      await isRunning(web, await web.start(1))
      const token = await web.start(2)
      await eventually(async () => {
        const { createdAt } = (await web.jobs.status(token)) as { createdAt: number }
        expect(Date.now() - createdAt).toBeGreaterThan(2_200)
      })
      expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', hint: null })
      gate.open()
    })

    test('run one job each time they are told to, the most urgent first', async (context) => {
      const ids: unknown[] = []
      const neighbours = place.openNeighbours(context)
      const web = neighbours.add({ afterCreateJob() {} })
      const worker = neighbours.add({
        async afterCreateJob(id, _token, _progress, { attempt }) {
          ids.push(id)
          if (attempt === 1 && id === 'tried twice') throw new Error('again')
        },
      })
      expect(await worker.jobs.runNext()).toBe(false)
      const tokens = [await web.start(1), await web.start('tried twice', { priority: 1, attempts: 2 })]
      await web.start(3, { delay: 3_600_000 })
      for (let job = 0; job < 3; job++) expect(await worker.jobs.runNext()).toBe(true)
      expect(await worker.jobs.runNext()).toBe(false)
      expect(ids).toEqual(['tried twice', 'tried twice', 1])
      for (const token of tokens) expect(await web.jobs.status(token)).toMatchObject({ status: 'done' })
      expect(await web.jobs.health()).toMatchObject({ waiting: 1, active: 0 })
    })

    test('drain what is there, and refuse to wait where nobody works', async (context) => {
      const neighbours = place.openNeighbours(context)
      const [web, worker] = [neighbours.add({ afterCreateJob() {} }), neighbours.add({ afterCreateJob() {} })]
      const tokens = await web.service.executeJobs('after', 'create', [1, 2, 3])
      expect(await rejection(web.jobs.drain())).toMatchObject({ code: 'NO_WORKER' })
      worker.jobs.work()
      await worker.jobs.drain()
      for (const token of tokens) expect(await web.jobs.status(token)).toMatchObject({ status: 'done' })
      await web.start(4, { delay: 3_600_000 })
      const signal = AbortSignal.timeout(300)
      expect(await rejection(worker.jobs.drain({ signal }))).toBe(signal.reason)
    })

    test.for([
      ['listens to its signal', (signal: AbortSignal) => aborted(signal).then(() => Promise.reject(signal.reason))],
      ['is deaf', () => new Promise<void>(() => {})],
    ] as const)(
      'hand a running job back when they close, and another one ends it as the same attempt: the hook %s',
      async ([, linger], context) => {
        const failed = vi.fn()
        const neighbours = place.openNeighbours(context)
        const web = neighbours.add({ afterCreateJob() {} })
        const closing = neighbours.add({
          afterCreateJob: (_id, _token, progress, { signal }) => {
            progress.set(60)
            return linger(signal)
          },
          afterCreateJobFailed: failed,
        })
        const successor = neighbours.add({
          afterCreateJob: (_id, _token, _progress, { attempt }) => ({ result: attempt }),
          afterCreateJobFailed: failed,
        })
        const token = await web.start()
        const worker = closing.jobs.work()
        await isRunning(web, token)
        await worker.close({ grace: 50 })
        expect(await web.jobs.status(token)).toMatchObject({ status: 'pending', progress: 0, attempt: 1 })
        successor.jobs.work()
        const end = { status: 'done', result: 1, attempt: 1, attempts: 1 }
        expect(await web.jobs.settled(token)).toMatchObject(end)
        const idle = { waiting: 0, active: 0, workers: 1 }
        await eventually(async () => expect(await web.jobs.health()).toMatchObject(idle))
        expect(failed).not.toHaveBeenCalled()
      },
    )
  })
}

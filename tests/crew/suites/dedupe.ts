import { expect, test, vi } from 'vitest'
import { type Hooks, makeGate } from '../../engine/support/runtime'
import { eventually, type Finisher, type SharedEngine } from '../shared-engine'

const KEY = { dedupe: 'city 7' }

/** Proves what a dedupe key stands for. */
export function testDedupe(engine: SharedEngine): void {
  engine.describe(`a dedupe key in ${engine.name}`, {}, () => {
    const place = engine.use()

    /** Two processes that start jobs, and one that will run them once it is told to work. */
    function openThree(context: Finisher, hooks: Hooks) {
      const neighbours = place.openNeighbours(context)
      const idle = { ...hooks }
      return { neighbours, web: neighbours.add(idle), other: neighbours.add(idle), worker: neighbours.add(hooks) }
    }

    test('stands for one job, whoever asks, however many at once', async (context) => {
      const hook = vi.fn()
      const { web, other, worker } = openThree(context, { afterCreateJob: hook })
      const starts = [web, other].flatMap(({ start }) => Array.from({ length: 25 }, (_, id) => start(id, KEY)))
      const bulk = other.service.executeJobs('after', 'create', [100, 101, 102], KEY)
      const tokens = [...(await Promise.all(starts)), ...(await bulk)]
      expect(new Set(tokens).size).toBe(1)
      expect(await web.jobs.health()).toMatchObject({ waiting: 1 })
      const [token = ''] = tokens
      expect(await other.jobs.status(token)).toMatchObject({ status: 'pending', token })
      worker.jobs.work()
      expect(await web.jobs.settled(token)).toMatchObject({ status: 'done' })
      await worker.jobs.drain()
      expect(hook).toHaveBeenCalledOnce()
    })

    test('is free once its job has started, though that runs on and is tried again', async (context) => {
      const [begun, gate] = [makeGate(), makeGate()]
      const { web, other, worker } = openThree(context, {
        async afterCreateJob(id, _token, _progress, { attempt }) {
          begun.open()
          if (id === 1) await gate.opened
          if (id === 1 && attempt === 1) throw new Error('again')
        },
      })
      const first = await web.start(1, { ...KEY, attempts: 2, backoff: { type: 'fixed', delay: 3_600_000 } })
      worker.jobs.work({ concurrency: 2 })
      await begun.opened
      expect(await web.jobs.status(first)).toMatchObject({ status: 'running' })
      const second = await other.start(2, KEY)
      expect(second).not.toBe(first)
      expect(await web.jobs.settled(second)).toMatchObject({ status: 'done' })
      gate.open()
      await eventually(async () =>
        expect(await web.jobs.status(first)).toMatchObject({ status: 'pending', attempt: 1 }),
      )
      const third = await other.start(3, KEY)
      expect(third).not.toBe(first)
      expect(await web.jobs.settled(third)).toMatchObject({ status: 'done' })
    })

    test('is free as soon as its job is cancelled, which then never runs', async (context) => {
      const ids: unknown[] = []
      const { web, other, worker } = openThree(context, { afterCreateJob: (id) => void ids.push(id) })
      const first = await web.start(1, { ...KEY, delay: 3_600_000 })
      expect(await other.start(1, KEY)).toBe(first)
      expect(await other.jobs.cancel(first)).toBe(true)
      const second = await web.start(2, KEY)
      expect(second).not.toBe(first)
      expect(await other.start(3, KEY)).toBe(second)
      worker.jobs.work()
      await worker.jobs.drain()
      expect(ids).toEqual([2])
    })

    test('still stands while its job has been handed back without a start', async (context) => {
      const { neighbours, web, other } = openThree(context, { afterCreateJob() {} })
      const first = await web.start(1, KEY)
      // This one knows the service, and not yet the hook.
      const old = neighbours.add({})
      const handedBack = () => expect(old.logger.print()).toContain('no such service or hook')
      old.jobs.work()
      await eventually(handedBack)
      await eventually(async () => expect(await web.jobs.health()).toMatchObject({ waiting: 1, active: 0 }))
      expect(await other.start(2, KEY)).toBe(first)
      expect(await web.jobs.status(first)).toMatchObject({ status: 'pending', attempt: 0 })
    })
  })
}

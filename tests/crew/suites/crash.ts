import { expect, test, vi } from 'vitest'
import type { Step } from '../errands'
import type { Setting } from '../runtime'
import { openCrew, type SharedEngine } from '../shared-engine'

// The one that takes half a minute runs beside all others.
vi.setConfig({ maxConcurrency: 2 })
/** Many times what each test takes on an idle machine. */
const OPTIONS = { concurrent: true, timeout: 60_000 }

type Locks = Pick<Setting, 'lockDuration' | 'stalledInterval'>

/** How soon an engine notices. */
export interface CrashLocks {
  /** As tight as makes sense beside processes that need half a second to start. */
  readonly least: Locks
  /** Those with which a job must run again within `limit` milliseconds. */
  readonly tight: Locks
  readonly limit: number
}

/** Proves what becomes of a job whose worker dies. */
export function testCrashes(engine: SharedEngine, locks: CrashLocks): void {
  engine.describe('a worker that dies', OPTIONS, () => {
    const place = engine.use()

    test.for([
      ['tightened locks', locks.tight, locks.limit],
      ['the default locks', {}, 35_000],
    ] as const)(
      'in mid-job with %s: the job runs again on another one, and ends in time',
      async ([, own, limit], context) => {
        const crew = openCrew(context, { url: place.url, ...own })
        const first = await crew.addWorker()
        const token = await crew.start([
          { do: 'set', percent: 40 },
          { do: 'wait', gate: 'never', starts: 1 },
          { do: 'return', result: 'mended' },
        ])
        await crew.sees(token, ({ progress }) => progress === 40)
        const second = await crew.addWorker()
        await first.kill()
        const diedAt = Date.now()
        const end = await crew.ended(token, limit)
        expect(Date.now() - diedAt).toBeLessThan(limit)
        expect(end).toMatchObject({ status: 'done', progress: 100, result: 'mended', attempt: 1, attempts: 1 })
        expect(crew.journal.find(token).map(({ pid, event }) => [pid, event])).toEqual([
          [first.pid, 'started'],
          [second.pid, 'started'],
          [second.pid, 'ended'],
        ])
      },
    )

    test('is not an attempt of its job', async (context) => {
      const crew = openCrew(context, { url: place.url, ...locks.least })
      const first = await crew.addWorker()
      const steps: Step[] = [
        { do: 'die', starts: 1 },
        { do: 'throw', message: 'once', attempts: 1 },
      ]
      const token = await crew.start(steps, { attempts: 2 })
      await first.exited()
      await crew.addWorker()
      expect(await crew.ended(token)).toMatchObject({ status: 'done', attempt: 2 })
      expect(crew.journal.find(token, 'started').map(({ attempt }) => attempt)).toEqual([1, 1, 2])
    })

    test('with the same job three times ends that job as worker_lost, and it is compensated', async (context) => {
      const crew = openCrew(context, { url: place.url, ...locks.least })
      const token = await crew.start([{ do: 'die' }], { attempts: 5 })
      for (let crash = 1; crash <= 3; crash++) {
        const worker = await crew.addWorker()
        await worker.exited()
        expect(crew.journal.find(token, 'started')).toHaveLength(crash)
      }
      const survivor = await crew.addWorker()
      expect(await crew.ended(token)).toMatchObject({ status: 'error', code: 'worker_lost', attempt: 1, attempts: 5 })
      const [compensation] = await crew.happened(token, 'compensated')
      expect(compensation?.pid).toBe(survivor.pid)
      expect(crew.journal.find(token, 'started')).toHaveLength(3)
      // It is out of the queue, too.
      await crew.isIdle()
    })
  })
}

import { AsyncLocalStorage } from 'node:async_hooks'
import { createAfterJobs, memoryQueue, withAfterJobs } from 'after-jobs'
import fc from 'fast-check'
import { beforeAll, expect, onTestFinished, test, vi } from 'vitest'
import { makeGate, turns } from '../engine/support/runtime'
import { acceptConnection } from './serving'

/** Sets up a service whose jobs run when they are told to. */
function setUp() {
  const jobs = createAfterJobs({ queue: memoryQueue({ autoStart: false }) })
  onTestFinished(() => jobs.close())
  class ProjectService extends withAfterJobs({ jobs }) {
    /** The body of every job. */
    work: () => unknown = () => {}

    async afterCreateJob(): Promise<void> {
      await this.work()
    }

    start(): Promise<string | undefined> {
      return this.executeJob('after', 'create', 7)
    }
  }
  return { jobs, service: new ProjectService() }
}

beforeAll(() => acceptConnection())

test('AsyncLocalStorage is turned off by the first start after the last scope has closed', async () => {
  const { jobs, service } = setUp()
  const turnedOff = vi.spyOn(AsyncLocalStorage.prototype, 'disable')
  onTestFinished(() => turnedOff.mockRestore())
  await jobs.scope(async () => {
    await jobs.scope(() => service.start())
    await service.start()
    expect(turnedOff).not.toHaveBeenCalled()
  })
  await service.start()
  expect(turnedOff).toHaveBeenCalledTimes(1)
  await service.start()
  expect(turnedOff).toHaveBeenCalledTimes(1)
})

test('a job that runs keeps it on', async () => {
  const { jobs, service } = setUp()
  const turnedOff = vi.spyOn(AsyncLocalStorage.prototype, 'disable')
  onTestFinished(() => turnedOff.mockRestore())
  const gate = makeGate()
  service.work = () => gate.opened
  const started = new Promise((resolve) => jobs.on('started', resolve))
  await service.start()
  const running = jobs.runNext()
  await started
  await service.start()
  expect(turnedOff).not.toHaveBeenCalled()
  gate.open()
  await running
  await service.start()
  expect(turnedOff).toHaveBeenCalledTimes(1)
})

test('scopes and jobs see their own tokens, whatever opens, closes and starts between them', async () => {
  const visit = fc.record({
    kind: fc.constantFrom('scope', 'outside', 'job'),
    before: fc.nat(6),
    inside: fc.nat(4),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(visit, { minLength: 1, maxLength: 12 }), async (visits) => {
      const { jobs, service } = setUp()
      const inJobs: { child: unknown; seen: unknown; parent: unknown; token: string }[] = []
      class Parent extends withAfterJobs({ jobs }) {
        async afterCreateJob(inside: number, token: string): Promise<void> {
          await turns(inside)
          const child = await service.start()
          await turns(inside)
          const status = await jobs.status(String(child))
          inJobs.push({ child, seen: service.getJobToken(), parent: 'parent' in status && status.parent, token })
        }
      }
      const parents = new Parent()
      await Promise.all(
        visits.map(async ({ kind, before, inside }) => {
          await turns(before)
          if (kind === 'outside') await service.start()
          else if (kind === 'job') {
            await parents.executeJob('after', 'create', inside)
            await jobs.runNext()
          } else {
            await jobs.scope(async () => {
              await turns(inside)
              const token = await service.start()
              await turns(inside)
              expect(service.getJobToken()).toBe(token)
            })
          }
          expect(() => service.getJobToken()).toThrow(expect.objectContaining({ code: 'NO_SCOPE' }))
        }),
      )
      while (await jobs.runNext());
      for (const { child, seen, parent, token } of inJobs) expect([seen, parent]).toEqual([child, token])
      expect(inJobs).toHaveLength(visits.filter(({ kind }) => kind === 'job').length)
      await jobs.close()
    }),
    { numRuns: 200 },
  )
})

import { createAfterJobs, memoryQueue, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { createJobHandler } from 'after-jobs/http'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { JobStatusRecord } from '../../src/core/runtime'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const NOW = 1_800_000_000_000

beforeEach(() => {
  vi.useFakeTimers({ now: NOW })
})

afterEach(() => {
  vi.useRealTimers()
})

/** Asks for a status as the runtime has it, and answers how many seconds to wait. */
async function askPace(record: JobStatusRecord): Promise<string | null> {
  const stub = createStubJobs()
  stub.record.mockResolvedValue(record)
  const handler = createJobHandler(stub.jobs)
  const response = await handler(new Request(`http://localhost/jobs/status/${TOKENS.running}`))
  return response.headers.get('retry-after')
}

describe('a job that runs', () => {
  test.each([
    ['has just moved', { age: 0, ran: 60_000, progress: 50 }, '1'],
    ['has moved within the second, although a percent takes long', { age: 999, ran: 3_600_000, progress: 1 }, '1'],
    ['has just begun', { age: 500, ran: 500, progress: 0 }, '1'],
    ['has been silent for two seconds', { age: 2_000, ran: 10_000, progress: 50 }, '2'],
    ['has been silent between two signs of life', { age: 4_100, ran: 100_000, progress: 99 }, '5'],
    ['takes three seconds for a percent', { age: 1_100, ran: 153_000, progress: 50 }, '3'],
    ['takes a minute for a percent', { age: 1_100, ran: 3_000_000, progress: 50 }, '5'],
    ['has been silent for an hour', { age: 3_600_000, ran: 3_600_000, progress: 0 }, '5'],
    ['was written by a clock that is ahead', { age: -60_000, ran: -60_000, progress: 0 }, '1'],
  ])('and %s', async (_, { age, ran, progress }, seconds) => {
    const times = { startedAt: NOW - ran, updatedAt: NOW - age }
    expect(await askPace({ ...STATUSES.running, ...times, progress })).toBe(seconds)
  })
})

describe('a job that waits', () => {
  test.each([
    ['since just now', { age: 0 }, '1'],
    ['since three seconds', { age: 2_500 }, '3'],
    ['since an hour', { age: 3_600_000 }, '5'],
    ['for its time, in less than a second', { age: 60_000, due: 10 }, '1'],
    ['for its time, in ten seconds', { age: 0, due: 10_000 }, '10'],
    ['for its time, in an hour', { age: 0, due: 3_600_000 }, '30'],
    ['for a worker, and was due two seconds ago', { age: 60_000, due: -2_000 }, '2'],
    ['for its next attempt, due just now', { age: 60_000, due: 0 }, '1'],
  ])('%s', async (_, times: { age: number; due?: number }, seconds) => {
    const dueAt = times.due === undefined ? null : NOW + times.due
    expect(await askPace({ ...STATUSES.pending, updatedAt: NOW - times.age, dueAt })).toBe(seconds)
  })
})

test('a job of the real runtime: short while it moves, longer while it only shows that it lives', async () => {
  const jobs = createAfterJobs({ queue: memoryQueue() })
  onTestFinished(() => jobs.close({ grace: 0 }))
  let bar: ProgressReporter | undefined
  class ProjectService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      bar = progress
      return new Promise((_, reject) => progress.signal.addEventListener('abort', () => reject(progress.signal.reason)))
    }
  }
  const token = await new ProjectService().executeJob('after', 'create', 1, { delay: 20_000 })
  const handler = createJobHandler(jobs)
  /** Asks as a client does: after each answer, as late as it says. */
  const poll = async (ms: number): Promise<number> => {
    const end = Date.now() + ms
    let count = 0
    for (; Date.now() < end; count++) {
      const response = await handler(new Request(`http://localhost/jobs/status/${token}`))
      await vi.advanceTimersByTimeAsync(Number(response.headers.get('retry-after')) * 1000)
    }
    return count
  }
  expect(await poll(20_000)).toBeLessThanOrEqual(2)
  await vi.advanceTimersByTimeAsync(1_000)
  const moving = setInterval(() => bar?.tick(), 300)
  bar?.total(100)
  expect(await poll(30_000)).toBeGreaterThanOrEqual(20)
  clearInterval(moving)
  expect(await poll(300_000)).toBeLessThanOrEqual(120)
})

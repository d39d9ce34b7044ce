import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { JobStatus } from '../../src/core/status'
import { createStopwatch } from '../../src/element/stopwatch'
import { statusOf, unknown } from '../client/fake-server'

/** The server's clock, which is years away from the browser's. */
const CREATED = 1_000_000

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const seen = (updatedAt: number, fields = {}): JobStatus =>
  statusOf('running', { createdAt: CREATED, updatedAt: CREATED + updatedAt, ...fields }) as JobStatus

test('it counts from the creation of the job, by the times of the server alone', () => {
  const watch = createStopwatch()
  expect(watch.elapsed()).toBe(0)
  watch.heed(seen(30_000))
  vi.advanceTimersByTime(5000)
  expect(watch.elapsed()).toBe(35_000)
})

test('a status that was written long ago does not set it back', () => {
  const watch = createStopwatch()
  watch.heed(seen(30_000))
  vi.advanceTimersByTime(9000)
  watch.heed(seen(30_000))
  expect(watch.elapsed()).toBe(39_000)
  watch.heed(seen(41_000))
  expect(watch.elapsed()).toBe(41_000)
})

test('it stops with the job', () => {
  const watch = createStopwatch()
  watch.heed(seen(65_000, { status: 'done', finishedAt: CREATED + 65_000 }))
  vi.advanceTimersByTime(5000)
  expect(watch.elapsed()).toBe(65_000)
})

test('a token that nobody knows tells nothing', async () => {
  const watch = createStopwatch()
  watch.heed(await unknown().json())
  vi.advanceTimersByTime(700)
  expect(watch.elapsed()).toBe(700)
})

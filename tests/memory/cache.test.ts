import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type JobRecord, transition } from '../../src/core/status'
import { makeToken } from '../../src/engine/token-maker'
import { memoryCache } from '../../src/memory/cache'
import type { JobCache } from '../../src/ports/cache'
import { cacheConformance } from '../../src/testing/cache-conformance'

const HOUR = 3_600_000
const DAY = 24 * HOUR

cacheConformance({ test, expect }, () => memoryCache())

describe('a memory cache', () => {
  test('is local and hands out the very record that it was given', async () => {
    const cache = memoryCache()
    const [queued] = makeLife()
    await cache.write('a', queued, HOUR)
    expect(cache.isLocal).toBe(true)
    expect(await cache.read('a')).toBe(queued)
    await cache.close()
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('refuses a ttl of %s', async (ttl) => {
    await expect(memoryCache().write('a', makeLife()[0], ttl)).rejects.toMatchObject({ code: 'INVALID_OPTION' })
  })
})

describe('gives memory back without a reader', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: Date.now() })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  test('has no timer while it is empty, one while it is not, and none that keeps the process alive', async () => {
    const cache = memoryCache()
    expect(vi.getTimerCount()).toBe(0)
    for (const token of ['a', 'b', 'c']) await cache.write(token, makeLife()[0], HOUR)
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(HOUR + 1_000)
    expect(vi.getTimerCount()).toBe(0)

    vi.useRealTimers()
    const before = countTimers()
    await memoryCache().write('a', makeLife()[0], HOUR)
    expect(countTimers()).toBe(before)
  })

  test.each([1, 50, 5_000, HOUR, 400 * DAY])('within moments of a life of %i ms', async (ttl) => {
    const cache = memoryCache()
    await cache.write('a', makeLife()[0], ttl)
    await vi.advanceTimersByTimeAsync(ttl - 1)
    expect(await cache.read('a')).toBeDefined()
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(await cache.read('a')).toBeUndefined()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each([50, HOUR])('in time when the end moves an expiry forward, from a day to %i ms', async (ttl) => {
    const cache = memoryCache()
    const [queued, started, finished] = makeLife()
    await cache.write('a', queued, DAY)
    await vi.advanceTimersByTimeAsync(10_000)
    await cache.write('a', started, DAY)
    await cache.write('a', finished, ttl)
    await vi.advanceTimersByTimeAsync(ttl + 1_000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('keeps what is renewed, and forgets it a life after the last write', async () => {
    const cache = memoryCache()
    let record = makeLife()[0]
    await cache.write('a', record, 1_000)
    for (let round = 0; round < 50; round++) {
      await vi.advanceTimersByTimeAsync(900)
      record = { ...record, version: record.version + 1 }
      expect(await cache.write('a', record, 1_000)).toBe(true)
    }
    expect(vi.getTimerCount()).toBe(1)
    await vi.advanceTimersByTimeAsync(2_000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('of the expired ones only: those between them stay what they are', async () => {
    const cache = memoryCache()
    const records = Array.from({ length: 1_000 }, () => makeLife())
    for (const [index, [queued]] of records.entries())
      await cache.write(`${index}`, queued, index % 3 === 0 ? DAY : HOUR)
    await vi.advanceTimersByTimeAsync(HOUR + 1_000)
    for (const [index, [queued, started]] of records.entries()) {
      const isKept = index % 3 === 0
      expect(await cache.read(`${index}`)).toBe(isKept ? queued : undefined)
      expect(await cache.write(`${index}`, started, DAY)).toBe(isKept)
      expect(await cache.read(`${index}`)).toBe(isKept ? started : undefined)
    }
    await vi.advanceTimersByTimeAsync(DAY + 1_000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('in slices: two hundred thousand at once are no long stall', async () => {
    const cache = memoryCache()
    const [record] = makeLife()
    for (let index = 0; index < 200_000; index++) await cache.write(`${index}`, record, HOUR)
    let slices = 0
    for (; vi.getTimerCount() > 0; slices++) {
      const start = process.cpuUsage()
      vi.advanceTimersToNextTimer()
      // Some milliseconds in fact; a purge in one go takes hundreds. Of the processor's time, so that no neighbour counts.
      const { user, system } = process.cpuUsage(start)
      expect((user + system) / 1_000).toBeLessThan(150)
    }
    expect(slices).toBeGreaterThan(100)
  })

  test('until it is closed; its records can still be read', async () => {
    const cache = memoryCache()
    const [queued, started] = makeLife()
    await cache.write('a', queued, HOUR)
    await cache.close()
    expect(vi.getTimerCount()).toBe(0)
    expect(await cache.read('a')).toBe(queued)
    expect(await cache.write('a', started, 50)).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('takes little memory', () => {
  test('at most 400 bytes for a finished token', async () => {
    const count = 200_000
    await fill(memoryCache(), 10_000)
    const cache = memoryCache()
    const before = usedHeap()
    await fill(cache, count)
    const bytes = (usedHeap() - before) / count
    expect(bytes).toBeLessThanOrEqual(400)
    // Less than the record alone would mean that nothing was measured.
    expect(bytes).toBeGreaterThan(200)
    await cache.close()
  })

  test('the same after a hundred thousand writes as after one', async () => {
    const cache = memoryCache()
    let record = makeLife()[0]
    await cache.write('a', record, DAY)
    const before = usedHeap()
    for (let write = 0; write < 100_000; write++) {
      record = { ...record, version: record.version + 1 }
      await cache.write('a', record, write % 2 === 0 ? HOUR : DAY)
    }
    expect(usedHeap() - before).toBeLessThan(500_000)
    await cache.close()
  })

  test('none any more when the records have expired', async () => {
    const cache = memoryCache()
    await fill(cache, 100)
    const before = usedHeap()
    await fill(cache, 50_000, 1)
    // A tenth of what they took.
    await vi.waitFor(() => expect(usedHeap() - before).toBeLessThan(2_000_000), { timeout: 15_000, interval: 100 })
    await cache.close()
  })
})

/** The three records of a job that runs to its end. */
function makeLife(): [JobRecord, JobRecord, JobRecord] {
  const at = Date.now()
  const birth = { attempts: 1, parent: null, context: null, createdAt: at, delay: 0 }
  const queued = transition(undefined, { type: 'queued', at, birth }) as JobRecord
  const started = transition(queued, { type: 'started', at, runId: 7, attempt: 1, birth }) as JobRecord
  const outcome = { status: 'done' as const, result: null }
  return [queued, started, transition(started, { type: 'finished', at, runId: 7, outcome, birth }) as JobRecord]
}

async function fill(cache: JobCache, count: number, ttl = HOUR): Promise<void> {
  for (let index = 0; index < count; index++) {
    const token = makeToken()
    const records = makeLife()
    for (const record of records) await cache.write(token, record, record === records[2] ? ttl : DAY)
  }
}

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

function usedHeap(): number {
  collectGarbage()
  collectGarbage()
  return process.memoryUsage().heapUsed
}

function countTimers(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
}

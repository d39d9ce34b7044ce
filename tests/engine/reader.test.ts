import { randomUUID } from 'node:crypto'
import {
  type AfterJobsOptions,
  createAfterJobs,
  type JobCache,
  type JobRecord,
  type JobStatus,
  memoryCache,
  memoryQueue,
} from 'after-jobs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { makeBench, makeGate, rejection, turns } from './support/runtime'
import { distantCache, faultyCache, spyCache } from './support/spies'
import { makeEnvelope, makeRecord, makeRunning, stubQueue } from './support/stub-queue'

const DAY = 86_400_000
const UNKNOWN = { status: 'unknown', progress: 0, message: null }

/** A runtime whose queue is shared and played by the test, and whose cache the test writes to like another process. */
function makeReader(options: AfterJobsOptions = {}) {
  const queue = stubQueue()
  const cache = spyCache(distantCache())
  const jobs = createAfterJobs({ queue, cache, ...options })
  const store = async (record: JobRecord, token: string = randomUUID()) => {
    if (!(await cache.write(token, record, DAY))) throw new Error('The record was refused')
    return token
  }
  return { jobs, queue, cache, store }
}

/** Collects what a watcher sees. */
function collect(statuses: AsyncIterable<JobStatus>) {
  const seen: JobStatus[] = []
  const done = (async () => {
    for await (const status of statuses) seen.push(status)
  })()
  done.catch(() => {})
  return { seen, done }
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('status', () => {
  test.each([
    'x',
    '',
    '__proto__',
    'constructor',
    '11111111-1111-1111-8111-111111111111',
    '11111111-1111-7111-8111-111111111111',
    '00000000-0000-0000-0000-000000000000',
    '11111111-1111-4111-8111-111111111111 ',
    '11111111-1111-4111-8111-11111111111G',
    'é'.repeat(36),
    'a'.repeat(10_000),
    ...([undefined, null, 7, {}, ['11111111-1111-4111-8111-111111111111']] as unknown as string[]),
  ])('of the malformed token %j is exactly unknown, and asks nobody', async (token) => {
    const { jobs, queue, cache } = makeReader()
    expect(await jobs.status(token)).toStrictEqual(UNKNOWN)
    expect(await jobs.record(token)).toStrictEqual(UNKNOWN)
    expect([cache.calls.read, queue.find.mock.calls.length]).toEqual([0, 0])
  })

  test('of a well-formed token that nobody knows is exactly unknown', async () => {
    const { jobs, queue } = makeReader()
    queue.lookup = { state: 'absent' }
    expect(await jobs.status(randomUUID())).toStrictEqual(UNKNOWN)
    expect(await createAfterJobs().status(randomUUID())).toStrictEqual(UNKNOWN)
  })

  test('of another process is read from the cache', async () => {
    const { jobs, store } = makeReader()
    const token = await store(makeRunning({ progress: 37, label: 'Å', attempts: 3, parent: null }))
    expect(await jobs.status(token)).toMatchObject({ token, status: 'running', progress: 37, label: 'Å', attempts: 3 })
  })

  test('shows no field of the record that is not in the contract', async () => {
    const { jobs, store } = makeReader()
    const token = await store(makeRunning({ context: { secret: 1 } }))
    const fields = 'token status progress label message code attempt attempts result parent hint'.split(' ')
    const times = ['createdAt', 'startedAt', 'updatedAt', 'finishedAt']
    expect(Object.keys(await jobs.status(token)).toSorted()).toEqual([...fields, ...times].toSorted())
    expect(await jobs.record(token)).toMatchObject({ context: { secret: 1 } })
  })

  test.each(['rejects', 'hangs'] as const)(
    'rejects with CACHE_UNAVAILABLE within 3 s when the cache %s',
    async (fault) => {
      const cache = faultyCache()
      const { jobs } = makeReader({ cache })
      cache.fault = fault
      const since = Date.now()
      const failures = [jobs.status, jobs.record, jobs.cancel].map((call) =>
        rejection(call(randomUUID())).then((error) => ({ error, after: Date.now() - since })),
      )
      await vi.advanceTimersByTimeAsync(10_000)
      for (const { error, after } of await Promise.all(failures)) {
        expect(error).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
        expect(after).toBeLessThanOrEqual(3_000)
      }
    },
  )

  test('answers within 3 s what is pending for long while the queue says nothing', async () => {
    const { jobs, queue, store } = makeReader()
    const token = await store(makeRecord())
    queue.find.mockImplementation(() => new Promise(() => {}))
    queue.health.mockImplementation(() => new Promise(() => {}))
    await vi.advanceTimersByTimeAsync(20_000)
    const since = Date.now()
    const answered = jobs.status(token).then(({ status }) => [status, Date.now() - since] as const)
    await vi.advanceTimersByTimeAsync(10_000)
    const [status, after] = await answered
    expect(status).toBe('pending')
    expect(after).toBeLessThanOrEqual(3_000)
  })

  test.each([
    [undefined, 1],
    [true, 0],
  ])('with a cache whose isBounded is %s, sets %i clocks of its own for a read', async (isBounded, count) => {
    const cache = { ...faultyCache(), ...(isBounded && { isBounded }) }
    const { jobs } = makeReader({ cache })
    cache.read = () => new Promise(() => {})
    const before = vi.getTimerCount()
    void rejection(jobs.status(randomUUID()))
    expect(vi.getTimerCount() - before).toBe(count)
    await vi.advanceTimersByTimeAsync(10_000)
  })

  test('rejects within 3 s also when the cache hangs after the queue has answered slowly', async () => {
    const cache = faultyCache()
    const { jobs, queue } = makeReader({ cache })
    const token = randomUUID()
    await cache.write(token, makeRunning(), DAY)
    await vi.advanceTimersByTimeAsync(60_000)
    cache.writeFault = 'hangs'
    queue.find.mockImplementation(async () => {
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      return { state: 'lost' }
    })
    const since = Date.now()
    const failed = rejection(jobs.status(token)).then((error) => ({ error, after: Date.now() - since }))
    await vi.advanceTimersByTimeAsync(20_000)
    expect(await failed).toMatchObject({ error: { code: 'CACHE_UNAVAILABLE' } })
    expect((await failed).after).toBeLessThanOrEqual(3_000)
  })
})

describe('watch in one process', () => {
  test('tells each change at once, without waiting for the interval', async () => {
    const gate = makeGate()
    const bench = makeBench({ afterCreateJob: () => gate.opened })
    const token = await bench.start()
    const { seen, done } = collect(bench.jobs.watch(token, { interval: 3_600_000 }))
    await vi.advanceTimersByTimeAsync(5)
    expect(seen.map(({ status }) => status)).toEqual(['pending', 'running'])
    gate.open()
    await vi.advanceTimersByTimeAsync(5)
    await done
    expect(seen.map(({ status }) => status)).toEqual(['pending', 'running', 'done'])
  })

  test('yields only what differs', async () => {
    const bench = makeBench({
      async afterCreateJob(_id, _token, progress) {
        for (const [percent, label] of [
          [10, 'a'],
          [10, 'a'],
          [20, 'a'],
          [20, 'b'],
        ] as const) {
          progress.set(percent)
          progress.label(label)
          await new Promise((resolve) => setTimeout(resolve, 20_000))
        }
      },
    })
    const { seen, done } = collect(bench.jobs.watch(await bench.start(), { interval: 50 }))
    await vi.advanceTimersByTimeAsync(90_000)
    await done
    expect(seen.map(({ status, progress, ...rest }) => [status, progress, 'label' in rest && rest.label])).toEqual([
      ['pending', 0, null],
      ['running', 0, null],
      ['running', 10, 'a'],
      ['running', 20, 'a'],
      ['running', 20, 'b'],
      ['done', 100, 'b'],
    ])
  })

  test('reads nothing of what this process has just stored', async () => {
    const gate = makeGate()
    const cache = spyCache(distantCache())
    const bench = makeBench({ afterCreateJob: () => gate.opened }, { cache })
    const token = await bench.start()
    const { seen, done } = collect(bench.jobs.watch(token, { interval: 3_600_000 }))
    await vi.advanceTimersByTimeAsync(5)
    gate.open()
    await vi.advanceTimersByTimeAsync(5)
    await done
    expect(seen.map(({ status }) => status)).toEqual(['pending', 'running', 'done'])
    expect(cache.calls.read).toBe(1)
  })

  test('does not go back to what this process stored before another one did, and learned of later', async () => {
    const gate = makeGate()
    const inner = memoryCache()
    const cache: JobCache = {
      ...distantCache(inner),
      async write(token, record, ttl) {
        const isStored = await inner.write(token, record, ttl)
        if (record.progress === 10) await new Promise((resolve) => setTimeout(resolve, 600))
        return isStored
      },
    }
    const bench = makeBench(
      {
        afterCreateJob(_id, _token, progress) {
          progress.set(10)
          return gate.opened
        },
      },
      { cache },
    )
    const token = await bench.start()
    const { seen } = collect(bench.jobs.watch(token))
    await vi.advanceTimersByTimeAsync(300)
    const record = (await inner.read(token)) as JobRecord
    expect(record.progress).toBe(10)
    const next = { ...record, version: record.version + 1, progress: 20, updatedAt: Date.now() }
    await inner.write(token, next, DAY)
    await vi.advanceTimersByTimeAsync(2_000)
    expect(seen.map(({ progress }) => progress).at(-1)).toBe(20)
    expect(seen.map(({ progress }) => progress)).toEqual(seen.map(({ progress }) => progress).toSorted((a, b) => a - b))
    gate.open()
  })

  test('by one who has seen a status yields what differs from it, and reads nothing at once', async () => {
    const gate = makeGate()
    const cache = spyCache(distantCache())
    const bench = makeBench({ afterCreateJob: () => gate.opened }, { cache })
    const token = await bench.start()
    const status = await bench.jobs.status(token)
    const { seen, done } = collect(bench.jobs.watch(token, { interval: 1_000, seen: status }))
    await vi.advanceTimersByTimeAsync(900)
    expect([seen.map((each) => each.status), cache.calls.read]).toEqual([['running'], 1])
    gate.open()
    await vi.advanceTimersByTimeAsync(5)
    await done
    expect(seen.map((each) => each.status)).toEqual(['running', 'done'])
    const late = collect(bench.jobs.watch(token, { seen: await bench.jobs.status(token) }))
    await late.done
    expect(late.seen).toEqual([])
  })

  test('tells each attempt', async () => {
    const bench = makeBench({ afterCreateJob: () => Promise.reject(new Error('no')) })
    const backoff = { type: 'fixed', delay: 1_000 } as const
    const { seen, done } = collect(bench.jobs.watch(await bench.start(1, { attempts: 2, backoff })))
    await vi.advanceTimersByTimeAsync(5_000)
    await done
    const shown = seen.map((status) => `${status.status} ${'attempt' in status && status.attempt}`)
    expect(shown).toEqual(['pending 0', 'running 1', 'pending 1', 'running 2', 'error 2'])
  })

  test('of a token that has ended yields its end and no more', async () => {
    const bench = makeBench({ afterCreateJob() {} })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(5)
    const { seen, done } = collect(bench.jobs.watch(token))
    await done
    expect(seen).toMatchObject([{ status: 'done' }])
  })

  test.each(['x', randomUUID()])('of the unknown token %s yields once and ends', async (token) => {
    const { seen, done } = collect(createAfterJobs().watch(token))
    await vi.advanceTimersByTimeAsync(0)
    await done
    expect(seen).toStrictEqual([UNKNOWN])
    expect(await createAfterJobs().settled(token)).toStrictEqual(UNKNOWN)
  })

  test('serves a thousand watchers of one token', async () => {
    const bench = makeBench({ afterCreateJob() {} }, { queue: memoryQueue({ autoStart: false }) })
    const token = await bench.start()
    const watchers = Array.from({ length: 1_000 }, () => bench.jobs.settled(token))
    await turnsOfFakeTimers()
    bench.jobs.work()
    await vi.advanceTimersByTimeAsync(5)
    expect((await Promise.all(watchers)).every(({ status }) => status === 'done')).toBe(true)
  })
})

describe('watch across processes', () => {
  test.each([
    ['every 250 ms by default', undefined, 250],
    ['every interval', 1_000, 1_000],
  ])('looks %s', async (_, interval, expected) => {
    const { jobs, cache, store } = makeReader()
    const token = await store(makeRunning())
    const { seen } = collect(jobs.watch(token, interval === undefined ? {} : { interval }))
    await vi.advanceTimersByTimeAsync(expected - 10)
    await store(makeRunning({ version: 2, progress: 5 }), token)
    expect(seen).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(20)
    expect(seen).toMatchObject([{ progress: 0 }, { progress: 5 }])
    const reads = cache.calls.read
    await vi.advanceTimersByTimeAsync(10 * expected)
    expect(cache.calls.read - reads).toBe(10)
    expect(seen).toHaveLength(2)
  })

  test.each([3e9, Number.POSITIVE_INFINITY])(
    'looks once in %s ms, though no timer can wait for so long',
    async (interval) => {
      const { jobs, cache, store } = makeReader()
      const { seen } = collect(jobs.watch(await store(makeRunning()), { interval }))
      await vi.advanceTimersByTimeAsync(0)
      expect(seen).toHaveLength(1)
      const reads = cache.calls.read
      await vi.advanceTimersByTimeAsync(60_000)
      expect(cache.calls.read).toBe(reads)
    },
  )

  test('settled resolves with the end that another process stored', async () => {
    const { jobs, store } = makeReader()
    const token = await store(makeRunning())
    const settled = jobs.settled(token)
    await vi.advanceTimersByTimeAsync(1_000)
    await store(makeRunning({ version: 2, status: 'done', progress: 100, result: 7, finishedAt: Date.now() }), token)
    await vi.advanceTimersByTimeAsync(300)
    expect(await settled).toMatchObject({ status: 'done', result: 7 })
  })

  test('a record that goes missing is told as unknown, once', async () => {
    const { jobs, store, queue } = makeReader()
    queue.lookup = { state: 'absent' }
    const token = await store(makeRunning())
    const { seen, done } = collect(jobs.watch(token))
    await vi.advanceTimersByTimeAsync(100)
    vi.setSystemTime(Date.now() + 2 * DAY)
    await vi.advanceTimersByTimeAsync(1_000)
    await done
    expect(seen.map(({ status }) => status)).toEqual(['running', 'unknown'])
  })
})

describe('a watcher that stops', () => {
  const reason = { why: 'enough' }
  const watchRunning = async (interval = 3_600_000) => {
    const { jobs, store } = makeReader()
    const controller = new AbortController()
    const token = await store(makeRunning())
    return { jobs, token, controller, statuses: jobs.watch(token, { signal: controller.signal, interval }) }
  }

  test("rejects with the signal's reason at once, while it waits", async () => {
    const { statuses, controller } = await watchRunning()
    const { seen, done } = collect(statuses)
    await vi.advanceTimersByTimeAsync(10)
    controller.abort(reason)
    expect(await rejection(done)).toBe(reason)
    expect(seen).toHaveLength(1)
  })

  test("rejects with the signal's reason at once, also where it aborts between two statuses", async () => {
    const { statuses, controller } = await watchRunning()
    await statuses.next()
    controller.abort(reason)
    const next = rejection(statuses.next())
    await vi.advanceTimersByTimeAsync(100)
    expect(await Promise.race([next, 'still waiting'])).toBe(reason)
  })

  test('with a signal that is aborted already rejects and yields nothing', async () => {
    const { jobs, token } = await watchRunning()
    const { seen, done } = collect(jobs.watch(token, { signal: AbortSignal.abort(reason) }))
    expect(await rejection(done)).toBe(reason)
    expect(seen).toEqual([])
    expect(await rejection(jobs.settled(token, { signal: AbortSignal.abort(reason) }))).toBe(reason)
  })

  test('settled rejects with the reason, too', async () => {
    const { jobs, token, controller } = await watchRunning()
    const settled = rejection(jobs.settled(token, { signal: controller.signal }))
    await vi.advanceTimersByTimeAsync(10)
    controller.abort(reason)
    await vi.advanceTimersByTimeAsync(0)
    expect(await settled).toBe(reason)
  })

  test('by break leaves no timer and no listener behind', async () => {
    const { statuses, controller } = await watchRunning()
    const before = vi.getTimerCount()
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    const add = vi.spyOn(controller.signal, 'addEventListener')
    for await (const _ of statuses) break
    expect(vi.getTimerCount()).toBe(before)
    expect(add.mock.calls).toHaveLength(remove.mock.calls.length)
  })

  test('after many rounds leaves no listener on the signal', async () => {
    const { statuses, controller } = await watchRunning(100)
    const add = vi.spyOn(controller.signal, 'addEventListener')
    const remove = vi.spyOn(controller.signal, 'removeEventListener')
    const { done } = collect(statuses)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(add.mock.calls.length - remove.mock.calls.length).toBeLessThanOrEqual(1)
    controller.abort(reason)
    await rejection(done)
  })
})

describe('a cache that is away', () => {
  const watchOutage = async () => {
    const cache = faultyCache()
    const { jobs } = makeReader({ cache })
    const token = randomUUID()
    await cache.write(token, makeRunning(), DAY)
    return { cache, token, ...collect(jobs.watch(token)) }
  }

  test.each(['rejects', 'hangs'] as const)('and %s is borne for 30 s, then thrown', async (fault) => {
    const { cache, seen, done } = await watchOutage()
    await vi.advanceTimersByTimeAsync(1_000)
    cache.fault = fault
    const ended = vi.fn()
    const failed = rejection(done)
    failed.then(ended)
    await vi.advanceTimersByTimeAsync(29_000)
    expect(ended).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(ended).toHaveBeenCalled()
    expect(await failed).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    expect(seen).toHaveLength(1)
  })

  test('from the beginning is borne as long', async () => {
    const cache = faultyCache()
    cache.fault = 'rejects'
    const failed = rejection(makeReader({ cache }).jobs.settled(randomUUID()))
    const ended = vi.fn()
    failed.then(ended)
    await vi.advanceTimersByTimeAsync(29_000)
    expect(ended).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await failed).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
  })

  test('and comes back in between is not noticed, however often', async () => {
    const { cache, token, seen, done } = await watchOutage()
    for (let outage = 0; outage < 5; outage++) {
      cache.fault = outage % 2 === 0 ? 'hangs' : 'rejects'
      await vi.advanceTimersByTimeAsync(25_000)
      cache.fault = 'none'
      await cache.write(token, makeRunning({ version: outage + 2, progress: outage + 1 }), DAY)
      await vi.advanceTimersByTimeAsync(4_000)
    }
    cache.fault = 'none'
    await cache.write(token, makeRunning({ version: 7, status: 'done', progress: 100, finishedAt: 1 }), DAY)
    await vi.advanceTimersByTimeAsync(4_000)
    await done
    expect(seen.map(({ progress }) => progress)).toEqual([0, 1, 2, 3, 4, 5, 100])
  })
})

describe('the hint no_worker', () => {
  const hintOf = (status: JobStatus) => ('hint' in status ? status.hint : undefined)

  test('is there after 2 s without a worker, and gone with one', async () => {
    const bench = makeBench(
      { afterCreateJob: () => new Promise(() => {}) },
      { queue: memoryQueue({ autoStart: false }) },
    )
    const token = await bench.start()
    const { seen } = collect(bench.jobs.watch(token))
    await vi.advanceTimersByTimeAsync(1_900)
    expect(hintOf(await bench.jobs.status(token))).toBeNull()
    await vi.advanceTimersByTimeAsync(200)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', hint: 'no_worker' })
    await vi.advanceTimersByTimeAsync(300)
    expect(seen.map(hintOf)).toEqual([null, 'no_worker'])
    bench.jobs.work()
    await vi.advanceTimersByTimeAsync(10)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'running', hint: null })
  })

  test('is not there for a job that waits behind others', async () => {
    const bench = makeBench({ afterCreateJob: () => new Promise(() => {}) }, { queue: memoryQueue({ concurrency: 1 }) })
    await bench.start(1)
    const token = await bench.start(2)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', hint: null })
  })

  test('counts from when a delayed job is due', async () => {
    const bench = makeBench({ afterCreateJob() {} }, { queue: memoryQueue({ autoStart: false }) })
    const token = await bench.start(1, { delay: 60_000 })
    await vi.advanceTimersByTimeAsync(61_000)
    expect(hintOf(await bench.jobs.status(token))).toBeNull()
    await vi.advanceTimersByTimeAsync(1_500)
    expect(hintOf(await bench.jobs.status(token))).toBe('no_worker')
  })

  test('is asked for at most once a second, however many ask about however many tokens', async () => {
    const { jobs, queue, store } = makeReader()
    queue.workers = 0
    const tokens = await Promise.all(Array.from({ length: 50 }, () => store(makeRecord())))
    await vi.advanceTimersByTimeAsync(2_100)
    for (let round = 0; round < 90; round++) {
      const statuses = await Promise.all(tokens.map((token) => jobs.status(token)))
      expect(statuses.every((status) => hintOf(status) === 'no_worker')).toBe(true)
      await vi.advanceTimersByTimeAsync(100)
    }
    expect(queue.health.mock.calls.length).toBeGreaterThanOrEqual(8)
    expect(queue.health.mock.calls.length).toBeLessThanOrEqual(10)
  })

  test.each<[string, () => Promise<never>]>([
    ['rejects', () => Promise.reject(new Error('away'))],
    ['hangs', () => new Promise(() => {})],
  ])('is not there when the queue %s, and the status is', async (_, health) => {
    const { jobs, queue, store } = makeReader()
    queue.health.mockImplementation(health)
    const token = await store(makeRecord())
    await vi.advanceTimersByTimeAsync(5_000)
    const status = jobs.status(token)
    await vi.advanceTimersByTimeAsync(3_000)
    expect(await status).toMatchObject({ status: 'pending', hint: null })
  })
})

describe('a record that has gone silent', () => {
  const stale = async (record: JobRecord = makeRunning()) => {
    const reader = makeReader()
    const token = await reader.store(record)
    await vi.advanceTimersByTimeAsync(60_000)
    return { ...reader, token }
  }

  test.each(['waiting', 'active', 'unknown'] as const)('is left as it is when the queue says %s', async (state) => {
    // What runs and waits has lost its worker.
    for (const record of state === 'waiting' ? [makeRecord()] : [makeRunning({ progress: 9 }), makeRecord()]) {
      const { jobs, queue, cache, token } = await stale(record)
      queue.lookup = { state }
      for (let minute = 0; minute < 30; minute++) {
        expect(await jobs.status(token)).toMatchObject({ status: record.status, progress: record.progress })
        await vi.advanceTimersByTimeAsync(60_000)
      }
      expect(queue.find).toHaveBeenCalledWith(token)
      expect(cache.versions(token)).toHaveLength(1)
    }
  })

  test.each(['lost', 'waiting'] as const)('runs no more when the queue says %s: the lock is lost', async (state) => {
    const { jobs, queue, token } = await stale(makeRunning({ progress: 40, label: 'x' }))
    queue.lookup = { state }
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', progress: 0, attempt: 1, code: null })
  })

  test.each([
    { status: 'done', result: { rows: 3 } },
    { status: 'error', code: 'failed', message: 'no' },
  ] as const)('takes over the outcome %j of a job that ended', async (outcome) => {
    const { jobs, queue, cache, token } = await stale()
    queue.lookup = { state: 'ended', outcome }
    expect(await jobs.status(token)).toMatchObject({ ...outcome, progress: outcome.status === 'done' ? 100 : 0 })
    expect(cache.versions(token)).toHaveLength(2)
    expect(await jobs.status(token)).toMatchObject(outcome)
    expect(cache.versions(token)).toHaveLength(2)
  })

  test('is lost with its worker when the queue has known nothing of it for more than twice enqueueTimeout', async () => {
    const { jobs, queue, token } = await stale()
    queue.lookup = { state: 'absent' }
    await jobs.status(token)
    await vi.advanceTimersByTimeAsync(10_100)
    expect(await jobs.status(token)).toMatchObject({
      status: 'error',
      code: 'worker_lost',
      message: expect.any(String),
    })
  })

  test('is not declared lost within twice enqueueTimeout', async () => {
    const { jobs, queue, store } = makeReader({ enqueueTimeout: 60_000 })
    queue.lookup = { state: 'absent' }
    const tokens = [await store(makeRunning()), await store(makeRecord())]
    for (let second = 0; second < 119; second++) {
      await vi.advanceTimersByTimeAsync(1_000)
      for (const token of tokens) expect((await jobs.status(token)).status).not.toBe('error')
    }
  })

  test('that is pending and nowhere in the queue is lost in the end, too', async () => {
    const { jobs, queue, store } = makeReader()
    queue.lookup = { state: 'absent' }
    const token = await store(makeRecord())
    await vi.advanceTimersByTimeAsync(9_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'pending' })
    await vi.advanceTimersByTimeAsync(12_000)
    await jobs.status(token)
    await vi.advanceTimersByTimeAsync(12_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'worker_lost' })
  })

  test('is not lost at the first absence of a job that waited in the queue until a moment ago', async () => {
    const { jobs, queue, store } = makeReader()
    const token = await store(makeRecord())
    for (let minute = 0; minute < 30; minute++) {
      await vi.advanceTimersByTimeAsync(60_000)
      expect(await jobs.status(token)).toMatchObject({ status: 'pending' })
    }
    queue.lookup = { state: 'absent' }
    for (let second = 0; second < 10; second++) {
      await vi.advanceTimersByTimeAsync(1_000)
      expect(await jobs.status(token)).toMatchObject({ status: 'pending', code: null })
    }
    await vi.advanceTimersByTimeAsync(2_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'worker_lost' })
  })

  test('is not asked for before it is silent, nor after its end', async () => {
    const { jobs, queue, store } = makeReader()
    const tokens = [
      await store(makeRecord()),
      await store(makeRecord({ dueAt: Date.now() + DAY })),
      await store(makeRunning({ status: 'done', progress: 100, finishedAt: Date.now() })),
    ]
    await vi.advanceTimersByTimeAsync(9_000)
    for (const token of tokens) await jobs.status(token)
    await vi.advanceTimersByTimeAsync(3_600_000)
    for (const token of tokens.slice(1)) await jobs.status(token)
    expect(queue.find).not.toHaveBeenCalled()
  })

  test('never has a newer record overwritten, whatever the queue said of the old one', async () => {
    for (const state of ['lost', 'absent', 'ended'] as const) {
      const { jobs, queue, cache, store, token } = await stale()
      queue.find.mockImplementation(async () => {
        await store(makeRunning({ version: 2, runId: 99, run: 2, progress: 70, updatedAt: Date.now() }), token)
        return state === 'ended' ? { state, outcome: { status: 'done', result: null } } : { state }
      })
      expect(await jobs.status(token)).toMatchObject({ status: 'running', progress: 70 })
      expect(cache.versions(token).map(({ runId }) => runId)).toEqual([11, 99])
    }
  })

  test('is asked for at most once a second, and the queue may hang or reject', async () => {
    const { jobs, queue, token } = await stale()
    for (const fault of [() => Promise.reject(new Error('away')), () => new Promise<never>(() => {})]) {
      queue.find.mockClear()
      queue.find.mockImplementation(fault)
      const statuses = Array.from({ length: 20 }, () => jobs.status(token))
      await vi.advanceTimersByTimeAsync(3_000)
      for (const status of await Promise.all(statuses)) expect(status).toMatchObject({ status: 'running' })
      expect(queue.find).toHaveBeenCalledOnce()
    }
  })
})

describe('nothing alive is declared dead', () => {
  test('a job that is pending for 30 minutes behind a backlog', async () => {
    const gate = makeGate()
    const bench = makeBench(
      { afterCreateJob: (id) => (id === 0 ? gate.opened : undefined) },
      { queue: memoryQueue({ concurrency: 1 }) },
    )
    await bench.start(0)
    const token = await bench.start(1)
    for (let minute = 0; minute < 30; minute++) {
      await vi.advanceTimersByTimeAsync(60_000)
      expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', hint: null })
    }
    gate.open()
    await vi.advanceTimersByTimeAsync(10)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a job that is delayed for longer than liveTtl', async () => {
    const bench = makeBench({ afterCreateJob() {} }, { liveTtl: 60_000 })
    const token = await bench.start(1, { delay: 600_000 })
    for (let minute = 0; minute < 9; minute++) {
      await vi.advanceTimersByTimeAsync(60_000)
      expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
    }
    await vi.advanceTimersByTimeAsync(60_010)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a job whose next attempt is later than liveTtl', async () => {
    const bench = makeBench({ afterCreateJob: () => Promise.reject(new Error('no')) }, { liveTtl: 60_000 })
    const token = await bench.start(1, { attempts: 2, backoff: { type: 'fixed', delay: 600_000 } })
    await vi.advanceTimersByTimeAsync(590_000)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 })
    await vi.advanceTimersByTimeAsync(20_000)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'error', attempt: 2 })
  })

  test('a job whose record has expired while it waited can still be cancelled', async () => {
    const hook = vi.fn()
    const bench = makeBench({ afterCreateJob: hook }, { queue: memoryQueue({ autoStart: false }), liveTtl: 60_000 })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(200_000)
    expect(await bench.jobs.cancel(token)).toBe(true)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    bench.jobs.work()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(hook).not.toHaveBeenCalled()
  })

  test('a job that runs silently for longer than liveTtl', async () => {
    const gate = makeGate()
    const bench = makeBench({ afterCreateJob: () => gate.opened }, { liveTtl: 60_000 })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(600_000)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'running' })
    gate.open()
    await vi.advanceTimersByTimeAsync(10)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a job that waits in memory for longer than liveTtl', async () => {
    const bench = makeBench({ afterCreateJob() {} }, { queue: memoryQueue({ autoStart: false }), liveTtl: 60_000 })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(200_000)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
    bench.jobs.work()
    await vi.advanceTimersByTimeAsync(10)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a job in the memory of another process, of which only liveTtl tells', async () => {
    const cache = memoryCache()
    const here = makeBench({ afterCreateJob() {} }, { cache, queue: memoryQueue({ autoStart: false }) })
    const there = makeBench({}, { cache })
    const token = await here.start()
    await vi.advanceTimersByTimeAsync(23 * 3_600_000)
    expect(await there.jobs.status(token)).toMatchObject({ status: 'pending' })
    await vi.advanceTimersByTimeAsync(2 * 3_600_000)
    expect(await there.jobs.status(token)).toStrictEqual(UNKNOWN)
  })
})

describe('after the end', () => {
  test.each([
    ['an hour by default', {}, 3_600_000],
    ['ttl', { ttl: 5_000 }, 5_000],
  ])('the status is kept for %s, then unknown', async (_, options, ttl) => {
    for (const code of ['done', 'failed', 'cancelled']) {
      const bench = makeBench({ afterCreateJob: () => (code === 'failed' ? 'error' : 'done') }, options)
      const token = await bench.start(1, code === 'cancelled' ? { delay: DAY } : {})
      if (code === 'cancelled') await bench.jobs.cancel(token)
      await vi.advanceTimersByTimeAsync(10)
      const { finishedAt } = (await bench.jobs.status(token)) as JobStatus & { status: 'done' }
      await vi.advanceTimersByTimeAsync(finishedAt + ttl - Date.now() - 1)
      expect((await bench.jobs.status(token)).status).toBe(code === 'done' ? 'done' : 'error')
      await vi.advanceTimersByTimeAsync(2)
      expect(await bench.jobs.status(token)).toStrictEqual(UNKNOWN)
    }
  })
})

describe('a record that is missing', () => {
  test.each([
    ['waiting', 'pending'],
    ['active', 'running'],
    ['lost', 'pending'],
  ] as const)(
    'is answered by a queue that says %s as %s, and nothing is stored in the way of its worker',
    async (state, status) => {
      const { jobs, queue, cache } = makeReader()
      queue.lookup = { state }
      const token = randomUUID()
      expect(await jobs.status(token)).toMatchObject({ token, status, code: null })
      expect(cache.versions(token)).toHaveLength(0)
    },
  )

  test('takes over the outcome of a job that ended', async () => {
    const { jobs, queue } = makeReader()
    queue.lookup = { state: 'ended', outcome: { status: 'done', result: 3 } }
    expect(await jobs.status(randomUUID())).toMatchObject({ status: 'done', progress: 100, result: 3 })
  })

  test.each(['absent', 'unknown'] as const)('is unknown to a queue that says %s', async (state) => {
    const { jobs, queue } = makeReader()
    queue.lookup = { state }
    expect(await jobs.status(randomUUID())).toStrictEqual(UNKNOWN)
  })

  test('is looked up once for many askers, for a while, and again later', async () => {
    const { jobs, queue } = makeReader()
    queue.lookup = { state: 'absent' }
    const token = randomUUID()
    for (let round = 0; round < 9; round++) {
      await Promise.all(Array.from({ length: 100 }, () => jobs.status(token)))
      await vi.advanceTimersByTimeAsync(100)
    }
    expect(queue.find).toHaveBeenCalledOnce()
    await vi.advanceTimersByTimeAsync(60_000)
    await jobs.status(token)
    expect(queue.find).toHaveBeenCalledTimes(2)
  })

  test('costs at most 2 s of a queue that hangs', async () => {
    const { jobs, queue } = makeReader()
    queue.find.mockImplementation(() => new Promise(() => {}))
    const settled = vi.fn()
    void jobs.status(randomUUID()).then(settled)
    await vi.advanceTimersByTimeAsync(3_000)
    expect(settled).toHaveBeenCalledWith(UNKNOWN)
  })

  test('is not remembered as missing once it is there', async () => {
    const { jobs, queue, store } = makeReader({ enqueueTimeout: 100 })
    queue.lookup = { state: 'absent' }
    const token = randomUUID()
    expect(await jobs.status(token)).toStrictEqual(UNKNOWN)
    await store(makeRecord(), token)
    queue.lookup = { state: 'waiting' }
    for (let tenth = 0; tenth < 100; tenth++) {
      expect(await jobs.status(token)).toMatchObject({ status: 'pending', code: null })
      await vi.advanceTimersByTimeAsync(100)
    }
  })

  test('does not keep its worker from starting, and then shows what the worker wrote', async () => {
    const { jobs, queue } = makeReader()
    jobs.register('bench', () => ({ afterCreateJob: () => ({ result: 1 }) }))
    jobs.work()
    const envelope = makeEnvelope()
    expect(await jobs.status(envelope.token)).toMatchObject({ status: 'pending' })
    await queue.deliver(envelope)
    expect(await jobs.status(envelope.token)).toMatchObject({ status: 'done', result: 1 })
  })
})

/** Lets what waits for a turn have it, while time stands still. */
async function turnsOfFakeTimers(): Promise<void> {
  await Promise.all([turns(1), vi.advanceTimersByTimeAsync(0)])
}

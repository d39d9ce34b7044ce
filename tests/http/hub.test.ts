import { createAfterJobs } from 'after-jobs'
import { createJobHandler, createNodeHandler, type JobHandler } from 'after-jobs/http'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { distantCache, spyCache } from '../engine/support/spies'
import { makeRunning } from '../engine/support/stub-queue'
import { statusesIn } from './live'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const RUNNING = TOKENS.running
const HEARTBEAT = 7_200
const HOUR = 3_600_000

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

function open(handler: JobHandler, token: string = RUNNING, signal?: AbortSignal): Promise<Response> {
  return handler(new Request(`http://localhost/jobs/events/${token}`, signal && { signal }))
}

/** Reads a stream as it comes. */
function read(response: Response) {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  const live = { text: '', isOver: false, leave: () => reader.cancel() }
  const decoder = new TextDecoder()
  const pump = async (): Promise<void> => {
    for (;;) {
      const { value, done } = await reader.read()
      if (done) break
      live.text += decoder.decode(value, { stream: true })
    }
    live.isOver = true
  }
  void pump()
  return live
}

/** Lets everything happen that takes no time. */
async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0)
}

function progressAt(progress: number) {
  return { ...STATUSES.running, progress, updatedAt: progress }
}

describe('many streams of one job', () => {
  test('are one read and one watch, and all are told the same', async () => {
    const stub = createStubJobs()
    const handlers = [createJobHandler(stub.jobs), createJobHandler(stub.jobs, { basePath: '/jobs/' })]
    const responses = await Promise.all(
      Array.from({ length: 50 }, (_, index) => open(handlers[index % 2] as JobHandler)),
    )
    const lives = responses.map(read)
    await settle()
    stub.tell(progressAt(60))
    await settle()
    stub.tell(STATUSES.done)
    await settle()
    expect([stub.record.mock.calls.length, stub.watch.mock.calls.length]).toEqual([1, 1])
    for (const live of lives) {
      expect(statusesIn(live.text)).toEqual([STATUSES.running, progressAt(60), STATUSES.done])
      expect(live.isOver).toBe(true)
    }
  })

  test('that is joined late begins with the newest status, and reads nothing', async () => {
    const stub = createStubJobs()
    const handler = createJobHandler(stub.jobs)
    read(await open(handler))
    stub.tell(progressAt(60))
    await settle()
    const late = read(await open(handler))
    await settle()
    expect(statusesIn(late.text)).toEqual([progressAt(60)])
    expect(stub.record).toHaveBeenCalledTimes(1)
  })

  test('end their watch when the last one leaves, and begin anew later', async () => {
    const stub = createStubJobs()
    const handler = createJobHandler(stub.jobs)
    const lives = [read(await open(handler)), read(await open(handler))]
    const signal = stub.watch.mock.calls[0]?.[1]?.signal
    await lives[0]?.leave()
    await settle()
    expect(signal?.aborted).toBe(false)
    await lives[1]?.leave()
    await settle()
    expect(signal?.aborted).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
    read(await open(handler))
    expect([stub.record.mock.calls.length, stub.watch.mock.calls.length]).toEqual([2, 2])
    expect(stub.logger.error).not.toHaveBeenCalled()
  })

  test('are shown to each handler as it shows errors', async () => {
    const stub = createStubJobs()
    const responses = await Promise.all(
      [true, false].map((exposeErrors) => open(createJobHandler(stub.jobs, { exposeErrors }), TOKENS.unexpected)),
    )
    const messages = await Promise.all(responses.map(async (response) => statusesIn(await response.text())[0]?.message))
    expect(messages).toEqual([STATUSES.unexpected.message, 'The job failed unexpectedly.'])
  })

  test('ask authorize each, and the one that is refused holds nothing', async () => {
    const stub = createStubJobs()
    const authorize = vi.fn((request: Request) => request.headers.get('x-user') === 'zoe')
    const handler = createJobHandler(stub.jobs, { authorize })
    const openAs = (user: string) =>
      handler(new Request(`http://localhost/jobs/events/${RUNNING}`, { headers: { 'x-user': user } }))
    const [allowed, refused] = await Promise.all([openAs('zoe'), openAs('eve')])
    expect([allowed.status, refused.status]).toEqual([200, 404])
    expect(authorize.mock.calls.map(([request]) => request.headers.get('x-user'))).toEqual(['zoe', 'eve'])
    const live = read(allowed)
    stub.tell(progressAt(60))
    await settle()
    expect(statusesIn(live.text)).toEqual([STATUSES.running, progressAt(60)])
    await live.leave()
    await settle()
    expect(stub.watch.mock.calls.map(([, options]) => options?.signal?.aborted)).toEqual([true])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('what bounds a stream', () => {
  test('a comment every 7 s shows that it lives', async () => {
    const live = read(await open(createJobHandler(createStubJobs().jobs)))
    await settle()
    const before = live.text
    await vi.advanceTimersByTimeAsync(3 * HEARTBEAT)
    expect(live.text).toBe(`${before}${':\n\n'.repeat(3)}`)
  })

  test('it ends after an hour, and its watch with it', async () => {
    const stub = createStubJobs()
    const live = read(await open(createJobHandler(stub.jobs)))
    await vi.advanceTimersByTimeAsync(HOUR - 1)
    expect(live.isOver).toBe(false)
    await vi.advanceTimersByTimeAsync(1)
    expect(live.isOver).toBe(true)
    expect(stub.watch.mock.calls[0]?.[1]?.signal?.aborted).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a process has 10,000 at most; one more is told to come later, until one leaves', async () => {
    const handler = createJobHandler(createStubJobs().jobs)
    const first = read(await open(handler))
    for (let count = 1; count < 10_000; count++) await open(handler)
    const refused = await open(handler)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '30'])
    expect(await refused.json()).toEqual({ type: 'about:blank', title: 'Service Unavailable', status: 503 })
    await first.leave()
    expect((await open(handler)).status).toBe(200)
  })

  test('a client that is slow skips to the newest status, and misses no end', async () => {
    const stub = createStubJobs()
    const response = await open(createJobHandler(stub.jobs))
    for (const progress of [50, 60, 70]) stub.tell(progressAt(progress))
    await settle()
    const live = read(response)
    await settle()
    expect(statusesIn(live.text)).toEqual([STATUSES.running, progressAt(70)])
    stub.tell(progressAt(80))
    stub.tell(STATUSES.done)
    await settle()
    expect(statusesIn(live.text).at(-1)).toEqual(STATUSES.done)
    expect(live.isOver).toBe(true)
  })

  test('a client that reads nothing until the end gets the final status', async () => {
    const stub = createStubJobs()
    const response = await open(createJobHandler(stub.jobs))
    stub.tell(progressAt(60))
    stub.tell(STATUSES.done)
    await vi.advanceTimersByTimeAsync(2 * HEARTBEAT)
    expect(statusesIn(await response.text())).toEqual([STATUSES.running, STATUSES.done])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a client that has gone before its stream begins', () => {
  test('by a signal that has aborted', async () => {
    const stub = createStubJobs()
    await open(createJobHandler(stub.jobs), RUNNING, AbortSignal.abort())
    await settle()
    expect(stub.watch.mock.calls[0]?.[1]?.signal?.aborted).toBe(true)
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each([
    ['a response that is destroyed', { destroyed: true }],
    ['a stream of HTTP/2 that is destroyed', { stream: { destroyed: true } }],
    ['an answer by someone else', { headersSent: true }],
  ])('by %s', async (_, state) => {
    const stub = createStubJobs()
    const response = { ...makeResponse(), ...state }
    createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/events/${RUNNING}` } as never, response)
    await settle()
    expect(response.writeHead).not.toHaveBeenCalled()
    expect(stub.watch.mock.calls[0]?.[1]?.signal?.aborted).toBe(true)
  })

  test('by a response that cannot be written', async () => {
    const stub = createStubJobs()
    const response = makeResponse()
    response.writeHead.mockImplementation(() => {
      throw new Error('broken')
    })
    createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/events/${RUNNING}` } as never, response)
    await settle()
    expect(stub.watch.mock.calls[0]?.[1]?.signal?.aborted).toBe(true)
    expect(stub.logger.error).toHaveBeenCalledTimes(1)
  })
})

test('one client whose write throws keeps nothing from the others', async () => {
  const stub = createStubJobs()
  const broken = makeResponse()
  broken.write.mockImplementation(() => {
    throw new Error('broken')
  })
  createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/events/${RUNNING}` } as never, broken)
  const live = read(await open(createJobHandler(stub.jobs)))
  stub.tell(STATUSES.done)
  await settle()
  expect(statusesIn(live.text)).toEqual([STATUSES.running, STATUSES.done])
})

test('each write is flushed where a middleware collects what is written', async () => {
  const stub = createStubJobs()
  const response = { ...makeResponse(), flush: vi.fn() }
  createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/events/${RUNNING}` } as never, response)
  await vi.advanceTimersByTimeAsync(HEARTBEAT)
  expect(response.write).toHaveBeenCalledTimes(2)
  expect(response.flush).toHaveBeenCalledTimes(2)
})

describe('a job of another process', () => {
  test('is told within half a second, and read once for each interval, however many watch it', async () => {
    const cache = spyCache(distantCache())
    const jobs = createAfterJobs({ cache })
    onTestFinished(() => jobs.close({ grace: 0 }))
    let record = makeRunning({ progress: 1 })
    await cache.write(RUNNING, record, HOUR)
    const handler = createJobHandler(jobs)
    const lives = (await Promise.all(Array.from({ length: 20 }, () => open(handler)))).map(read)
    for (let step = 2; step <= 21; step++) {
      record = { ...record, version: record.version + 1, progress: step, updatedAt: Date.now() }
      await cache.write(RUNNING, record, HOUR)
      await vi.advanceTimersByTimeAsync(500)
      for (const live of lives) expect(live.text).toContain(`"progress":${step},`)
    }
    expect(cache.calls.read).toBeLessThanOrEqual(1 + 10_000 / 250)
    for (const live of lives) await live.leave()
    const reads = cache.calls.read
    await vi.advanceTimersByTimeAsync(10_000)
    expect(cache.calls.read).toBe(reads)
  })
})

function makeResponse() {
  return {
    headersSent: false,
    writeHead: vi.fn(),
    write: vi.fn((_: Uint8Array) => true),
    on: vi.fn(),
    end: vi.fn(),
  }
}

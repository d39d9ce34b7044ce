import { AsyncLocalStorage } from 'node:async_hooks'
import { AfterJobsError, createAfterJobs, type JobAnswer, type JobEnvelope, memoryCache, memoryQueue } from 'after-jobs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Hooks, makeBench, makeGate, makeService, rejection, turns } from '../engine/support/runtime'
import { makeEnvelope } from '../engine/support/stub-queue'

const COMPLETED: JobAnswer = { type: 'completed', outcome: { status: 'done', result: null } }
const DAY = 86_400_000

afterEach(() => {
  vi.useRealTimers()
})

describe('options', () => {
  test.each([0, -1, 1.5, Number.NaN, '4' as unknown as number])('a count of %s is refused', (count) => {
    for (const name of ['concurrency', 'maxWaiting']) {
      const error = catchError(() => memoryQueue({ [name]: count }))
      expect(error).toMatchObject({ code: 'INVALID_OPTION' })
      expect((error as Error).message).toContain(name)
    }
  })

  test.each([{ concurency: 2 }, { max: 5 }, null, 5])(
    '%j: is refused, because it would be left out in silence',
    (options) => {
      const error = catchError(() => memoryQueue(options as never))
      expect(error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(/^memoryQueue .*option/) })
    },
  )

  test('with autoStart jobs run without a worker, 4 at a time', async () => {
    const gate = makeGate()
    let now = 0
    const bench = makeBench({
      afterCreateJob() {
        now++
        return gate.opened
      },
    })
    for (let id = 0; id < 9; id++) await bench.start(id)
    await vi.waitFor(() => expect(now).toBe(4))
    await turns(5)
    expect(now).toBe(4)
    gate.open()
    await bench.jobs.drain()
    expect(now).toBe(9)
  })

  test('without autoStart nothing runs until somebody works', async () => {
    const hook = vi.fn()
    const bench = makeBench({ afterCreateJob: hook }, { queue: memoryQueue({ autoStart: false }) })
    const token = await bench.start()
    await turns(10)
    expect(hook).not.toHaveBeenCalled()
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending' })
    bench.jobs.work()
    await bench.jobs.drain()
    expect(hook).toHaveBeenCalledOnce()
  })
})

describe('maxWaiting', () => {
  const full = (maxWaiting: number, hooks: Hooks = { afterCreateJob() {} }) =>
    makeBench(hooks, { queue: memoryQueue({ autoStart: false, maxWaiting }) })

  test('refuses one job more, with an error that says the limit, and loses none of the others', async () => {
    const failed = vi.fn()
    const ids: unknown[] = []
    const bench = full(3, { afterCreateJob: (id) => void ids.push(id), afterCreateJobFailed: failed })
    for (const id of [1, 2, 3]) await bench.start(id)
    const error = (await rejection(bench.start(4))) as AfterJobsError
    expect(AfterJobsError.is(error)).toBe(true)
    expect(error).toMatchObject({ code: 'QUEUE_FULL', token: expect.any(String) })
    expect(error.message).toContain('3')
    expect(await bench.jobs.status(error.token as string)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
    bench.jobs.work()
    await bench.jobs.drain()
    expect(ids).toEqual([1, 2, 3])
    expect(failed).not.toHaveBeenCalled()
  })

  test('counts what waits, delayed jobs too, and not what runs', async () => {
    const gate = makeGate()
    const bench = full(2, { afterCreateJob: () => gate.opened })
    bench.jobs.work()
    await bench.start(1)
    await vi.waitFor(async () => expect(await bench.jobs.health()).toMatchObject({ active: 1, waiting: 0 }))
    await bench.start(2)
    await bench.start(3, { delay: 10 })
    expect(await rejection(bench.start(4))).toMatchObject({ code: 'QUEUE_FULL' })
    gate.open()
    await bench.jobs.drain()
    await bench.start(5)
  })

  test('has room again after a cancellation', async () => {
    const bench = full(1)
    const token = await bench.start(1)
    expect(await rejection(bench.start(2))).toMatchObject({ code: 'QUEUE_FULL' })
    await bench.jobs.cancel(token)
    await bench.start(3)
    expect(await rejection(bench.start(4))).toMatchObject({ code: 'QUEUE_FULL' })
  })

  test('answers the standing token of a dedupe key, because no second job would wait', async () => {
    const bench = full(1)
    const token = await bench.start(1, { dedupe: 'k' })
    expect(await bench.start(1, { dedupe: 'k' })).toBe(token)
    expect(await rejection(bench.start(1, { dedupe: 'other' }))).toMatchObject({ code: 'QUEUE_FULL' })
  })

  test('takes a retried and a handed-back job back, however full it is', async () => {
    let calls = 0
    const bench = full(1, {
      async afterCreateJob(id) {
        if (id === 1 && ++calls === 1) {
          await bench.start(2)
          throw new Error('again')
        }
      },
    })
    const token = await bench.start(1, { attempts: 2 })
    bench.jobs.work()
    await bench.jobs.drain()
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done', attempt: 2 })
    expect(bench.events.filter(({ event }) => event === 'done')).toHaveLength(2)
  })

  test('of many at once takes all or none', async () => {
    const bench = full(5)
    await bench.start(0)
    expect(await rejection(bench.service.executeJobs('after', 'create', [1, 2, 3, 4, 5]))).toMatchObject({
      code: 'QUEUE_FULL',
    })
    expect(await bench.jobs.health()).toMatchObject({ waiting: 1 })
    expect(await bench.service.executeJobs('after', 'create', [1, 2, 3, 4])).toHaveLength(4)
  })

  test('under a rush accepts exactly as many as it may', async () => {
    const bench = full(100)
    const results = await Promise.allSettled(Array.from({ length: 500 }, (_, id) => bench.start(id)))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(100)
    bench.jobs.work({ concurrency: 3 })
    await bench.jobs.drain()
    expect(bench.events.filter(({ event }) => event === 'done')).toHaveLength(100)
  })
})

describe('priority under load', () => {
  test('a higher one overtakes all that wait, equal ones keep their order', async () => {
    const ids: string[] = []
    const gate = makeGate()
    const hooks: Hooks = { afterCreateJob: (id) => (id === 'first' ? gate.opened : void ids.push(String(id))) }
    const bench = makeBench(hooks, { queue: memoryQueue({ concurrency: 1 }) })
    await bench.start('first')
    await vi.waitFor(async () => expect(await bench.jobs.health()).toMatchObject({ active: 1 }))
    const jobs = Array.from({ length: 1_000 }, (_, index) => ({ priority: ((index * 7) % 5) - 2, index }))
    await Promise.all(jobs.map(({ priority, index }) => bench.start(`${priority}:${index}`, { priority })))
    gate.open()
    await bench.jobs.drain()
    const expected = jobs.toSorted((a, b) => b.priority - a.priority || a.index - b.index)
    expect(ids).toEqual(expected.map(({ priority, index }) => `${priority}:${index}`))
  })

  test('one that comes while others run is next', async () => {
    const ids: unknown[] = []
    const bench = makeBench(
      {
        async afterCreateJob(id) {
          ids.push(id)
          if (id === 10) await bench.start('urgent', { priority: 1 })
          await turns(1)
        },
      },
      { queue: memoryQueue({ concurrency: 1 }) },
    )
    for (let id = 0; id < 30; id++) await bench.start(id)
    await bench.jobs.drain()
    expect(ids.indexOf('urgent')).toBe(11)
  })

  test('a delayed job takes its place by priority when it is due', async () => {
    const ids: unknown[] = []
    const bench = makeBench({ afterCreateJob: (id) => void ids.push(id) }, { queue: memoryQueue({ autoStart: false }) })
    await bench.start('low')
    await bench.start('high, late', { delay: 1, priority: 9 })
    await new Promise((resolve) => setTimeout(resolve, 5))
    while (await bench.jobs.runNext());
    expect(ids).toEqual(['high, late', 'low'])
  })
})

describe('a job that comes back', () => {
  const answers: JobAnswer[] = [
    { type: 'retry', delay: 0 },
    { type: 'handed back', delay: 0 },
  ]

  test.each(answers)('as %j is delivered again, at whatever moment the only slot falls free', async (answer) => {
    for (let steps = 0; steps < 40; steps++) {
      const queue = memoryQueue()
      const [other, back] = [makeEnvelope({ attempts: 2 }), makeEnvelope({ attempts: 2 })]
      const ended = makeGate()
      const seen: string[] = []
      await queue.enqueueMany([back, other])
      const single = queue.runOne(async () => {
        await ended.opened
        for (let step = 0; step < steps; step++) await null
        return answer
      })
      const work = async ({ token }: JobEnvelope): Promise<JobAnswer> => {
        seen.push(token)
        ended.open()
        return COMPLETED
      }
      await turns(2)
      queue.consume(work, { concurrency: 1 })
      await single
      await turns(5)
      expect(seen, `after ${steps} microtasks`).toEqual([other.token, back.token])
    }
  })
})

describe('a long delay', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })

  test.each([2 ** 31 - 1, 2 ** 31, 2 ** 31 + 1, 60 * DAY, 365 * DAY])('of %i ms is kept', async (delay) => {
    const queue = memoryQueue()
    const run = vi.fn(async () => COMPLETED)
    queue.consume(run)
    await queue.enqueue(makeEnvelope({ delay }))
    await vi.advanceTimersByTimeAsync(delay - 1_000)
    expect(run).not.toHaveBeenCalled()
    expect(await queue.health()).toMatchObject({ waiting: 1 })
    await vi.advanceTimersByTimeAsync(1_001)
    expect(run).toHaveBeenCalledOnce()
  })

  test('of a retry is kept, too', async () => {
    const queue = memoryQueue()
    const run = vi.fn(
      async (): Promise<JobAnswer> => (run.mock.calls.length > 1 ? COMPLETED : { type: 'retry', delay: 40 * DAY }),
    )
    queue.consume(run)
    await queue.enqueue(makeEnvelope({ attempts: 2 }))
    await vi.advanceTimersByTimeAsync(39 * DAY)
    expect(run).toHaveBeenCalledOnce()
    await vi.advanceTimersByTimeAsync(DAY + 1_000)
    expect(run).toHaveBeenCalledTimes(2)
  })

  test('leaves one timer per delayed job, and none after cancel or close', async () => {
    const queue = memoryQueue()
    const envelopes = Array.from({ length: 10 }, () => makeEnvelope({ delay: 60 * DAY }))
    await queue.enqueueMany(envelopes)
    expect(vi.getTimerCount()).toBe(10)
    await queue.cancel(envelopes[0]?.token as string)
    expect(vi.getTimerCount()).toBe(9)
    expect(await queue.close()).toHaveLength(9)
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('a hundred thousand waiting jobs', () => {
  /** Counts calls of methods whose cost grows with the length of a list, on lists that are long, until it is asked. */
  function countSlowCalls(): () => number {
    const list = Array.prototype as unknown as Record<string, (...args: unknown[]) => unknown>
    const slow = ['shift', 'unshift', 'splice', 'indexOf', 'includes', 'filter', 'sort', 'find', 'findIndex', 'slice']
    const originals = slow.map((name) => [name, list[name] as (...args: unknown[]) => unknown] as const)
    let calls = 0
    for (const [name, original] of originals) {
      list[name] = function (this: unknown[], ...args) {
        if (this.length > 1_000) calls++
        return original.apply(this, args)
      }
    }
    return () => {
      for (const [name, original] of originals) list[name] = original
      return calls
    }
  }

  /** Drains a queue of so many jobs, and counts what would make that more than linear. */
  async function drain(count: number, envelopeOf: (id: number) => Partial<JobEnvelope>) {
    const queue = memoryQueue({ autoStart: false, maxWaiting: count })
    await queue.enqueueMany(Array.from({ length: count }, (_, id) => makeEnvelope({ id, ...envelopeOf(id) })))
    expect(await queue.health()).toMatchObject({ waiting: count })
    const finished = makeGate()
    let runs = 0
    const countSlow = countSlowCalls()
    const before = process.cpuUsage()
    queue.consume(
      async () => {
        if (++runs === count) finished.open()
        return COMPLETED
      },
      { concurrency: 10 },
    )
    await finished.opened
    const { user, system } = process.cpuUsage(before)
    return { runs, slow: countSlow(), cpu: user + system }
  }

  test.each<[string, number, (id: number) => Partial<JobEnvelope>]>([
    ['of one priority', 100_000, () => ({})],
    ['of many priorities', 40_000, (id) => ({ priority: (id % 2_001) - 1_000 })],
    ['with a dedupe key each', 40_000, (id) => ({ dedupe: `k${id}` })],
  ])('%s (%i) drain in linear time: no step looks at all that wait', async (_, count, envelopeOf) => {
    const few = await drain(count / 20, envelopeOf)
    const many = await drain(count, envelopeOf)
    expect([few.runs, many.runs]).toEqual([count / 20, count])
    expect(many.slow).toBeLessThanOrEqual(few.slow + 100)
    // Twenty times as many jobs; a walk over the waiting ones would cost four hundred times as much.
    expect(many.cpu).toBeLessThan(few.cpu * 100 + 1_000_000)
  })

  test('can be cancelled, found and counted one by one', async () => {
    const queue = memoryQueue({ autoStart: false })
    const envelopes = Array.from({ length: 100_000 }, (_, id) => makeEnvelope({ id }))
    await queue.enqueueMany(envelopes)
    const countSlow = countSlowCalls()
    for (const { token } of envelopes) {
      if ((await queue.find(token)).state !== 'waiting') throw new Error('not found')
      await queue.cancel(token)
    }
    expect(countSlow()).toBe(0)
    expect(await queue.health()).toMatchObject({ waiting: 0 })
    expect(await queue.runOne(async () => COMPLETED)).toBe(false)
  })

  test('through the whole runtime cost the cache three writes each, whatever their number', async () => {
    for (const count of [100, 10_000]) {
      const bench = makeBench({ afterCreateJob() {} }, { queue: memoryQueue({ concurrency: 10 }) })
      await Promise.all(Array.from({ length: count }, (_, id) => bench.start(id)))
      await bench.jobs.drain()
      expect(bench.cache.writes).toHaveLength(3 * count)
      expect(bench.cache.calls.read).toBeLessThanOrEqual(3 * count)
    }
  })
})

describe('jobs that never pause', () => {
  /** Keeps the event loop for itself. */
  const hold = (ms: number) => {
    const end = performance.now() + ms
    while (performance.now() < end);
  }

  test('leave the event loop its turns, however many run at once', async () => {
    const bench = makeBench({ afterCreateJob: () => hold(5) }, { queue: memoryQueue({ concurrency: 50 }) })
    await Promise.all(Array.from({ length: 100 }, (_, id) => bench.start(id)))
    let count = 0
    const counter = setInterval(() => count++, 1)
    await bench.jobs.drain()
    clearInterval(counter)
    // 500 ms in turns of 10 to 15 ms; all slots one after the other would leave none.
    expect(count).toBeGreaterThan(20)
  })

  test('answer at once and all the same are running inside of their hook, and pending before', async () => {
    const states: (string | undefined)[] = []
    const cache = memoryCache()
    const read = (token: string) => states.push(cache.immediate?.read(token)?.status)
    const jobs = createAfterJobs({ cache, queue: memoryQueue({ concurrency: 1 }) })
    const service = makeService(jobs, { afterCreateJob: (_id, token) => void read(token) })
    const token = (await service.executeJob('after', 'create', 1)) as string
    read(token)
    await jobs.drain()
    read(token)
    expect(states).toEqual(['pending', 'running', 'done'])
  })
})

describe('the asynchronous context', () => {
  const storage = new AsyncLocalStorage<string>()
  /** Each job notes its own id beside the context that it saw, before and after an await. */
  function contextBench(options: Parameters<typeof createAfterJobs>[0]) {
    const seen: [unknown, string | undefined, string][] = []
    const note = (id: unknown, where: string) => seen.push([id, storage.getStore(), where])
    const jobs = createAfterJobs(options)
    const service = makeService(jobs, {
      async afterCreateJob(id, _token, _progress, { attempt, attempts }) {
        note(id, 'body')
        await turns(1)
        note(id, 'after an await')
        if (attempt < attempts) throw new Error('again')
        if (Number(id) % 3 === 0) throw new Error('fails')
      },
      afterCreateJobFailed: (id) => void note(id, 'JobFailed'),
    })
    return { jobs, service, seen, strangers: () => seen.filter(([id, store]) => store !== String(id)) }
  }

  test('is that of its own caller, never of another, for each of a thousand jobs', async () => {
    const { jobs, service, seen, strangers } = contextBench({ queue: memoryQueue({ concurrency: 7 }) })
    const start = (id: number) => storage.run(String(id), () => service.executeJob('after', 'create', id))
    await Promise.all(Array.from({ length: 1_000 }, (_, id) => start(id)))
    await jobs.drain()
    expect(strangers()).toEqual([])
    expect(seen.filter(([, , where]) => where === 'body')).toHaveLength(1_000)
    expect(seen.filter(([, , where]) => where === 'JobFailed')).toHaveLength(334)
  })

  test('is kept over delays and retries, and for those that runNext and another worker run', async () => {
    const { jobs, service, seen, strangers } = contextBench({ queue: memoryQueue({ autoStart: false }) })
    const options = { attempts: 3, delay: 1, backoff: { type: 'fixed', delay: 1 } } as const
    for (let id = 1; id <= 20; id++) {
      await storage.run(String(id), () => service.executeJob('after', 'create', id, id % 2 === 0 ? options : {}))
    }
    await storage.run('runNext', async () => {
      for (let job = 0; job < 5; job++) await jobs.runNext()
    })
    await storage.run('worker', async () => jobs.work({ concurrency: 2 }))
    await storage.run('drain', () => jobs.drain())
    expect(strangers()).toEqual([])
    expect(seen.filter(([, , where]) => where === 'body')).toHaveLength(40)
  })

  test('of a job that is handed back is kept, too', async () => {
    const seen: (string | undefined)[] = []
    const jobs = createAfterJobs({ queue: memoryQueue({ autoStart: false }) })
    const service = makeService(jobs, {
      async afterCreateJob(_id, _token, { signal }) {
        seen.push(storage.getStore())
        if (seen.length > 1) return
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      },
    })
    await storage.run('caller', () => service.executeJob('after', 'create', 1))
    const worker = jobs.work()
    await vi.waitFor(() => expect(seen).toHaveLength(1))
    await storage.run('closer', () => worker.close({ grace: 0 }))
    storage.run('later', () => jobs.work())
    await jobs.drain()
    expect(seen).toEqual(['caller', 'caller'])
  })

  test('of whoever cancels is not that of JobFailed', async () => {
    const { jobs, service, seen, strangers } = contextBench({ queue: memoryQueue({ autoStart: false }) })
    const token = await storage.run('1', () => service.executeJob('after', 'create', 1))
    await storage.run('canceller', () => jobs.cancel(token as string))
    await storage.run('2', () => service.executeJob('after', 'create', 2))
    await storage.run('closer', () => jobs.close())
    expect(seen.map(([id, , where]) => [id, where])).toEqual([
      [1, 'JobFailed'],
      [2, 'JobFailed'],
    ])
    expect(strangers()).toEqual([])
  })

  test('is none for a job that was started outside of every context', async () => {
    const { jobs, service, seen } = contextBench({ queue: memoryQueue({ concurrency: 1 }) })
    await storage.run('other', () => service.executeJob('after', 'create', 'other'))
    await service.executeJob('after', 'create', 'bare')
    await jobs.drain()
    expect(seen.filter(([id]) => id === 'bare').map(([, store]) => store)).toEqual([undefined, undefined])
  })
})

function catchError(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    return error
  }
  throw new Error('The call was to throw')
}

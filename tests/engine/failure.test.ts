import { createAfterJobs, type FailureHook, JobError, memoryQueue } from 'after-jobs'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { distantRaces, lifeOf, nearRaces, type Race, runRace } from './support/race'
import { type Gate, type Hooks, makeBench, makeGate, makeService, turns } from './support/runtime'

const unexpected = new Error('connect ECONNREFUSED')
const meant = new JobError('The project does not exist')
const manual = () => ({ queue: memoryQueue({ autoStart: false }) })
/** A pause between attempts that no test lives to see the end of. */
const LONG = { attempts: 3, backoff: { type: 'fixed', delay: 3_600_000 } } as const

/** A bench whose compensation is a spy. */
function benchWith(hooks: Hooks, options: Parameters<typeof makeBench>[1] = {}) {
  const failed = vi.fn<FailureHook>()
  return { ...makeBench({ afterCreateJobFailed: failed, ...hooks }, options), failed }
}

afterEach(() => {
  vi.useRealTimers()
})

describe('JobFailed is called once', () => {
  test.each<[string, () => unknown, string, unknown]>([
    ['a JobError', () => Promise.reject(meant), 'failed', meant],
    ['an unexpected error', () => Promise.reject(unexpected), 'unexpected', unexpected],
    ["'error'", async () => 'error', 'failed', expect.any(Error)],
    ['a thrown string', () => Promise.reject('text'), 'unexpected', expect.any(Error)],
    ['a thrown undefined', () => Promise.reject(undefined), 'unexpected', expect.any(Error)],
    ['a thrown null', () => Promise.reject(null), 'unexpected', expect.any(Error)],
    ['a synchronous throw', () => fail(unexpected), 'unexpected', unexpected],
    ['rubbish', async () => 42, 'unexpected', expect.any(Error)],
    ['a result that JSON cannot carry', async () => ({ result: 1n }), 'unexpected', expect.any(Error)],
  ])('for %s, with id, token, error and job', async (_, end, code, error) => {
    const { jobs, start, failed } = benchWith({ afterCreateJob: end as () => undefined })
    const token = await start('p1', { payload: { chapterIds: [3] } })
    expect(await jobs.settled(token)).toMatchObject({ status: 'error', code })
    await jobs.drain()
    expect(failed).toHaveBeenCalledOnce()
    const [id, seenToken, seenError, job] = failed.mock.calls[0] as Parameters<FailureHook>
    expect([id, seenToken, seenError]).toEqual(['p1', token, error])
    expect(seenError).toBeInstanceOf(Error)
    expect(job).toMatchObject({ token, id: 'p1', hook: 'afterCreateJob', service: 'bench', attempt: 1, attempts: 1 })
    expect(job).toMatchObject({ payload: { chapterIds: [3] }, parent: null })
  })

  test('and only after the last attempt', async () => {
    const { jobs, start, failed } = benchWith({ afterCreateJob: () => Promise.reject(unexpected) })
    await start(1, { attempts: 3 })
    await jobs.drain()
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.[3]).toMatchObject({ attempt: 3, attempts: 3 })
  })

  test('and not after a success, nor after one that came with a later attempt', async () => {
    let calls = 0
    const { jobs, start, failed } = benchWith({
      async afterCreateJob() {
        if (++calls === 2) throw unexpected
      },
    })
    await jobs.settled(await start())
    expect(await jobs.settled(await start(2, { attempts: 2 }))).toMatchObject({ status: 'done', attempt: 2 })
    await jobs.drain()
    expect(calls).toBe(3)
    expect(failed).not.toHaveBeenCalled()
  })

  test('for a job that cancels itself', async () => {
    const { jobs, start, failed } = benchWith({
      async afterCreateJob(_id, token) {
        expect(await jobs.cancel(token)).toBe(true)
        return { result: 1 }
      },
    })
    const token = await start()
    await jobs.drain()
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled', result: null })
    expect(failed).toHaveBeenCalledOnce()
  })

  test('on the service itself, which may be without one', async () => {
    const owner = vi.fn()
    const { jobs, service, start } = benchWith({
      afterCreateJob: () => 'error',
      afterCreateJobFailed(this: unknown) {
        owner(this)
      },
      afterUpdateJob: () => 'error',
    })
    await start()
    const other = (await service.executeJob('after', 'update', 1)) as string
    await jobs.drain()
    expect(owner.mock.calls[0]?.[0]).toBe(service)
    expect(await jobs.status(other)).toMatchObject({ status: 'error', code: 'failed' })
  })

  test('before the slot is free again', async () => {
    const gate = makeGate()
    const hook = vi.fn(() => 'error')
    const bench = benchWith(
      { afterCreateJob: hook, afterCreateJobFailed: () => gate.opened },
      { queue: memoryQueue({ concurrency: 1 }) },
    )
    const first = await bench.start(1)
    await bench.start(2)
    await bench.jobs.settled(first)
    await turns(5)
    expect(hook).toHaveBeenCalledOnce()
    gate.open()
    await bench.jobs.drain()
    expect(hook).toHaveBeenCalledTimes(2)
  })
})

describe('what JobFailed throws', () => {
  test.each<[string, FailureHook]>([
    ['at once', () => fail(new Error('compensation'))],
    ['later', () => Promise.reject(new Error('compensation'))],
    ['as undefined', () => Promise.reject(undefined)],
    ['as a JobError', () => Promise.reject(new JobError('compensation'))],
  ])('%s is logged and changes nothing', async (_, afterCreateJobFailed) => {
    const { jobs, start, cache, logger, events } = benchWith({
      afterCreateJob: () => Promise.reject(meant),
      afterCreateJobFailed,
    })
    const token = await start()
    const before = await jobs.settled(token)
    await jobs.drain()
    expect(await jobs.status(token)).toEqual(before)
    expect(cache.versions(token).map(({ status }) => status)).toEqual(['pending', 'running', 'error'])
    expect(events.filter(({ event }) => event === 'error')).toHaveLength(1)
    const lines = logger.lines.filter(({ level, message }) => level === 'error' && /JobFailed/.test(message))
    expect(lines).toHaveLength(1)
    expect(lines[0]?.fields).toMatchObject({ token: token.slice(0, 8) })
  })

  test('while the job waited, too', async () => {
    const { jobs, start, logger } = benchWith(
      { afterCreateJob() {}, afterCreateJobFailed: () => Promise.reject(new Error('compensation')) },
      manual(),
    )
    const token = await start()
    expect(await jobs.cancel(token)).toBe(true)
    await jobs.close()
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    expect(logger.lines.filter(({ message }) => /JobFailed/.test(message))).toHaveLength(1)
  })
})

describe('after a time-out', () => {
  test.each<[string, (gate: Gate) => void]>([
    ['resolves', (gate) => gate.open()],
    ['throws', (gate) => gate.fail(new Error('late'))],
  ])('JobFailed waits for the body, which then %s', async (_, end) => {
    vi.useFakeTimers()
    const gate = makeGate()
    const { jobs, start, failed, events } = benchWith({ afterCreateJob: () => gate.opened })
    const token = await start(1, { timeout: 100, attempts: 3 })
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout' })
    expect(failed).not.toHaveBeenCalled()
    end(gate)
    await vi.advanceTimersByTimeAsync(100)
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.[2]).toBeInstanceOf(Error)
    expect(events.filter(({ event }) => event === 'error')).toHaveLength(1)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout' })
  })

  test('drain waits for the body and for JobFailed', async () => {
    const gate = makeGate()
    const { jobs, start, failed } = benchWith({ afterCreateJob: () => gate.opened })
    await jobs.settled(await start(1, { timeout: 1 }))
    const drained = vi.fn()
    const draining = jobs.drain().then(drained)
    await turns(5)
    expect(drained).not.toHaveBeenCalled()
    gate.open()
    await draining
    expect(failed).toHaveBeenCalledOnce()
  })
})

describe('after a cancellation', () => {
  test.each([
    ['waits', {}],
    ['is delayed', { delay: 3_600_000 }],
  ])('of a job that %s, JobFailed is called once and the hook never', async (_, options) => {
    const hook = vi.fn()
    const { jobs, start, failed, events } = benchWith({ afterCreateJob: hook }, manual())
    const token = await start(7, { ...options, payload: { a: 1 } })
    await jobs.cancel(token)
    const worker = jobs.work()
    await jobs.drain()
    await worker.close()
    expect(hook).not.toHaveBeenCalled()
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.slice(0, 3)).toEqual([7, token, expect.any(Error)])
    expect(failed.mock.calls[0]?.[3]).toMatchObject({ attempt: 0, payload: { a: 1 } })
    expect(events.map(({ event }) => event)).toEqual(['queued', 'error'])
  })

  test('between two attempts, JobFailed is called once, with the attempt that was last started', async () => {
    const { jobs, start, failed } = benchWith({ afterCreateJob: () => Promise.reject(unexpected) })
    const token = await start(1, LONG)
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 }))
    await turns(2)
    await jobs.cancel(token)
    await jobs.drain()
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.[3]).toMatchObject({ attempt: 1 })
  })

  test('of a running job, JobFailed waits for the body', async () => {
    const gate = makeGate()
    const { jobs, start, failed } = benchWith({ afterCreateJob: () => gate.opened })
    const token = await start(1, { attempts: 3 })
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running' }))
    expect(await jobs.cancel(token)).toBe(true)
    await turns(5)
    expect(failed).not.toHaveBeenCalled()
    gate.open()
    await jobs.drain()
    expect(failed).toHaveBeenCalledOnce()
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled', attempt: 1 })
  })

  test('of a job that another process holds, that process calls JobFailed instead of the hook', async () => {
    const hook = vi.fn()
    const here = benchWith({ afterCreateJob: hook }, manual())
    const there = makeBench({}, { cache: here.cache })
    const token = await here.start()
    expect(await there.jobs.cancel(token)).toBe(true)
    expect(await here.jobs.runNext()).toBe(true)
    expect(hook).not.toHaveBeenCalled()
    expect(here.failed).toHaveBeenCalledOnce()
    expect(here.events.map(({ event }) => event)).toEqual(['queued', 'error'])
  })
})

describe('where jobs are closed away', () => {
  test('JobFailed is called once for each job that waited', async () => {
    const { jobs, start, failed, events } = benchWith({ afterCreateJob() {} }, manual())
    const tokens = [await start(1), await start(2, { delay: 3_600_000 }), await start(3)]
    await jobs.close()
    expect(failed.mock.calls.map(([, token]) => token)).toEqual(tokens)
    for (const token of tokens) expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    expect(events.filter(({ event }) => event === 'error')).toHaveLength(3)
  })

  test('JobFailed is called once for a job between two attempts, with the attempt that was last started', async () => {
    const { jobs, start, failed } = benchWith({ afterCreateJob: () => Promise.reject(unexpected) })
    const token = await start(1, LONG)
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 }))
    await turns(2)
    await jobs.close()
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.[3]).toMatchObject({ attempt: 1 })
  })

  /** Closes the runtime on a job whose body ignores every signal, and ends the body long afterwards. */
  async function closeOnDeafBody(options: { timeout?: number }, isCancelled: boolean): Promise<string[]> {
    vi.useFakeTimers()
    const gate = makeGate()
    const order: string[] = []
    const { jobs, start } = makeBench({
      afterCreateJob: () => gate.opened.then(() => void order.push('body')),
      afterCreateJobFailed: () => void order.push('JobFailed'),
    })
    const token = await start(1, options)
    await vi.advanceTimersByTimeAsync(50)
    if (isCancelled) await jobs.cancel(token)
    const closing = jobs.close({ grace: 10 })
    await vi.advanceTimersByTimeAsync(60_000)
    await closing
    expect(await jobs.status(token)).toMatchObject({ status: 'error' })
    gate.open()
    await vi.advanceTimersByTimeAsync(1_000)
    return order
  }

  const deaf: [string, { timeout?: number }, boolean][] = [
    ['has timed out', { timeout: 5 }, false],
    ['was cancelled', {}, true],
    ['is running', {}, false],
  ]

  test.each(deaf)('JobFailed is called once for a job that %s and does not listen', async (_, options, isCancelled) => {
    const order = await closeOnDeafBody(options, isCancelled)
    expect(order.filter((name) => name === 'JobFailed')).toHaveLength(1)
  })

  test.each(deaf)(
    'JobFailed comes after the body of a job that %s and does not listen',
    async (_, options, isCancelled) => {
      const order = await closeOnDeafBody(options, isCancelled)
      expect(order[0]).toBe('body')
    },
  )
})

describe('where a worker is closed', () => {
  test('JobFailed of a time-out is called once, after the body, although a later worker is there first', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const order: string[] = []
    const { jobs, start } = makeBench({
      afterCreateJob: () => gate.opened.then(() => void order.push('body')),
      afterCreateJobFailed: () => void order.push('JobFailed'),
    })
    const worker = jobs.work()
    await start(1, { timeout: 5 })
    await vi.advanceTimersByTimeAsync(50)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(10_000)
    await closing
    jobs.work()
    await vi.advanceTimersByTimeAsync(1_000)
    gate.open()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(order).toEqual(['body', 'JobFailed'])
  })

  test('a JobFailed that takes its time is not called a second time by a later worker', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const failed = vi.fn(() => gate.opened)
    const { jobs, start } = makeBench({ afterCreateJob: () => 'error', afterCreateJobFailed: failed })
    const worker = jobs.work()
    await start()
    await vi.advanceTimersByTimeAsync(50)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(10_000)
    await closing
    jobs.work()
    await vi.advanceTimersByTimeAsync(1_000)
    gate.open()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(failed).toHaveBeenCalledOnce()
  })
})

describe('whenever a cancellation or a close comes in between', () => {
  const interruptions = [
    [['cancel']],
    [['cancel', 'cancel']],
    [['cancel', 'cancel elsewhere']],
    [['close']],
    [['cancel', 'close']],
  ] as const
  const check = (races: fc.Arbitrary<Race>, numRuns: number) => {
    const property = fc.asyncProperty(races, async (race) => {
      expect(lifeOf(await runRace(race))).toEqual([])
    })
    return fc.assert(property, { numRuns, timeout: 5_000, interruptAfterTimeLimit: 10_000 })
  }

  test.each(interruptions)(
    '%j at any call of a slow cache: status, events and JobFailed tell one end',
    async (kinds) => {
      await check(distantRaces(kinds), 300)
    },
  )

  test.each(interruptions)('%j at any microtask: status, events and JobFailed tell one end', async (kinds) => {
    await check(nearRaces(kinds), 400)
  })
})

function fail(error: unknown): never {
  throw error
}

describe('a compensation', () => {
  test('that takes long is not aborted by the heartbeat of the run that has ended', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    let signal: AbortSignal | undefined
    const { start, cache } = makeBench({
      afterCreateJob: () => Promise.reject(meant),
      afterCreateJobFailed(_id, _token, _error, job) {
        signal = job.signal
        return gate.opened
      },
    })
    await start()
    await vi.advanceTimersByTimeAsync(1_000)
    const { write } = cache.calls
    await vi.advanceTimersByTimeAsync(30_000)
    expect(signal?.aborted).toBe(false)
    expect(cache.calls.write).toBe(write)
    gate.open()
  })

  test('whose method cannot even be read is logged, and the job has ended', async () => {
    const { jobs, service, start, logger } = makeBench({ afterCreateJob: () => Promise.reject(meant) })
    Object.defineProperty(service, 'afterCreateJobFailed', { get: () => fail(unexpected) })
    expect(await jobs.settled(await start())).toMatchObject({ status: 'error', code: 'failed' })
    await jobs.drain()
    expect(logger.lines.filter(({ message }) => /JobFailed threw/.test(message))).toHaveLength(1)
  })
})

describe('a job whose record is gone', () => {
  test('when its attempt fails has its further attempts all the same', async () => {
    const { jobs, cache, start, failed } = benchWith(
      {
        async afterCreateJob() {
          await vi.waitFor(async () => expect(await cache.read(token)).toBeUndefined())
          runs++
          if (runs < 3) throw unexpected
        },
      },
      { attempts: 3, liveTtl: 20 },
    )
    let runs = 0
    const token = await start()
    expect(await vi.waitUntil(async () => runs === 3)).toBe(true)
    await jobs.drain()
    expect(await jobs.status(token)).toMatchObject({ status: 'done', attempt: 3, startedAt: expect.any(Number) })
    expect(failed).not.toHaveBeenCalled()
  })
})

test('a second cancellation leaves the compensation of the first alone', async () => {
  const gate = makeGate()
  let signal: AbortSignal | undefined
  const { jobs, start } = makeBench(
    {
      afterCreateJob: () => Promise.reject(unexpected),
      afterCreateJobFailed(_id, _token, _error, job) {
        signal = job.signal
        return gate.opened
      },
    },
    LONG,
  )
  const token = await start()
  await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 }))
  expect(await jobs.cancel(token)).toBe(true)
  await vi.waitFor(() => expect(signal).toBeDefined())
  expect(await jobs.cancel(token)).toBe(false)
  expect(signal?.aborted).toBe(false)
  gate.open()
})

test.each([0, 1, 2, 4])(
  'a job that is cancelled %d microtasks after its attempt failed is compensated for at once',
  async (microtasks) => {
    // Not a bench: its spies take microtasks of their own.
    const jobs = createAfterJobs(LONG)
    const failed = vi.fn()
    const hooks = { afterCreateJob: () => Promise.reject(unexpected), afterCreateJobFailed: failed }
    jobs.on('retrying', async ({ token }) => {
      for (let count = 0; count < microtasks; count++) await null
      await jobs.cancel(String(token))
    })
    const token = String(await makeService(jobs, hooks).executeJob('after', 'create', 1))
    expect(await jobs.settled(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    await jobs.drain({ signal: AbortSignal.timeout(5_000) })
    expect(failed).toHaveBeenCalledOnce()
  },
)

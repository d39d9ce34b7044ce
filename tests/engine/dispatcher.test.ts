import {
  AfterJobsError,
  type AfterJobsOptions,
  createAfterJobs,
  JobError,
  type JobEvent,
  type JobRecord,
  memoryQueue,
} from 'after-jobs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Hooks, makeBench, makeGate, makeService, rejection } from './support/runtime'
import { distantCache, type FaultyCache, faultyCache, spyCache } from './support/spies'
import { makeEnvelope, makeRunning, stubQueue } from './support/stub-queue'

const away = new Error('connect ECONNREFUSED')
const hang = () => new Promise<never>(() => {})

/** A service on a queue that the test plays, and a cache that processes share. */
function makeShared(options: AfterJobsOptions = {}, hooks: Hooks = { afterCreateJob() {} }) {
  const queue = stubQueue()
  const store = options.cache ?? distantCache()
  const bench = makeBench(hooks, { queue, ...options, cache: store })
  const afterMs = async (promise: Promise<unknown>) => {
    const since = Date.now()
    const error = await rejection(promise)
    return { error: error as AfterJobsError, ms: Date.now() - since }
  }
  return { ...bench, queue, afterMs }
}

/** Makes the cache behave as if a worker had started the job while its enqueue is still under way. */
function startElsewhere({ cache }: ReturnType<typeof makeShared>, isStarted: (id: unknown) => boolean = () => true) {
  return async ({ token, id }: { token: string; id: unknown }) => {
    if (!isStarted(id)) return
    await vi.waitFor(async () => expect(await cache.read(token)).toBeDefined())
    const record = await cache.read(token)
    await cache.write(
      token,
      makeRunning({ ...record, version: 2, status: 'running', attempt: 1, run: 1, runId: 5 }),
      60_000,
    )
  }
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

describe('executeJob on a queue that processes share', () => {
  test('sends one plain envelope that names service and hook, and answers its token', async () => {
    const { queue, start, jobs } = makeShared({ context: { capture: () => ({ user: 7 }) } })
    const options = { delay: 5, priority: 3, attempts: 2, timeout: 100, payload: { a: [1] } }
    const token = await start('p1', options)
    expect(queue.accepted).toHaveLength(1)
    expect(queue.accepted[0]).toMatchObject({ token, service: 'bench', hook: 'afterCreateJob', id: 'p1', ...options })
    expect(queue.accepted[0]).toMatchObject({ context: { user: 7 }, parent: null })
    expect(structuredClone(queue.accepted[0])).toEqual(queue.accepted[0])
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempts: 2 })
  })

  test('resolves only when the queue has accepted', async () => {
    const { queue, start } = makeShared()
    const gate = makeGate<string>()
    queue.enqueue.mockImplementation(() => gate.opened)
    const resolved = vi.fn()
    void start().then(resolved)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(resolved).not.toHaveBeenCalled()
    gate.open(queue.enqueue.mock.calls[0]?.[0].token as string)
    await vi.advanceTimersByTimeAsync(0)
    expect(resolved).toHaveBeenCalledOnce()
  })

  test("answers the token of the job that stands for a dedupe key, and leaves no record of the other's", async () => {
    const { queue, start, cache } = makeShared()
    const first = await start(1, { dedupe: 'k' })
    queue.enqueue.mockImplementation(async () => first)
    expect(await start(1, { dedupe: 'k' })).toBe(first)
    expect([...new Set(cache.writes.map(({ token }) => token))]).toEqual([first])
  })

  test('is refused for a service without a name', async () => {
    const service = makeService(makeShared().jobs, { afterCreateJob() {} }, '')
    expect(await rejection(service.executeJob('after', 'create', 1))).toMatchObject({ code: 'NO_JOB_NAME' })
  })
})

describe('a queue that refuses', () => {
  test('may take as long as enqueueTimeout says, though no timer can wait for so long', async () => {
    const accepted = makeGate<string>()
    const { queue, start } = makeShared({ enqueueTimeout: 3e9 })
    queue.enqueue.mockImplementation(async () => accepted.opened)
    const started = start()
    const settled = vi.fn()
    started.then(settled, settled)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(settled).not.toHaveBeenCalled()
    accepted.open('other')
    expect(await started).toBe('other')
  })

  test('is told with its code where it has no message, as one of several addresses', async () => {
    const { queue, start } = makeShared()
    const cause = Object.assign(new AggregateError([away, away]), { code: 'ECONNREFUSED' })
    queue.enqueue.mockRejectedValue(cause)
    const message = 'The queue did not accept bench.afterCreateJob: ECONNREFUSED. Check that the queue is up.'
    expect(await rejection(start())).toMatchObject({ code: 'ENQUEUE_FAILED', cause, message })
  })

  test('makes executeJob reject with ENQUEUE_FAILED, and the record ends as enqueue_failed', async () => {
    const failed = vi.fn()
    const { queue, jobs, start, events } = makeShared({}, { afterCreateJob() {}, afterCreateJobFailed: failed })
    queue.enqueue.mockRejectedValue(away)
    const error = (await rejection(start())) as AfterJobsError
    expect(AfterJobsError.is(error)).toBe(true)
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', cause: away, token: expect.any(String) })
    expect(error.accepted).toBeUndefined()
    expect(await jobs.status(error.token as string)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
    expect(events.map(({ event, attempt }) => [event, attempt])).toEqual([['error', 0]])
    await vi.advanceTimersByTimeAsync(1_000)
    expect(failed).not.toHaveBeenCalled()
  })

  test('by throwing does the same', async () => {
    const { queue, start } = makeShared()
    queue.enqueue.mockImplementation(() => {
      throw away
    })
    expect(await rejection(start())).toMatchObject({ code: 'ENQUEUE_FAILED' })
  })

  test.each([
    ['5 s by default', {}, 5_000],
    ['enqueueTimeout', { enqueueTimeout: 700 }, 700],
  ])('and hangs: within %s', async (_, options, limit) => {
    const { queue, jobs, start, afterMs } = makeShared(options)
    queue.enqueue.mockImplementation(hang)
    const failing = afterMs(start())
    await vi.advanceTimersByTimeAsync(limit - 50)
    expect(await Promise.race([failing, 'waiting'])).toBe('waiting')
    await vi.advanceTimersByTimeAsync(100)
    const { error } = await failing
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED' })
    expect(await jobs.status(error.token as string)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
  })

  test('although the job already runs: resolves, and the status is left alone', async () => {
    const shared = makeShared()
    const begin = startElsewhere(shared)
    shared.queue.enqueue.mockImplementation(async (envelope) => {
      await begin(envelope)
      throw away
    })
    const starting = shared.start()
    await vi.advanceTimersByTimeAsync(1_000)
    const token = await starting
    expect(await shared.jobs.status(token)).toMatchObject({ status: 'running', attempt: 1 })
    expect(shared.events.filter(({ event }) => event === 'error')).toEqual([])
  })

  test.each(['rejects', 'hangs'] as const)(
    'while the cache %s: nobody can tell, and the error says so, within enqueueTimeout',
    async (fault) => {
      for (const enqueue of [() => Promise.reject(away), hang]) {
        const cache = faultyCache()
        const { queue, start, afterMs } = makeShared({ cache })
        cache.fault = fault
        queue.enqueue.mockImplementation(enqueue)
        const failing = afterMs(start())
        await vi.advanceTimersByTimeAsync(30_000)
        const { error, ms } = await failing
        expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', accepted: 'unknown', token: expect.any(String) })
        expect.soft(ms).toBeLessThanOrEqual(5_100)
      }
    },
  )

  test('loses no later job: when it is back, the next one is accepted', async () => {
    const { queue, jobs, start } = makeShared()
    queue.enqueue.mockRejectedValueOnce(away)
    await rejection(start())
    expect(await jobs.status(await start())).toMatchObject({ status: 'pending' })
  })

  test('on a service that other callers use: their jobs are not touched', async () => {
    const { queue, start } = makeShared()
    queue.enqueue.mockImplementation(async (envelope) => {
      if (envelope.id === 2) throw away
      return envelope.token
    })
    const results = await Promise.allSettled([start(1), start(2), start(3)])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  })
})

describe('a cache that is away', () => {
  test.each(['rejects', 'hangs'] as const)('and %s does not stop a job that the queue accepts', async (fault) => {
    const cache = faultyCache()
    const { start, queue, events, logger } = makeShared({ cache })
    cache.fault = fault
    const starting = start()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(queue.accepted.map(({ token }) => token)).toEqual([await starting])
    expect(events.map(({ event }) => event)).toEqual(['queued'])
    expect(logger.lines.some(({ level }) => level === 'error')).toBe(true)
  })

  test('and comes back: the queue tells of the job, and its worker writes the record', async () => {
    const cache = faultyCache()
    const { start, queue, jobs } = makeShared({ cache })
    jobs.register('bench', () => ({ afterCreateJob: () => ({ result: 1 }) }))
    jobs.work()
    cache.fault = 'rejects'
    const token = await start()
    cache.fault = 'none'
    expect(await jobs.status(token)).toMatchObject({ token, status: 'pending' })
    await queue.deliver(queue.accepted[0] as never)
    expect(await jobs.status(token)).toMatchObject({ status: 'done', result: 1 })
  })
})

describe('a late pending', () => {
  test('never overwrites what a quick worker has stored', async () => {
    const gate = makeGate()
    const inner = spyCache(distantCache())
    let isFirst = true
    const cache = {
      ...inner,
      write: async (...[token, record, ttl]: Parameters<typeof inner.write>) => {
        if (isFirst) {
          isFirst = false
          await gate.opened
        }
        return inner.write(token, record, ttl)
      },
    }
    const { jobs, queue, start } = makeShared({ cache })
    jobs.register('bench', () => ({ afterCreateJob() {} }))
    jobs.work()
    const starting = start()
    await vi.advanceTimersByTimeAsync(10)
    expect(await queue.deliver(queue.accepted[0] as never)).toMatchObject({ type: 'completed' })
    gate.open()
    await vi.advanceTimersByTimeAsync(10)
    const token = await starting
    expect(await jobs.status(token)).toMatchObject({ status: 'done', attempt: 1 })
    expect(inner.versions(token).map(({ status }) => status)).toEqual(['running', 'done'])
  })
})

describe('executeJobs', () => {
  const ids = (count: number) => Array.from({ length: count }, (_, id) => id)

  test('takes one call to the queue and one to the cache per thousand, and keeps the order', async () => {
    const { service, queue, cache } = makeShared()
    const tokens = await service.executeJobs('after', 'create', ids(2_500), { priority: 2 })
    expect(queue.enqueueMany.mock.calls.map(([envelopes]) => envelopes.length)).toEqual([1_000, 1_000, 500])
    expect(queue.enqueue).not.toHaveBeenCalled()
    expect(cache.calls).toEqual({ read: 0, write: 0, writeMany: 3 })
    expect(queue.accepted.map(({ token }) => token)).toEqual(tokens)
    expect(queue.accepted.map(({ id }) => id)).toEqual(ids(2_500))
    expect(queue.accepted.every(({ priority }) => priority === 2)).toBe(true)
    expect(new Set(tokens).size).toBe(2_500)
  })

  test('makes every status readable, and an event for each', async () => {
    const { service, jobs, events } = makeShared()
    const tokens = await service.executeJobs('after', 'create', ids(5))
    for (const token of tokens) expect(await jobs.status(token)).toMatchObject({ status: 'pending' })
    expect(events.map(({ event, token }) => [event, token])).toEqual(tokens.map((token) => ['queued', token]))
  })

  test('of nothing, or without a hook, is nothing', async () => {
    const { service, queue } = makeShared()
    expect(await service.executeJobs('after', 'create', [])).toEqual([])
    expect(await service.executeJobs('after', 'remove' as string, ids(3))).toEqual([])
    expect(queue.enqueueMany).not.toHaveBeenCalled()
  })

  test('that fails half-way carries what was accepted', async () => {
    const { service, queue, jobs } = makeShared()
    queue.enqueueMany.mockImplementation(async (envelopes) => {
      if (envelopes[0]?.id === 1_000) throw away
      queue.accepted.push(...envelopes)
      return envelopes.map(({ token }) => token)
    })
    const error = (await rejection(service.executeJobs('after', 'create', ids(2_500)))) as AfterJobsError
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', cause: away })
    expect(error.accepted).toEqual(queue.accepted.map(({ token }) => token))
    expect(error.accepted).toHaveLength(1_000)
    expect(queue.enqueueMany).toHaveBeenCalledTimes(2)
    const refused = queue.enqueueMany.mock.calls[1]?.[0].map(({ token }) => token) ?? []
    expect(await jobs.status(refused[7] as string)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
    expect(await jobs.status(error.accepted?.[7] as string)).toMatchObject({ status: 'pending' })
  })

  test('that fails half-way counts as accepted also what had started in the batch that failed', async () => {
    const shared = makeShared()
    const begin = startElsewhere(shared, (id) => id === 1)
    shared.queue.enqueueMany.mockImplementation(async (envelopes) => {
      await Promise.all(envelopes.map(begin))
      throw away
    })
    const failing = rejection(shared.service.executeJobs('after', 'create', ids(3)))
    await vi.advanceTimersByTimeAsync(1_000)
    const error = (await failing) as AfterJobsError
    const tokens = shared.queue.enqueueMany.mock.calls[0]?.[0].map(({ token }) => token) ?? []
    expect(error.accepted).toEqual([tokens[1]])
    const statuses = await Promise.all(tokens.map((token) => shared.jobs.status(token)))
    expect(statuses.map(({ status }) => status)).toEqual(['error', 'running', 'error'])
  })

  test('that hangs rejects within enqueueTimeout', async () => {
    const { service, queue, afterMs } = makeShared()
    queue.enqueueMany.mockImplementation(hang)
    const failing = afterMs(service.executeJobs('after', 'create', ids(3)))
    await vi.advanceTimersByTimeAsync(30_000)
    const { error, ms } = await failing
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', accepted: [] })
    expect(ms).toBeLessThanOrEqual(5_100)
  })

  test('in memory takes all or nothing, in one call', async () => {
    const queue = memoryQueue({ autoStart: false, maxWaiting: 1_500 })
    const enqueueMany = vi.spyOn(queue, 'enqueueMany')
    const { service, jobs } = makeBench({ afterCreateJob() {} }, { queue })
    expect(await rejection(service.executeJobs('after', 'create', ids(1_501)))).toMatchObject({ code: 'QUEUE_FULL' })
    expect(await jobs.health()).toMatchObject({ waiting: 0 })
    expect(await service.executeJobs('after', 'create', ids(1_500))).toHaveLength(1_500)
    expect(await jobs.health()).toMatchObject({ waiting: 1_500 })
    expect(enqueueMany).toHaveBeenCalledTimes(2)
  })
})

describe('a message for a job that has ended', () => {
  const makeWorker = async (hooks: Hooks) => {
    const shared = makeShared()
    shared.jobs.register('bench', () => hooks)
    shared.jobs.work()
    const end = async (fields: Partial<JobRecord>) => {
      const envelope = makeEnvelope()
      await shared.cache.write(envelope.token, makeRunning({ ...fields, finishedAt: Date.now() }), 60_000)
      return envelope
    }
    return { ...shared, end }
  }

  test('as done is not run again, and the queue may forget it', async () => {
    const hooks = { afterCreateJob: vi.fn(), afterCreateJobFailed: vi.fn() }
    const { queue, end } = await makeWorker(hooks)
    expect(await queue.deliver(await end({ status: 'done', progress: 100 }))).toMatchObject({ type: 'completed' })
    expect(hooks.afterCreateJob).not.toHaveBeenCalled()
    expect(hooks.afterCreateJobFailed).not.toHaveBeenCalled()
  })

  test.each(['timeout', 'unexpected', 'failed', 'cancelled', 'worker_lost'] as const)(
    'as %s is compensated only',
    async (code) => {
      const hooks = { afterCreateJob: vi.fn(), afterCreateJobFailed: vi.fn() }
      const { queue, jobs, end } = await makeWorker(hooks)
      const envelope = await end({ status: 'error', code, message: 'It failed' })
      expect(await queue.deliver(envelope)).toMatchObject({ type: 'failed' })
      expect(hooks.afterCreateJob).not.toHaveBeenCalled()
      expect(hooks.afterCreateJobFailed).toHaveBeenCalledOnce()
      const [id, token, error] = hooks.afterCreateJobFailed.mock.calls[0] ?? []
      expect([id, token]).toEqual([envelope.id, envelope.token])
      expect(error).toBeInstanceOf(Error)
      expect(await jobs.status(envelope.token)).toMatchObject({ status: 'error', code, message: 'It failed' })
    },
  )

  test('keeps the queue waiting until JobFailed has returned', async () => {
    const gate = makeGate()
    const { queue, end } = await makeWorker({ afterCreateJob() {}, afterCreateJobFailed: () => gate.opened })
    const answered = vi.fn()
    const answer = queue.deliver(await end({ status: 'error', code: 'failed', message: 'x' })).then(answered)
    await vi.advanceTimersByTimeAsync(1_000)
    expect(answered).not.toHaveBeenCalled()
    gate.open()
    await answer
    expect(answered).toHaveBeenCalledOnce()
  })
})

describe('a worker on a queue that processes share', () => {
  const makeWorker = (hooks: Hooks, cache = faultyCache()) => {
    const shared = makeShared({ cache })
    shared.jobs.register('bench', () => hooks)
    shared.jobs.work()
    return { ...shared, faulty: cache }
  }

  test('runs each job on a service of its own, from the envelope alone', async () => {
    const shared = makeShared()
    const factory = vi.fn(async () => ({ afterCreateJob: (id: unknown) => ({ result: id }) }))
    shared.jobs.register('bench', factory)
    shared.jobs.work()
    for (const id of ['a', 'b']) {
      const envelope = makeEnvelope({ id })
      const answer = await shared.queue.deliver(envelope)
      expect(answer).toEqual({ type: 'completed', outcome: { status: 'done', result: id } })
      expect(await shared.jobs.status(envelope.token)).toMatchObject({ status: 'done', result: id })
    }
    expect(factory).toHaveBeenCalledTimes(2)
  })

  test('answers retry with the delay of the backoff, and counts by the delivery', async () => {
    const { queue, jobs } = makeWorker({ afterCreateJob: () => Promise.reject(new Error('no')) })
    const envelope = makeEnvelope({ attempts: 3, backoff: { type: 'exponential', delay: 100 } })
    expect(await queue.deliver(envelope, { attempt: 1 })).toEqual({ type: 'retry', delay: 100 })
    expect(await queue.deliver(envelope, { attempt: 2 })).toEqual({ type: 'retry', delay: 200 })
    expect(await queue.deliver(envelope, { attempt: 3 })).toMatchObject({ type: 'failed' })
    expect(await jobs.status(envelope.token)).toMatchObject({ status: 'error', attempt: 3 })
  })

  test('hands back with a delay what it does not know, and ends it as missing_hook only after 10 minutes', async () => {
    const { queue, jobs } = makeWorker({ afterCreateJob() {} })
    for (const fields of [{ service: 'other' }, { hook: 'afterRemoveJob' }, { version: 2 as 1 }]) {
      const envelope = makeEnvelope(fields)
      const since = Date.now()
      for (;;) {
        const answer = await queue.deliver(envelope)
        if (answer.type === 'failed') break
        expect(answer).toMatchObject({ type: 'handed back', delay: expect.any(Number) })
        expect((answer as { delay: number }).delay).toBeGreaterThan(0)
        await vi.advanceTimersByTimeAsync((answer as { delay: number }).delay)
      }
      expect(Date.now() - since).toBeGreaterThanOrEqual(600_000)
      expect(await jobs.status(envelope.token)).toMatchObject({ status: 'error', code: 'missing_hook' })
    }
  })

  test.each(['constructor', '__proto__', 'toString', 'afterCreateJobFailed', 'executeJob', 'delete', 'afterJob', ''])(
    'never calls %j, which is no hook',
    async (hook) => {
      const spy = vi.fn()
      const { jobs, queue } = makeWorker({ afterCreateJobFailed: spy, [hook || 'none']: spy } as Hooks)
      const envelope = makeEnvelope({ hook })
      expect(await queue.deliver(envelope)).toMatchObject({ type: 'failed', outcome: { code: 'missing_hook' } })
      expect(spy).not.toHaveBeenCalled()
      expect(await jobs.status(envelope.token)).toMatchObject({ status: 'error', code: 'missing_hook' })
    },
  )

  test('hands back a job that it cannot claim because the cache is away, unharmed', async () => {
    const hook = vi.fn()
    const { queue, faulty } = makeWorker({ afterCreateJob: hook })
    faulty.fault = 'rejects'
    expect(await queue.deliver(makeEnvelope())).toMatchObject({ type: 'handed back', delay: expect.any(Number) })
    expect(hook).not.toHaveBeenCalled()
  })

  test('counts no crash for a start that was stored but not answered', async () => {
    const hook = vi.fn()
    const { queue, faulty, jobs } = makeWorker({ afterCreateJob: hook })
    const { write } = faulty
    let isDeaf = true
    faulty.write = async (token, record, ttl) => {
      const isStored = await write(token, record, ttl)
      if (isStored && isDeaf && record.status === 'running') throw new Error('the answer was lost')
      return isStored
    }
    const envelope = makeEnvelope()
    for (let delivery = 1; delivery <= 3; delivery++) {
      expect(await queue.deliver(envelope)).toMatchObject({ type: 'handed back' })
      expect(await jobs.status(envelope.token)).toMatchObject({ status: 'pending' })
    }
    isDeaf = false
    expect(await queue.deliver(envelope)).toMatchObject({ type: 'completed' })
    expect(hook).toHaveBeenCalledTimes(1)
  })

  test('repeats the storing of an end until the cache takes it, and answers the queue only then', async () => {
    const { queue, faulty, jobs } = makeWorker({
      async afterCreateJob() {
        faulty.fault = 'rejects'
        return { result: 1 }
      },
    })
    const envelope = makeEnvelope()
    const answered = vi.fn()
    const answer = queue.deliver(envelope).then(answered)
    await vi.advanceTimersByTimeAsync(120_000)
    expect(answered).not.toHaveBeenCalled()
    faulty.fault = 'none'
    await vi.advanceTimersByTimeAsync(10_000)
    await answer
    expect(answered).toHaveBeenCalledWith({ type: 'completed', outcome: { status: 'done', result: 1 } })
    expect(await jobs.status(envelope.token)).toMatchObject({ status: 'done', result: 1 })
  })

  test('ends a job as worker_lost with its third crash, and compensates', async () => {
    const hooks = { afterCreateJob: vi.fn(hang), afterCreateJobFailed: vi.fn() }
    const { queue, jobs } = makeWorker(hooks)
    const envelope = makeEnvelope()
    // A delivery of a job that still seems to run is how a crash shows.
    for (let start = 0; start < 3; start++) {
      void queue.deliver(envelope)
      await vi.advanceTimersByTimeAsync(10)
      expect(await jobs.status(envelope.token)).toMatchObject({ status: 'running', attempt: 1 })
    }
    expect(await queue.deliver(envelope)).toMatchObject({ type: 'failed', outcome: { code: 'worker_lost' } })
    expect(hooks.afterCreateJob).toHaveBeenCalledTimes(3)
    expect(hooks.afterCreateJobFailed).toHaveBeenCalledOnce()
  })

  test('aborts a run whose lock is lost, writes nothing more of it, and leaves the job to the other', async () => {
    const lock = new AbortController()
    const reasons: unknown[] = []
    const { queue, jobs, events, cache } = makeWorker({
      async afterCreateJob(_id, _token, { signal }) {
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        reasons.push(signal.reason)
        throw new Error('interrupted')
      },
    })
    const envelope = makeEnvelope()
    const answer = queue.deliver(envelope, { attempt: 1, signal: lock.signal })
    await vi.advanceTimersByTimeAsync(10)
    const before = cache.versions(envelope.token).length
    lock.abort(new Error('lock lost'))
    expect(await answer).toMatchObject({ type: 'handed back' })
    expect(reasons).toHaveLength(1)
    expect(cache.versions(envelope.token)).toHaveLength(before)
    expect(events.filter(({ event }: JobEvent) => event === 'error')).toEqual([])
    expect(await jobs.status(envelope.token)).toMatchObject({ status: 'running' })
  })
})

test('a shared queue beside a local cache is refused where the runtime is made', () => {
  expect(() => createAfterJobs({ queue: stubQueue() })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
})

describe('a write whose answer was lost', () => {
  /** Stores what fits, and then behaves as a connection that breaks, and sends again, would: the second try finds the first. */
  function forgetful(isLost: (record: JobRecord) => boolean) {
    const cache = faultyCache()
    const { write } = cache
    cache.write = async (token, record, ttl) => {
      const isStored = await write(token, record, ttl)
      return isLost(record) ? write(token, record, ttl) : isStored
    }
    return cache
  }

  function makeWorker(hooks: Hooks, cache: FaultyCache) {
    const shared = makeShared({ cache }, hooks)
    shared.jobs.register('bench', () => hooks)
    shared.jobs.work()
    return shared
  }

  test('of a refusal is a refusal', async () => {
    const { queue, start, events } = makeShared({ cache: forgetful(({ code }) => code === 'enqueue_failed') })
    queue.enqueue.mockRejectedValue(away)
    expect(await rejection(start())).toMatchObject({ code: 'ENQUEUE_FAILED' })
    expect(events.map(({ event }) => event)).toEqual(['error'])
  })

  test('of an attempt that failed leaves the next one its number and its backoff', async () => {
    const cache = forgetful(({ status, run }) => status === 'pending' && run > 0)
    const { queue } = makeWorker({ afterCreateJob: () => Promise.reject(new Error('no')) }, cache)
    const envelope = makeEnvelope({ attempts: 2, backoff: { type: 'fixed', delay: 100 } })
    expect(await queue.deliver(envelope)).toEqual({ type: 'retry', delay: 100 })
  })

  test('of a cancellation is announced to the queue', async () => {
    const { queue, start, jobs } = makeShared({ cache: forgetful(({ code }) => code === 'cancelled') })
    const token = await start()
    await jobs.cancel(token)
    expect(queue.cancel).toHaveBeenCalledWith(token)
  })
})

test('what was not stored of many new jobs is told to nobody', async () => {
  const cache = distantCache()
  const gate = makeGate()
  const writeMany = async (entries: readonly unknown[]) => {
    await gate.opened
    return entries.map(() => false)
  }
  const { jobs, service } = makeShared({ cache: { ...cache, writeMany } })
  const seen: string[] = []
  const watched = new Promise<void>((resolve) => {
    jobs.on('queued', async ({ token }) => {
      // By the clock of a worker that is a little behind.
      const running = makeRunning({ updatedAt: Date.now() - 50 })
      await cache.write(String(token), running, 60_000)
      for await (const { status } of jobs.watch(String(token), { interval: 10 })) {
        seen.push(status)
        if (status !== 'running') continue
        gate.open()
        const end = { version: 2, status: 'done', progress: 100, finishedAt: Date.now() } as const
        setTimeout(() => cache.write(String(token), makeRunning(end), 60_000), 50)
      }
      resolve()
    })
  })
  const started = service.executeJobs('after', 'create', [1])
  await vi.advanceTimersByTimeAsync(100)
  await Promise.all([started, watched])
  expect(seen).toEqual(['running', 'done'])
})

test('a job that comes again while it is compensated for, because its lock was lost, is not compensated for twice', async () => {
  const gate = makeGate()
  const failed = vi.fn(() => gate.opened)
  const hooks: Hooks = { afterCreateJob: () => Promise.reject(new JobError('no')), afterCreateJobFailed: failed }
  const { queue, jobs } = makeShared({}, hooks)
  jobs.register('bench', () => hooks)
  jobs.work()
  const envelope = makeEnvelope()
  const first = queue.deliver(envelope)
  await vi.waitFor(() => expect(failed).toHaveBeenCalledOnce())
  const again = queue.deliver(envelope)
  await vi.advanceTimersByTimeAsync(100)
  gate.open()
  expect(await Promise.all([first, again])).toMatchObject([{ type: 'failed' }, { type: 'failed' }])
  expect(await queue.deliver(envelope)).toMatchObject({ type: 'failed' })
  expect(failed).toHaveBeenCalledOnce()
})

test('an error whose message is none has a status, and an answer that any queue can carry', async () => {
  const error = new JobError('x')
  Object.defineProperty(error, 'message', { value: 5n })
  const hooks: Hooks = { afterCreateJob: () => Promise.reject(error) }
  const { queue, jobs } = makeShared({}, hooks)
  jobs.register('bench', () => hooks)
  jobs.work()
  const answer = await queue.deliver(makeEnvelope())
  expect(JSON.parse(JSON.stringify(answer))).toMatchObject({ outcome: { code: 'failed', message: expect.any(String) } })
})

import { AfterJobsError, createAfterJobs, memoryCache, memoryQueue } from 'after-jobs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { aborted, type Bench, type Hooks, makeBench, makeGate, makeService, rejection, turns } from './support/runtime'
import { distantCache } from './support/spies'

const manual = () => ({ queue: memoryQueue({ autoStart: false }) })

/** A bench whose jobs hang until the gate opens, and that counts how many run at once. */
function crowdBench(options: Parameters<typeof makeBench>[1] = {}) {
  const gate = makeGate()
  const load = { now: 0, most: 0 }
  const bench = makeBench(
    {
      async afterCreateJob() {
        load.most = Math.max(load.most, ++load.now)
        await gate.opened
        load.now--
      },
    },
    options,
  )
  return { ...bench, gate, load }
}

/** Records what each start of the hook was given, and lives until `live` ends. */
function watchedBench(live: (signal: AbortSignal) => Promise<unknown>, options = manual()) {
  const starts: { attempt: number; signal: AbortSignal }[] = []
  const failed = vi.fn()
  const bench = makeBench(
    {
      async afterCreateJob(_id, _token, { signal }, { attempt }) {
        starts.push({ attempt, signal })
        await live(signal)
      },
      afterCreateJobFailed: failed,
    },
    options,
  )
  return { ...bench, starts, failed }
}

const startMany = ({ start }: Bench, count: number) => Promise.all(Array.from({ length: count }, (_, id) => start(id)))

afterEach(() => {
  vi.useRealTimers()
})

describe('work', () => {
  test.each([1, 3, 7])(
    'runs %i jobs at once and no more, whatever the queue would do by itself',
    async (concurrency) => {
      const bench = crowdBench(manual())
      const worker = bench.jobs.work({ concurrency })
      await startMany(bench, 20)
      await vi.waitFor(() => expect(bench.load.now).toBe(concurrency))
      bench.gate.open()
      await bench.jobs.drain()
      expect(bench.load.most).toBe(concurrency)
      await worker.close()
    },
  )

  test('without an option runs one at a time', async () => {
    const bench = crowdBench()
    bench.jobs.work()
    await startMany(bench, 5)
    await vi.waitFor(() => expect(bench.load.now).toBe(1))
    await turns(5)
    bench.gate.open()
    await bench.jobs.drain()
    expect(bench.load.most).toBe(1)
  })

  test('overrides the concurrency of a queue that starts by itself, also upwards', async () => {
    const bench = crowdBench({ queue: memoryQueue({ concurrency: 2 }) })
    bench.jobs.work({ concurrency: 6 })
    await startMany(bench, 10)
    await vi.waitFor(() => expect(bench.load.now).toBe(6))
    bench.gate.open()
    await bench.jobs.drain()
    expect(bench.load.most).toBe(6)
  })

  test("the queue's own concurrency holds without a worker", async () => {
    const bench = crowdBench({ queue: memoryQueue({ concurrency: 2 }) })
    await startMany(bench, 10)
    await vi.waitFor(() => expect(bench.load.now).toBe(2))
    bench.gate.open()
    await bench.jobs.drain()
    expect(bench.load.most).toBe(2)
  })

  test('two workers add up, and share the jobs', async () => {
    const bench = crowdBench(manual())
    bench.jobs.work({ concurrency: 2 })
    bench.jobs.work({ concurrency: 3 })
    await startMany(bench, 12)
    await vi.waitFor(() => expect(bench.load.now).toBe(5))
    bench.gate.open()
    await bench.jobs.drain()
    expect(bench.load.most).toBe(5)
    expect(bench.events.filter(({ event }) => event === 'done')).toHaveLength(12)
  })

  test.each([0, -1, 1.5, Number.NaN, '2' as unknown as number])('refuses a concurrency of %s', (concurrency) => {
    const jobs = createAfterJobs()
    expect(() => jobs.work({ concurrency })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }))
  })

  test('takes up what waited before it', async () => {
    const bench = makeBench({ afterCreateJob() {} }, manual())
    const tokens = await startMany(bench, 3)
    expect(await bench.jobs.status(tokens[0] as string)).toMatchObject({ status: 'pending' })
    bench.jobs.work()
    for (const token of tokens) expect(await bench.jobs.settled(token)).toMatchObject({ status: 'done' })
  })
})

describe('worker.close', () => {
  test('takes no more jobs, and waits for those that run', async () => {
    const bench = crowdBench(manual())
    const worker = bench.jobs.work({ concurrency: 2 })
    const tokens = await startMany(bench, 5)
    await vi.waitFor(() => expect(bench.load.now).toBe(2))
    const closed = vi.fn()
    const closing = worker.close().then(closed)
    await turns(5)
    expect(closed).not.toHaveBeenCalled()
    bench.gate.open()
    await closing
    await turns(5)
    const statuses = await Promise.all(tokens.map((token) => bench.jobs.status(token)))
    expect(statuses.map(({ status }) => status)).toEqual(['done', 'done', 'pending', 'pending', 'pending'])
    expect(await bench.jobs.health()).toMatchObject({ waiting: 3, active: 0, workers: 0 })
  })

  test('does not abort within its grace', async () => {
    vi.useFakeTimers()
    const { jobs, start, starts } = watchedBench(() => new Promise((resolve) => setTimeout(resolve, 9_000)))
    const worker = jobs.work()
    const token = await start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close()
    await vi.advanceTimersByTimeAsync(9_500)
    await closing
    expect(starts[0]?.signal.aborted).toBe(false)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test.each([
    ['by default after 10 s', undefined, 10_000],
    ['after its grace', { grace: 300 }, 300],
  ])('aborts %s', async (_, options, grace) => {
    vi.useFakeTimers()
    const { jobs, start, starts } = watchedBench(aborted)
    const worker = jobs.work()
    await start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close(options)
    await vi.advanceTimersByTimeAsync(grace - 20)
    expect(starts[0]?.signal.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(40)
    expect(starts[0]?.signal.aborted).toBe(true)
    expect(starts[0]?.signal.reason).toBeInstanceOf(Error)
    await closing
  })

  const throwing = (signal: AbortSignal) => aborted(signal).then(() => Promise.reject(signal.reason))
  test.each<[string, (signal: AbortSignal, later: Promise<void>) => Promise<unknown>]>([
    ['throws the reason', throwing],
    ['throws something else', (signal) => aborted(signal).then(() => Promise.reject(new Error('interrupted')))],
    ['does not listen, and succeeds later', (_, later) => later],
    ['does not listen, and fails later', (_, later) => later.then(() => Promise.reject(new Error('later')))],
  ])('hands back a job whose hook %s: neither failed nor an attempt', async (_, live) => {
    vi.useFakeTimers()
    const later = makeGate()
    let isFirst = true
    const bench = watchedBench(async (signal) => {
      if (!isFirst) return
      isFirst = false
      await live(signal, later.opened)
    })
    const worker = bench.jobs.work()
    const token = await bench.start(1, { attempts: 1 })
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 100 })
    await vi.advanceTimersByTimeAsync(5_000)
    await closing
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1, progress: 0, code: null })
    expect(await bench.jobs.health()).toMatchObject({ waiting: 1, active: 0 })
    bench.jobs.work()
    await vi.advanceTimersByTimeAsync(10)
    later.open()
    await vi.advanceTimersByTimeAsync(10)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done', attempt: 1 })
    expect(bench.starts.map(({ attempt }) => attempt)).toEqual([1, 1])
    expect(bench.events.map(({ event }) => event)).toEqual(['queued', 'started', 'started', 'done'])
    expect(bench.failed).not.toHaveBeenCalled()
  })

  test('keeps the result of a job that ends well after the abort', async () => {
    vi.useFakeTimers()
    const { jobs, start, starts } = watchedBench(aborted)
    const worker = jobs.work()
    const token = await start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(5_000)
    await closing
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
    expect(starts).toHaveLength(1)
  })

  test('a time-out that strikes while the worker closes is a time-out: final, and not run again', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const { jobs, start, starts, failed } = watchedBench(() => gate.opened)
    const worker = jobs.work()
    const token = await start(1, { timeout: 200 })
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 0 })
    jobs.work()
    await vi.advanceTimersByTimeAsync(250)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout' })
    gate.open()
    await vi.advanceTimersByTimeAsync(1_000)
    await closing
    expect(starts).toHaveLength(1)
    expect(failed).toHaveBeenCalledOnce()
  })

  test('what a hook that did not listen does after the hand-back changes nothing', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const { jobs, cache, start } = makeBench(
      {
        async afterCreateJob(_id, _token, progress) {
          await gate.opened
          progress.set(90)
          progress.label('too late')
          throw new Error('too late')
        },
      },
      manual(),
    )
    const worker = jobs.work()
    const token = await start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(5_000)
    await closing
    const before = cache.versions(token).length
    gate.open()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(cache.versions(token)).toHaveLength(before)
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', progress: 0, label: null })
  })

  test('hands back the third attempt as the third attempt', async () => {
    vi.useFakeTimers()
    const attempts: number[] = []
    const { jobs, start } = makeBench(
      {
        async afterCreateJob(_id, _token, { signal }, { attempt }) {
          attempts.push(attempt)
          if (attempts.length === 4) return
          if (attempt === 3) await throwing(signal)
          throw new Error('again')
        },
      },
      manual(),
    )
    const worker = jobs.work()
    const token = await start(1, { attempts: 3 })
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(5_000)
    await closing
    jobs.work()
    await vi.advanceTimersByTimeAsync(10)
    expect(attempts).toEqual([1, 2, 3, 3])
    expect(await jobs.status(token)).toMatchObject({ status: 'done', attempt: 3 })
  })

  test('a hundred hand-backs are neither attempts nor crashes', async () => {
    vi.useFakeTimers()
    const { jobs, start, starts } = watchedBench(throwing)
    const token = await start()
    for (let round = 0; round < 100; round++) {
      const worker = jobs.work()
      await vi.advanceTimersByTimeAsync(10)
      const closing = worker.close({ grace: 0 })
      await vi.advanceTimersByTimeAsync(1_000)
      await closing
    }
    expect(starts).toHaveLength(100)
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 })
  })

  test('aborts also the job that it was claiming when its grace ended', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const inner = distantCache()
    const read = (token: string) => gate.opened.then(() => inner.read(token))
    const { jobs, start, starts } = watchedBench(aborted, { ...manual(), cache: { ...inner, read } } as never)
    const worker = jobs.work()
    await start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = worker.close({ grace: 0 })
    await vi.advanceTimersByTimeAsync(100)
    gate.open()
    await vi.advanceTimersByTimeAsync(10_000)
    await closing
    expect(starts.filter(({ signal }) => !signal.aborted)).toEqual([])
  })

  test('called twice, or as a disposable, closes once', async () => {
    const bench = crowdBench(manual())
    const worker = bench.jobs.work()
    await bench.start()
    await vi.waitFor(() => expect(bench.load.now).toBe(1))
    const closings = [worker.close(), worker.close({ grace: 0 }), worker[Symbol.asyncDispose]()]
    bench.gate.open()
    await Promise.all(closings)
    await worker.close()
    expect(bench.events.map(({ event }) => event)).toEqual(['queued', 'started', 'done'])
  })

  test('leaves other workers alone', async () => {
    const bench = crowdBench(manual())
    const first = bench.jobs.work()
    bench.jobs.work()
    await first.close()
    const tokens = await startMany(bench, 3)
    bench.gate.open()
    for (const token of tokens) expect(await bench.jobs.settled(token)).toMatchObject({ status: 'done' })
    expect(bench.load.most).toBe(1)
  })
})

describe('runNext', () => {
  test('runs one job to its end and says so; false when none is due', async () => {
    const ids: unknown[] = []
    const bench = makeBench({ afterCreateJob: (id) => void ids.push(id) }, manual())
    expect(await bench.jobs.runNext()).toBe(false)
    await bench.start('a')
    await bench.start('b')
    await bench.start('late', { delay: 60_000 })
    expect(await bench.jobs.runNext()).toBe(true)
    expect(ids).toEqual(['a'])
    expect(await bench.jobs.runNext()).toBe(true)
    expect(await bench.jobs.runNext()).toBe(false)
    expect(ids).toEqual(['a', 'b'])
  })

  test('never rejects because of the job', async () => {
    const bench = makeBench(
      { afterCreateJob: () => Promise.reject(undefined), afterCreateJobFailed: () => Promise.reject(new Error('x')) },
      manual(),
    )
    const token = await bench.start()
    expect(await bench.jobs.runNext()).toBe(true)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'error' })
  })

  test('side by side, each runs a job of its own', async () => {
    const bench = crowdBench(manual())
    await startMany(bench, 3)
    const running = [1, 2, 3, 4].map(() => bench.jobs.runNext())
    await vi.waitFor(() => expect(bench.load.now).toBe(3))
    bench.gate.open()
    expect((await Promise.all(running)).toSorted()).toEqual([false, true, true, true])
  })

  test('takes a higher priority first', async () => {
    const ids: unknown[] = []
    const bench = makeBench({ afterCreateJob: (id) => void ids.push(id) }, manual())
    for (const priority of [0, -5, 1_000, 3]) await bench.start(priority, { priority })
    while (await bench.jobs.runNext());
    expect(ids).toEqual([1_000, 3, 0, -5])
  })
})

test('close waits for the jobs that ran before work() was called', async () => {
  const bench = crowdBench()
  const token = await bench.start()
  await vi.waitFor(() => expect(bench.load.now).toBe(1))
  bench.jobs.work()
  const closed = vi.fn()
  const closing = bench.jobs.close().then(closed)
  await turns(5)
  expect(closed).not.toHaveBeenCalled()
  bench.gate.open()
  await closing
  expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
})

test('a listener that hears of a job finds its status', async () => {
  const bench = makeBench({ afterCreateJob() {} }, { context: { capture: () => 'who' } })
  const seen: unknown[] = []
  bench.jobs.on('queued', async ({ token }) => seen.push(await bench.jobs.record(token ?? '')))
  await bench.start(1, { attempts: 5 })
  await bench.jobs.drain()
  expect(seen).toMatchObject([{ status: 'pending', attempts: 5, context: 'who' }])
})

describe('drain', () => {
  test('resolves at once when there is nothing to do', async () => {
    await makeBench({}).jobs.drain()
  })

  test('waits for what waits, runs, is delayed, is tried again, and is started meanwhile', async () => {
    let calls = 0
    const hooks: Hooks = {
      async afterCreateJob(id) {
        if (id === 'fails' && ++calls < 3) throw new Error('again')
        if (id === 'starts') await bench.service.executeJob('after', 'update', 'child')
      },
      async afterUpdateJob() {
        await turns(2)
      },
    }
    const bench = makeBench(hooks)
    const options = { attempts: 3, backoff: { type: 'fixed', delay: 5 } } as const
    await Promise.all([bench.start('fails', options), bench.start('late', { delay: 15 }), bench.start('starts')])
    await bench.jobs.drain()
    expect(
      bench.events
        .filter(({ event }) => event === 'done')
        .map(({ id }) => id)
        .toSorted(),
    ).toEqual(['child', 'fails', 'late', 'starts'].toSorted())
    expect(await bench.jobs.health()).toMatchObject({ waiting: 0, active: 0 })
  })

  test('waits for the compensation of what was cancelled', async () => {
    const gate = makeGate()
    const bench = makeBench({ afterCreateJob() {}, afterCreateJobFailed: () => gate.opened })
    await bench.jobs.cancel(await bench.start(1, { delay: 60_000 }))
    const drained = vi.fn()
    const draining = bench.jobs.drain().then(drained)
    await turns(5)
    expect(drained).not.toHaveBeenCalled()
    gate.open()
    await draining
  })

  test('resolves after a job that another process has cancelled, and so did not run here', async () => {
    const here = makeBench({ afterCreateJob() {} }, manual())
    const there = makeBench({}, { cache: here.cache })
    await there.jobs.cancel(await here.start())
    here.jobs.work()
    await here.jobs.drain({ signal: AbortSignal.timeout(5_000) })
    expect(await here.jobs.health()).toMatchObject({ waiting: 0, active: 0 })
  })

  test.each<[string, Hooks]>([
    ['succeeds at once', { afterCreateJob() {} }],
    ['succeeds later', { afterCreateJob: () => turns(1) }],
    ['fails at once', { afterCreateJob: () => 'error', afterCreateJobFailed() {} }],
    ['fails later', { afterCreateJob: () => Promise.reject(new Error('no')) }],
  ])('may be called at any moment around the end of a job that %s', async (_, hooks) => {
    for (let steps = 0; steps < 40; steps++) {
      const bench = makeBench(hooks)
      const ended = makeGate()
      bench.jobs.on('done', () => ended.open())
      bench.jobs.on('error', () => ended.open())
      await bench.start()
      await ended.opened
      for (let step = 0; step < steps; step++) await null
      await bench.jobs.drain({ signal: AbortSignal.timeout(5_000) })
    }
  })

  test('does not count anew with each of a thousand jobs where a database must count', async () => {
    const queue = { ...memoryQueue({ concurrency: 1, autoStart: false }), isShared: true }
    const health = vi.spyOn(queue, 'health')
    const bench = makeBench({ afterCreateJob: () => turns(1) }, { queue, cache: distantCache() })
    bench.jobs.register('bench', () => bench.service)
    await startMany(bench, 1_000)
    bench.jobs.work({ concurrency: 1 })
    await bench.jobs.drain()
    expect(bench.events.filter(({ event }) => event === 'done')).toHaveLength(1_000)
    expect(health.mock.calls.length).toBeLessThan(100)
  })

  test('serves several at once', async () => {
    const bench = crowdBench()
    await startMany(bench, 3)
    const draining = [bench.jobs.drain(), bench.jobs.drain(), bench.jobs.drain()]
    bench.gate.open()
    await Promise.all(draining)
    expect(bench.events.filter(({ event }) => event === 'done')).toHaveLength(3)
  })

  test('rejects at once with NO_WORKER where nothing consumes', async () => {
    const bench = makeBench({ afterCreateJob() {} }, manual())
    await bench.start()
    const error = await rejection(bench.jobs.drain())
    expect(AfterJobsError.is(error)).toBe(true)
    expect(error).toMatchObject({ code: 'NO_WORKER' })
    const worker = bench.jobs.work()
    await bench.jobs.drain()
    await worker.close()
    expect(await rejection(bench.jobs.drain())).toMatchObject({ code: 'NO_WORKER' })
  })

  test('rejects when the last worker closes while jobs still wait', async () => {
    const bench = crowdBench(manual())
    const worker = bench.jobs.work()
    await startMany(bench, 2)
    await vi.waitFor(() => expect(bench.load.now).toBe(1))
    const draining = rejection(bench.jobs.drain())
    const closing = worker.close()
    bench.gate.open()
    await closing
    expect(await draining).toMatchObject({ code: 'NO_WORKER' })
  })

  test("rejects with the signal's reason, before and while it waits", async () => {
    const bench = crowdBench()
    await bench.start()
    const reason = { why: 'enough' }
    expect(await rejection(bench.jobs.drain({ signal: AbortSignal.abort(reason) }))).toBe(reason)
    const controller = new AbortController()
    const draining = rejection(bench.jobs.drain({ signal: controller.signal }))
    await turns(2)
    controller.abort(reason)
    expect(await draining).toBe(reason)
    bench.gate.open()
    await bench.jobs.drain({ signal: new AbortController().signal })
  })
})

describe('health', () => {
  test('counts what waits, delayed jobs too, what is active, and the workers', async () => {
    const bench = crowdBench(manual())
    expect(await bench.jobs.health()).toEqual({ waiting: 0, active: 0, workers: 0, queue: 'up', cache: 'up' })
    bench.jobs.work({ concurrency: 2 })
    await startMany(bench, 3)
    await bench.start(9, { delay: 60_000 })
    await vi.waitFor(() => expect(bench.load.now).toBe(2))
    expect(await bench.jobs.health()).toEqual({ waiting: 2, active: 2, workers: 1, queue: 'up', cache: 'up' })
    bench.gate.open()
  })

  test.each<[string, () => Promise<never>]>([
    ['reject', () => Promise.reject(new Error('away'))],
    [
      'throw at once',
      () => {
        throw new Error('away')
      },
    ],
  ])('never rejects: a cache and a queue that %s are down', async (_, away) => {
    const queue = { ...memoryQueue(), health: away }
    const jobs = createAfterJobs({ queue, cache: { ...distantCache(), read: away } })
    expect(await jobs.health()).toEqual({ waiting: 0, active: 0, workers: 0, queue: 'down', cache: 'down' })
  })
})

describe('two runtimes', () => {
  test('run their own jobs only, and see those of the other where they share a cache', async () => {
    const cache = memoryCache()
    const [one, two] = [createAfterJobs({ cache }), createAfterJobs({ cache })]
    const hook = vi.fn()
    const token = (await makeService(one, { afterCreateJob: hook }).executeJob('after', 'create', 1)) as string
    expect(await two.settled(token)).toMatchObject({ status: 'done' })
    expect(hook).toHaveBeenCalledOnce()
    expect(await two.health()).toMatchObject({ waiting: 0, active: 0 })
  })
})

test('a queue that starts by itself hears of the runtime before anything else is asked of it', async () => {
  const calls: string[] = []
  const queue = new Proxy(memoryQueue(), {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member === 'function') calls.push(String(name))
      return member
    },
  })
  const { jobs, start } = makeBench({ afterCreateJob() {} }, { queue })
  expect(await jobs.settled(await start())).toMatchObject({ status: 'done' })
  // What a check of its shape looks at is not called.
  expect(calls.filter((name) => name !== 'enqueue').slice(0, 2)).toEqual(['listen', 'consume'])
})

import { JobError, type JobStatus, memoryQueue, type ProgressReporter } from 'after-jobs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Hooks, makeBench, makeGate, turns } from './support/runtime'

const failing = (times: number, error: () => unknown = () => new Error('not yet')): Hooks => {
  let calls = 0
  return {
    async afterCreateJob() {
      if (++calls <= times) throw error()
    },
  }
}

function fail(error: Error): never {
  throw error
}

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

describe('from queued to done', () => {
  test('a job is pending, then running, then done, with attempt 0 before its first start', async () => {
    const gate = makeGate()
    const { jobs, start } = makeBench({ afterCreateJob: () => gate.opened })
    const token = await start()
    const pending = await jobs.status(token)
    expect(pending).toMatchObject({ token, status: 'pending', progress: 0, attempt: 0, attempts: 1, label: null })
    expect(pending).toMatchObject({ message: null, code: null, startedAt: null, finishedAt: null, parent: null })
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running', attempt: 1 }))
    gate.open()
    const done = await jobs.settled(token)
    expect(done).toMatchObject({ status: 'done', progress: 100, attempt: 1, message: null, code: null, result: null })
  })

  test('its times are in order', async () => {
    const { jobs, start } = makeBench({ async afterCreateJob() {} })
    const before = Date.now()
    const status = (await jobs.settled(await start())) as JobStatus & { status: 'done' }
    const times = [before, status.createdAt, status.startedAt as number, status.finishedAt, Date.now()]
    expect(times).toEqual(times.toSorted((a, b) => a - b))
    expect(status.updatedAt).toBe(status.finishedAt)
  })

  test('its record is stored three times and no more', async () => {
    const { jobs, start, cache } = makeBench({ afterCreateJob() {} })
    const token = await start()
    await jobs.settled(token)
    expect(cache.versions(token).map(({ status }) => status)).toEqual(['pending', 'running', 'done'])
  })

  test('it never starts in the tick of its caller', async () => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const token = await start()
    for (let turn = 0; turn < 100; turn++) await Promise.resolve()
    expect(hook).not.toHaveBeenCalled()
    await jobs.settled(token)
    expect(hook).toHaveBeenCalledOnce()
  })

  test.each(['a', 'é 1', '', 0, -1, 1.5])('the hook is given the id %j, the token and a reporter', async (id) => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const token = await start(id, { payload: { list: [1] } })
    await jobs.drain()
    const [seenId, seenToken, progress, job] = hook.mock.calls[0] ?? []
    expect([seenId, seenToken]).toEqual([id, token])
    expect(job).toMatchObject({ token, id, hook: 'afterCreateJob', service: 'bench', payload: { list: [1] } })
    expect(job).toMatchObject({ attempt: 1, attempts: 1, parent: null })
    expect(job.signal).toBe(progress.signal)
    expect(progress.signal.aborted).toBe(false)
  })

  test.each([
    ['nothing', undefined, null],
    ['done', 'done', null],
    ['a result', { result: { rows: [1, 'ü', null] } }, { rows: [1, 'ü', null] }],
    ['an empty result', { result: null }, null],
    ['zero', { result: 0 }, 0],
  ])('a hook that returns %s is done', async (_, value, result) => {
    const { jobs, start } = makeBench({ afterCreateJob: async () => value })
    expect(await jobs.settled(await start())).toMatchObject({ status: 'done', progress: 100, result })
  })

  test('a result is a copy: what the hook changes later is not seen', async () => {
    const result = { rows: [1] }
    const { jobs, start } = makeBench({ afterCreateJob: () => ({ result }) })
    const token = await start()
    await jobs.settled(token)
    result.rows.push(2)
    expect(await jobs.status(token)).toMatchObject({ result: { rows: [1] } })
  })

  test('the context that was captured reaches the job and the record, not the status', async () => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook }, { context: { capture: () => ({ user: 7 }) } })
    const token = await start()
    expect(await jobs.settled(token)).not.toHaveProperty('context')
    expect(hook.mock.calls[0]?.[3]).toMatchObject({ context: { user: 7 } })
    expect(await jobs.record(token)).toMatchObject({ status: 'done', context: { user: 7 } })
  })
})

describe('a job inside a job', () => {
  test('has its parent set, and its own children have it as theirs', async () => {
    const tokens: (string | undefined)[] = []
    const { jobs, service, start } = makeBench({
      async afterCreateJob(id) {
        tokens.push(await service.executeJob('after', 'update', id))
      },
      async afterUpdateJob(id) {
        if (id === 1) tokens.push(await service.executeJob('after', 'update', 2))
      },
    })
    const token = await start(1)
    await jobs.drain()
    const [child, grandchild] = tokens as [string, string]
    expect(await jobs.status(token)).toMatchObject({ parent: null })
    expect(await jobs.status(child)).toMatchObject({ status: 'done', parent: token })
    expect(await jobs.status(grandchild)).toMatchObject({ status: 'done', parent: child })
  })

  test('has the context of whoever asked for the outer one, and a parent also when JobFailed starts it', async () => {
    let user = 1
    const seen: unknown[] = []
    const { jobs, service, start } = makeBench(
      {
        afterCreateJob: () => 'error',
        async afterCreateJobFailed(id) {
          await service.executeJob('after', 'update', id)
        },
        afterUpdateJob: (_id, _token, _progress, { context, parent }) => void seen.push(context, parent),
      },
      { context: { capture: () => (user === 1 ? { user } : undefined) } },
    )
    const token = await start()
    user = 2
    await jobs.drain()
    expect(seen).toEqual([{ user: 1 }, token])
  })
})

describe('progress', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })

  const runFor = async (ms: number, hook: (progress: ProgressReporter) => Promise<unknown>) => {
    const bench = makeBench({ afterCreateJob: (_id, _token, progress) => hook(progress) as Promise<void> })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(ms)
    return { ...bench, token }
  }
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

  test('is written at most once in 250 ms, however often it changes', async () => {
    const { cache, token, jobs } = await runFor(4_000, async (progress) => {
      progress.total(100_000)
      for (let part = 0; part < 300; part++) {
        for (let tick = 0; tick < 333; tick++) progress.tick()
        await sleep(10)
      }
    })
    const writes = cache.writes.filter(({ record }) => record.status === 'running')
    const gaps = writes.slice(1).map(({ at }, index) => at - (writes[index]?.at ?? 0))
    expect(writes.length).toBeGreaterThan(8)
    expect(writes.length).toBeLessThanOrEqual(1 + 3_100 / 250)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(250)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a million ticks in one go make at most one write beside the end', async () => {
    const { cache, token } = await runFor(1_000, async (progress) => {
      progress.total(2_000_000)
      for (let tick = 0; tick < 1_000_000; tick++) progress.tick()
      await sleep(240)
    })
    const [, , ...rest] = cache.versions(token)
    expect(rest.map(({ status }) => status)).toEqual(['done'])
  })

  test('the newest state is stored before the next write is due', async () => {
    const gate = makeGate()
    const { jobs, token } = await runFor(0, async (progress) => {
      progress.total(200)
      for (let tick = 0; tick < 59; tick++) progress.tick()
      progress.label('Halfway')
      await gate.opened
    })
    await vi.advanceTimersByTimeAsync(260)
    expect(await jobs.status(token)).toMatchObject({ status: 'running', progress: 29, label: 'Halfway' })
    gate.open()
    await vi.advanceTimersByTimeAsync(10)
    expect(await jobs.status(token)).toMatchObject({ status: 'done', progress: 100, label: 'Halfway' })
  })

  test('what is reported while a write is under way is written after it', async () => {
    const { jobs, token } = await runFor(5_000, async (progress) => {
      for (let percent = 1; percent <= 40; percent++) {
        progress.set(percent)
        await sleep(percent === 40 ? 60_000 : 50)
      }
    })
    expect(await jobs.status(token)).toMatchObject({ status: 'running', progress: 40 })
  })

  test.each([
    ['fails', () => Promise.reject(new JobError('no'))],
    ['returns error', async () => 'error'],
    ['succeeds', async () => undefined],
  ])('the newest state is stored with the end when the hook %s at once', async (_, end) => {
    const { jobs, token } = await runFor(1_000, (progress) => {
      progress.set(42.9)
      progress.label('Last words')
      return end()
    })
    const status = await jobs.status(token)
    expect(status).toMatchObject({ label: 'Last words', progress: status.status === 'done' ? 100 : 42 })
  })

  test('is 100 only with done, and never goes back within a run', async () => {
    const { cache, token, jobs } = await runFor(4_000, async (progress) => {
      for (const percent of [10, 60, 5, 100, 20, 99.9]) {
        progress.set(percent)
        await sleep(300)
      }
      throw new JobError('late')
    })
    const percents = cache.versions(token).map(({ progress }) => progress)
    expect(percents).toEqual(percents.toSorted((a, b) => a - b))
    expect(percents).toContain(60)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', progress: 99 })
  })

  test('starts again at 0 for the next attempt, which may then go lower than the last one', async () => {
    const percents = [80, 10]
    const bench = makeBench({
      async afterCreateJob(_id, _token, progress, { attempt }) {
        progress.set(percents[attempt - 1] as number)
        progress.label(`attempt ${attempt}`)
        await sleep(300)
        throw new Error('again')
      },
    })
    const token = await bench.start(1, { attempts: 2 })
    await vi.advanceTimersByTimeAsync(2_000)
    const seen = bench.cache.versions(token).map(({ status, progress, label }) => [status, progress, label])
    expect(seen).toContainEqual(['running', 80, 'attempt 1'])
    expect(seen.filter(([status]) => status === 'pending').map(([, progress]) => progress)).toEqual([0, 0])
    expect(seen).toContainEqual(['running', 10, 'attempt 2'])
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'error', progress: 10, label: 'attempt 2' })
  })

  test('labels are bounded and free of control characters', async () => {
    const { jobs, token } = await runFor(300, async (progress) => {
      progress.label(`a\u0000b\nc${'x'.repeat(1_000_000)}`)
      await sleep(60_000)
    })
    const { label } = (await jobs.status(token)) as JobStatus & { status: 'running' }
    expect(label?.length).toBeLessThanOrEqual(500)
    expect(label).toMatch(/^a b c?x*/)
    expect(label).not.toMatch(/\p{Cc}/u)
  })

  test('a silent job refreshes its record at least every 10 s', async () => {
    const { cache, token, jobs } = await runFor(120_000, () => sleep(115_000))
    const times = cache.versions(token).map(({ updatedAt }) => updatedAt)
    const gaps = times.slice(1).map((time, index) => time - (times[index] as number))
    expect(Math.max(...gaps)).toBeLessThanOrEqual(10_000)
    expect(times.length).toBeLessThan(60)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a job that ticks without moving is refreshed like a silent one', async () => {
    const { cache, token } = await runFor(60_000, async (progress) => {
      for (;;) {
        progress.tick()
        await sleep(20)
      }
    })
    const times = cache.versions(token).map(({ updatedAt }) => updatedAt)
    const gaps = times.slice(1).map((time, index) => time - (times[index] as number))
    expect(times.length).toBeGreaterThan(5)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(10_000)
  })

  test('what a hook reports after its end changes nothing, and leaves no timer', async () => {
    let reporter: ProgressReporter | undefined
    const { cache, token } = await runFor(10, async (progress) => {
      reporter = progress
    })
    await vi.advanceTimersByTimeAsync(2_000)
    const [versions, timers] = [cache.versions(token).length, vi.getTimerCount()]
    reporter?.set(50)
    reporter?.label('late')
    reporter?.split(10).tick()
    expect(vi.getTimerCount()).toBe(timers)
    await vi.advanceTimersByTimeAsync(2_000)
    expect(cache.versions(token)).toHaveLength(versions)
  })

  test('a clock that is set back by an hour stops no heartbeat', async () => {
    const { token, cache } = await runFor(1_000, () => new Promise(() => {}))
    vi.setSystemTime(Date.now() - 3_600_000)
    const before = cache.versions(token).length
    await vi.advanceTimersByTimeAsync(30_000)
    expect(cache.versions(token).length).toBeGreaterThanOrEqual(before + 3)
  })

  test('a clock that is set back by an hour holds no progress up', async () => {
    const { jobs, token } = await runFor(1_000, async (progress) => {
      await sleep(2_000)
      progress.set(30)
      await new Promise(() => {})
    })
    vi.setSystemTime(Date.now() - 3_600_000)
    await vi.advanceTimersByTimeAsync(2_000)
    expect(await jobs.status(token)).toMatchObject({ progress: 30 })
  })
})

describe('retries', () => {
  test('only the last failed attempt is an error; before it the job is pending again', async () => {
    const { jobs, cache, start } = makeBench(failing(3))
    const token = await start(1, { attempts: 3 })
    expect(await jobs.settled(token)).toMatchObject({ status: 'error', code: 'unexpected', message: 'not yet' })
    const seen = cache.versions(token).map(({ status, attempt }) => [status, attempt])
    const returned = [
      ['pending', 1],
      ['pending', 2],
    ]
    expect(seen.filter(([status, attempt]) => status === 'pending' && attempt !== 0)).toEqual(returned)
    expect(seen.filter(([status]) => status === 'error')).toEqual([['error', 3]])
  })

  test('a success after failures is a success, with the number of its attempt', async () => {
    const { jobs, start } = makeBench(failing(2))
    expect(await jobs.settled(await start(1, { attempts: 5 }))).toMatchObject({
      ...{ status: 'done', attempt: 3, attempts: 5, code: null, message: null },
    })
  })

  test('there is one attempt unless told otherwise; the runtime can tell for all jobs', async () => {
    const hook = vi.fn(async () => Promise.reject(new Error('no')))
    const one = makeBench({ afterCreateJob: hook })
    await one.jobs.settled(await one.start())
    expect(hook).toHaveBeenCalledTimes(1)
    const three = makeBench({ afterCreateJob: hook }, { attempts: 3 })
    expect(await three.jobs.settled(await three.start())).toMatchObject({ status: 'error', attempt: 3, attempts: 3 })
    expect(hook).toHaveBeenCalledTimes(4)
  })

  test('each attempt starts from the payload that was sent', async () => {
    const seen: unknown[] = []
    const { jobs, start } = makeBench({
      afterCreateJob(_id, _token, _progress, job) {
        const payload = job.payload as { list: number[] }
        seen.push(structuredClone(payload))
        payload.list.push(9)
        throw new Error('again')
      },
    })
    await jobs.settled(await start(1, { attempts: 2, payload: { list: [1] } }))
    expect(seen).toEqual([{ list: [1] }, { list: [1] }])
  })

  test.each([
    ['fixed', [1_000, 1_000, 1_000]],
    ['exponential', [1_000, 2_000, 4_000]],
  ] as const)('a %s backoff waits %j ms', async (type, waits) => {
    vi.useFakeTimers()
    const starts: number[] = []
    const { jobs, start } = makeBench({
      async afterCreateJob() {
        starts.push(Date.now())
        throw new Error('again')
      },
    })
    const token = await start(1, { attempts: 4, backoff: { type, delay: 1_000 } })
    await vi.advanceTimersByTimeAsync(10_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', attempt: 4 })
    const gaps = starts.slice(1).map((time, index) => time - (starts[index] as number))
    gaps.forEach((gap, index) => {
      expect(gap).toBeGreaterThanOrEqual(waits[index] as number)
      expect(gap).toBeLessThan((waits[index] as number) + 10)
    })
    expect(gaps).toHaveLength(3)
  })

  test('while it waits for its next attempt, the job is pending with the number last started, and its slot is free', async () => {
    vi.useFakeTimers()
    const { jobs, service, start } = makeBench(
      { ...failing(1), async afterUpdateJob() {} },
      { queue: memoryQueue({ concurrency: 1 }) },
    )
    const token = await start(1, { attempts: 2, backoff: { type: 'fixed', delay: 60_000 } })
    await vi.advanceTimersByTimeAsync(10)
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', progress: 0, attempt: 1, message: null })
    const other = (await service.executeJob('after', 'update', 2)) as string
    await vi.advanceTimersByTimeAsync(10)
    expect(await jobs.status(other)).toMatchObject({ status: 'done' })
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'done', attempt: 2 })
  })
})

describe('what is final at once', () => {
  test.each([
    ['a JobError', () => Promise.reject(new JobError('The project does not exist')), 'The project does not exist'],
    ["the return value 'error'", async () => 'error', expect.any(String)],
  ])('%s is never retried', async (_, end, message) => {
    const hook = vi.fn(end)
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const status = await jobs.settled(await start(1, { attempts: 5 }))
    expect(status).toMatchObject({ status: 'error', code: 'failed', message, attempt: 1 })
    expect(hook).toHaveBeenCalledOnce()
  })

  test('a message is at most 500 characters, without control characters', async () => {
    for (const message of ['a\u0000b\r\nc'.repeat(100_000), '']) {
      const { jobs, start } = makeBench({ afterCreateJob: () => Promise.reject(new JobError(message)) })
      const status = await jobs.settled(await start())
      expect(status).toMatchObject({ status: 'error', code: 'failed', message: expect.any(String) })
      expect(status.message?.length).toBeLessThanOrEqual(500)
      expect(status.message).not.toMatch(/\p{Cc}/u)
    }
  })

  test("the runtime's time-out and backoff hold for jobs that say nothing else", async () => {
    vi.useFakeTimers()
    const backoff = { type: 'fixed', delay: 5_000 } as const
    const { jobs, start } = makeBench(
      { afterCreateJob: (id) => (id === 'hangs' ? new Promise<void>(() => {}) : Promise.reject(new Error('no'))) },
      { timeout: 100, attempts: 2, backoff },
    )
    const [hangs, patient, fails] = [
      await start('hangs'),
      await start('hangs', { timeout: 9_000 }),
      await start('fails'),
    ]
    await vi.advanceTimersByTimeAsync(150)
    expect(await jobs.status(hangs)).toMatchObject({ status: 'error', code: 'timeout' })
    expect(await jobs.status(patient)).toMatchObject({ status: 'running' })
    expect(await jobs.status(fails)).toMatchObject({ status: 'pending', attempt: 1 })
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await jobs.status(fails)).toMatchObject({ status: 'error', attempt: 2 })
  })

  test('a time-out ends the status at once and aborts the signal, while the hook goes on', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    let signal: AbortSignal | undefined
    const { jobs, start } = makeBench({
      async afterCreateJob(_id, _token, progress) {
        signal = progress.signal
        await gate.opened
      },
    })
    const token = await start(1, { timeout: 500, attempts: 3 })
    await vi.advanceTimersByTimeAsync(490)
    expect(await jobs.status(token)).toMatchObject({ status: 'running' })
    expect(signal?.aborted).toBe(false)
    await vi.advanceTimersByTimeAsync(20)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout', attempt: 1 })
    expect(signal?.aborted).toBe(true)
    expect(signal?.reason).toBeInstanceOf(Error)
    gate.open()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout', attempt: 1 })
  })

  test.each<[string, () => unknown]>([
    ['nothing', () => {}],
    ['a promise that has resolved', async () => ({ result: 1 })],
    ['a promise of more', () => new Promise(() => {})],
    ['an error at once', () => fail(new JobError('too late'))],
    ['an error', async () => fail(new Error('too late'))],
  ])(
    'what a hook does before it answers counts: a time-out that is over by then is one at once (%s)',
    async (_, end) => {
      vi.useFakeTimers()
      const signals: AbortSignal[] = []
      const { jobs, start } = makeBench({
        afterCreateJob(_id, _token, progress) {
          signals.push(progress.signal)
          vi.advanceTimersByTime(100)
          return end() as undefined
        },
      })
      const token = await start(1, { timeout: 100, attempts: 3 })
      await vi.advanceTimersByTimeAsync(0)
      const expected = { status: 'error', code: 'timeout', attempt: 1, message: expect.stringContaining('100 ms') }
      expect(await jobs.status(token)).toMatchObject(expected)
      expect(signals).toMatchObject([{ aborted: true, reason: { message: expect.stringContaining('100 ms') } }])
    },
  )

  test('what a hook does before it answers leaves its promise only the rest of the time', async () => {
    vi.useFakeTimers()
    const { jobs, start } = makeBench({
      afterCreateJob() {
        vi.advanceTimersByTime(60)
        return new Promise<void>(() => {})
      },
    })
    const token = await start(1, { timeout: 100 })
    await vi.advanceTimersByTimeAsync(0)
    await vi.advanceTimersByTimeAsync(39)
    expect(await jobs.status(token)).toMatchObject({ status: 'running' })
    await vi.advanceTimersByTimeAsync(1)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'timeout' })
  })

  test('a hook that answers at once and in time is not touched by its time-out', async () => {
    vi.useFakeTimers()
    const { jobs, start } = makeBench({ afterCreateJob: () => void vi.advanceTimersByTime(99) })
    const token = await start(1, { timeout: 100 })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a hook that ignores its time-out keeps its slot until it ends', async () => {
    vi.useFakeTimers()
    const gate = makeGate()
    const hooks: Hooks = { afterCreateJob: (id) => (id === 1 ? gate.opened : undefined) }
    const { jobs, start } = makeBench(hooks, { queue: memoryQueue({ concurrency: 1 }), timeout: 100 })
    await start(1)
    const second = await start(2)
    await vi.advanceTimersByTimeAsync(60_000)
    expect(await jobs.status(second)).toMatchObject({ status: 'pending' })
    gate.open()
    await vi.advanceTimersByTimeAsync(10)
    expect(await jobs.status(second)).toMatchObject({ status: 'done' })
  })

  test('a job that ends in time is not touched by its time-out', async () => {
    vi.useFakeTimers()
    const { jobs, cache, start } = makeBench({ async afterCreateJob() {} })
    const token = await start(1, { timeout: 1_000 })
    await vi.advanceTimersByTimeAsync(5_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
    expect(cache.versions(token)).toHaveLength(3)
  })

  test('the time-out of an attempt begins anew with each attempt', async () => {
    vi.useFakeTimers()
    const hook = vi.fn(async () => {
      await new Promise((resolve) => setTimeout(resolve, 80))
      throw new Error('again')
    })
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const token = await start(1, { timeout: 100, attempts: 3 })
    await vi.advanceTimersByTimeAsync(1_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'unexpected', attempt: 3 })
  })

  test('a time-out of 25 days and more does not fire at once', async () => {
    vi.useFakeTimers()
    const { jobs, start } = makeBench({
      afterCreateJob: () => new Promise<void>((resolve) => setTimeout(resolve, 5_000)),
    })
    const token = await start(1, { timeout: 2 ** 31 + 5 })
    await vi.advanceTimersByTimeAsync(6_000)
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })
})

describe('the signal', () => {
  test('costs nothing where nobody reads it', async () => {
    let made = 0
    class CountingController extends AbortController {
      constructor() {
        super()
        made++
      }
    }
    vi.stubGlobal('AbortController', CountingController)
    const { jobs, start } = makeBench({
      afterCreateJob(id, _token, progress) {
        progress.total(2)
        progress.split(50, 'part').tick()
        progress.tick()
        if (id === 99) return void progress.signal
      },
    })
    for (let id = 0; id < 99; id++) await start(id)
    await jobs.drain()
    expect(made).toBe(0)
    await start(99)
    await jobs.drain()
    expect(made).toBe(1)
  })

  test('is aborted for whoever reads it only after the abort', async () => {
    const gate = makeGate()
    const seen = makeGate<AbortSignal>()
    const { jobs, start } = makeBench({
      async afterCreateJob(_id, _token, progress) {
        await gate.opened
        seen.open(progress.signal)
      },
    })
    const token = await start()
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running' }))
    await jobs.cancel(token)
    gate.open()
    expect((await seen.opened).aborted).toBe(true)
  })
})

describe('a cancellation', () => {
  test('is final at once, says so, and the second one changes nothing', async () => {
    const gate = makeGate()
    const { jobs, cache, start } = makeBench({ afterCreateJob: () => gate.opened })
    const token = await start()
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running' }))
    expect(await jobs.cancel(token)).toBe(true)
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled', message: expect.any(String) })
    expect(await jobs.cancel(token)).toBe(false)
    gate.open()
    await jobs.drain()
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    expect(cache.versions(token).filter(({ status }) => status === 'error')).toHaveLength(1)
  })

  test('of a waiting or delayed job lets it never run', async () => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook }, { queue: memoryQueue({ autoStart: false }) })
    const tokens = [await start(1), await start(2, { delay: 20 })]
    for (const token of tokens) expect(await jobs.cancel(token)).toBe(true)
    const worker = jobs.work()
    await jobs.settled(await start(3))
    await jobs.drain()
    expect(hook.mock.calls.map(([id]) => id)).toEqual([3])
    await worker.close()
  })

  test('aborts the signal of a running job at once in one process', async () => {
    const running = makeGate<AbortSignal>()
    const { jobs, start } = makeBench({
      afterCreateJob(_id, _token, progress) {
        running.open(progress.signal)
        return new Promise(() => {})
      },
    })
    const token = await start()
    const signal = await running.opened
    await jobs.cancel(token)
    expect(signal.aborted).toBe(true)
    expect(signal.reason).toBeInstanceOf(Error)
  })

  test('answers false for a token that is done, unknown or malformed', async () => {
    const { jobs, start } = makeBench({ afterCreateJob() {} })
    const token = await start()
    await jobs.settled(token)
    for (const other of [token, '11111111-1111-4111-8111-111111111111', 'x', '__proto__']) {
      expect(await jobs.cancel(other)).toBe(false)
    }
    expect(await jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('by another process aborts the signal with the next heartbeat at the latest', async () => {
    vi.useFakeTimers()
    const abortedAfter: number[] = []
    const cancelledAt = makeGate<number>()
    const here = makeBench({
      async afterCreateJob(_id, _token, progress) {
        progress.signal.addEventListener('abort', () => {
          void cancelledAt.opened.then((time) => abortedAfter.push(Date.now() - time))
        })
        await new Promise(() => {})
      },
    })
    const there = makeBench({}, { cache: here.cache })
    const token = await here.start()
    await vi.advanceTimersByTimeAsync(100)
    expect(await there.jobs.cancel(token)).toBe(true)
    cancelledAt.open(Date.now())
    await vi.advanceTimersByTimeAsync(10_000)
    expect(abortedAfter).toHaveLength(1)
    expect(abortedAfter[0]).toBeLessThanOrEqual(10_000)
  })
})

describe('events', () => {
  const shape = ({ event, attempt }: { event: string; attempt: number }) => `${event} ${attempt}`

  test('tell queued, started, progress and done, each with token, service, hook, id and attempt', async () => {
    const shown = makeGate()
    const { jobs, events, start } = makeBench({
      async afterCreateJob(_id, _token, progress) {
        progress.set(50)
        progress.label('half')
        await shown.opened
        return { result: 7 }
      },
    })
    jobs.on('progress', () => shown.open())
    const token = await start('a')
    await jobs.drain()
    const common = { token, service: 'bench', hook: 'afterCreateJob', id: 'a' }
    for (const event of events) expect(event).toMatchObject(common)
    expect(events.map(shape)).toEqual(['queued 0', 'started 1', 'progress 1', 'done 1'])
    expect(events[2]).toMatchObject({ progress: 50, label: 'half' })
    expect(events[3]).toMatchObject({ result: 7 })
  })

  test('tell retrying and error, each with what was thrown', async () => {
    const errors = [new Error('one'), new Error('two')]
    let calls = 0
    const { jobs, events, start } = makeBench({
      async afterCreateJob() {
        throw errors[calls++]
      },
    })
    await start(1, { attempts: 2 })
    await jobs.drain()
    expect(events.map(shape)).toEqual(['queued 0', 'started 1', 'retrying 1', 'started 2', 'error 2'])
    expect(events[2]?.error).toBe(errors[0])
    expect(events[4]).toMatchObject({ code: 'unexpected', error: errors[1] })
  })

  test('tell a cancellation once, with the attempt of the status', async () => {
    const gate = makeGate()
    const { jobs, events, start } = makeBench({ afterCreateJob: () => gate.opened })
    const token = await start()
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'running' }))
    await jobs.cancel(token)
    gate.open()
    await jobs.drain()
    expect(events.map(shape)).toEqual(['queued 0', 'started 1', 'error 1'])
    expect(events[2]).toMatchObject({ code: 'cancelled', token })
  })

  test('tell the attempt that was last started of a job that is cancelled between two attempts', async () => {
    const { jobs, events, start } = makeBench(failing(9))
    const token = await start(1, { attempts: 3, backoff: { type: 'fixed', delay: 60_000 } })
    await vi.waitFor(async () => expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 1 }))
    await turns(2)
    expect(await jobs.cancel(token)).toBe(true)
    await jobs.drain()
    expect(events.filter(({ event }) => event === 'error').map(shape)).toEqual(['error 1'])
  })

  test('a listener that throws is logged and harms neither the job nor other listeners', async () => {
    const { jobs, logger, start } = makeBench({ afterCreateJob() {} })
    const thrown = new Error('listener')
    const heard = vi.fn()
    for (const name of ['queued', 'started', 'done'] as const) {
      jobs.on(name, () => {
        throw thrown
      })
      jobs.on(name, heard)
    }
    expect(await jobs.settled(await start())).toMatchObject({ status: 'done' })
    await jobs.drain()
    expect(heard).toHaveBeenCalledTimes(3)
    const lines = logger.lines.filter(({ fields }) => fields.err === thrown)
    expect(lines.map(({ level }) => level)).toEqual(['error', 'error', 'error'])
  })

  test('a listener that rejects is logged, too, and is no unhandled rejection', async () => {
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const { jobs, logger, start } = makeBench({ afterCreateJob() {} })
    const thrown = new Error('asynchronous listener')
    jobs.on('done', () => Promise.reject(thrown) as unknown as undefined)
    await start()
    await jobs.drain()
    await turns(5)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
    expect(logger.lines.filter(({ fields }) => fields.err === thrown)).toHaveLength(1)
  })

  test('off() ends one listener alone, also while it is being called, and may be called twice', async () => {
    const { jobs, start } = makeBench({ afterCreateJob() {} })
    const listener = vi.fn()
    const offs = [jobs.on('done', listener), jobs.on('done', listener)]
    const offOnce = jobs.on('done', () => {
      offOnce()
      listener('once')
    })
    await start()
    await jobs.drain()
    expect(listener).toHaveBeenCalledTimes(3)
    offs[0]?.()
    offs[0]?.()
    await start()
    await jobs.drain()
    expect(listener).toHaveBeenCalledTimes(4)
    offs[1]?.()
    await start()
    await jobs.drain()
    expect(listener).toHaveBeenCalledTimes(4)
  })
})

describe('the logger', () => {
  test('gets the start and the end of each job, with the first 8 characters of its token', async () => {
    const { jobs, logger, service, start } = makeBench({ afterCreateJob() {}, afterUpdateJob: () => 'error' })
    const done = await start()
    const failed = (await service.executeJob('after', 'update', 1)) as string
    await jobs.drain()
    for (const token of [done, failed]) {
      const lines = logger.lines.filter(
        ({ fields }) => fields.token === token.slice(0, 8) && fields.service === 'bench',
      )
      expect(lines.filter(({ message }) => /start/.test(message))).toHaveLength(1)
      expect(lines.filter(({ message }) => /done|failed/.test(message))).toHaveLength(1)
    }
  })

  test('may be an instance of a class, and may throw', async () => {
    class Lines {
      readonly lines: string[] = []
      debug(_fields: object, message: string) {
        this.lines.push(message)
      }
      info(_fields: object, message: string) {
        this.lines.push(message)
        throw new Error('disk full')
      }
      warn(_fields: object, message: string) {
        this.lines.push(message)
      }
      error(_fields: object, message: string) {
        this.lines.push(message)
      }
    }
    const logger = new Lines()
    const { jobs, start } = makeBench({ afterCreateJob() {} }, { logger })
    expect(await jobs.settled(await start())).toMatchObject({ status: 'done', attempt: 1 })
    await jobs.drain()
    expect(logger.lines.length).toBeGreaterThanOrEqual(2)
    jobs.logger.warn({}, 'by hand')
    expect(logger.lines.at(-1)).toBe('by hand')
  })

  test('never gets a whole token, whatever becomes of the job', async () => {
    const { jobs, logger, events, start } = makeBench(
      {
        afterCreateJob(id) {
          if (id === 'fails') throw new Error('fails')
          if (id === 'rubbish') return 'rubbish'
        },
        afterCreateJobFailed: () => Promise.reject(new Error('compensation')),
      },
      { queue: memoryQueue({ maxWaiting: 4, autoStart: false }) },
    )
    jobs.on('done', () => {
      throw new Error('listener')
    })
    await start('fails', { attempts: 2 })
    await start('rubbish')
    const cancelled = await start('cancelled')
    await start('fine')
    await expect(start('too many')).rejects.toMatchObject({ code: 'QUEUE_FULL' })
    await jobs.cancel(cancelled)
    const worker = jobs.work()
    await jobs.drain()
    await worker.close()
    await start('dropped')
    await jobs.close()
    const tokens = [...new Set(events.map(({ token }) => token as string))]
    expect(tokens).toHaveLength(6)
    const printed = logger.print()
    expect(tokens.filter((token) => printed.includes(token))).toEqual([])
    expect(tokens.filter((token) => !printed.includes(token.slice(0, 8)))).toEqual([])
  })
})

import { AsyncResource } from 'node:async_hooks'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createAfterJobs, memoryQueue } from 'after-jobs'
import { build } from 'esbuild'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { aborted, makeBench, makeGate, rejection, turns } from './support/runtime'
import { faultyCache, spyCache } from './support/spies'

const manual = () => ({ queue: memoryQueue({ autoStart: false }) })
const CANCELLED = { status: 'error', code: 'cancelled', message: expect.any(String) }

afterEach(() => {
  vi.useRealTimers()
})

describe('close in the middle of jobs', () => {
  test('ends what waits as cancelled, with a status that can be read afterwards', async () => {
    const hook = vi.fn()
    const bench = makeBench({ afterCreateJob: hook }, manual())
    const tokens = [
      await bench.start(1),
      await bench.start(2, { delay: 60_000 }),
      await bench.start(3, { priority: 5 }),
    ]
    const watching = Promise.all(tokens.map((token) => bench.jobs.settled(token)))
    await bench.jobs.close()
    for (const token of tokens) expect(await bench.jobs.status(token)).toMatchObject({ ...CANCELLED, token })
    expect(await watching).toMatchObject(tokens.map(() => CANCELLED))
    await turns(3)
    expect(hook).not.toHaveBeenCalled()
  })

  test('tells the log and the listeners about each, and compensates for each', async () => {
    const failed = vi.fn()
    const bench = makeBench({ afterCreateJob() {}, afterCreateJobFailed: failed }, manual())
    const tokens = [await bench.start(1), await bench.start(2, { delay: 60_000 })]
    await bench.jobs.close()
    for (const token of tokens) {
      const lines = bench.logger.lines.filter(({ fields }) => fields.token === token.slice(0, 8))
      expect(lines.some(({ level }) => level === 'warn' || level === 'error')).toBe(true)
      expect(bench.events.filter(({ event, token: told }) => event === 'error' && told === token)).toHaveLength(1)
    }
    expect(failed.mock.calls.map(([, token]) => token)).toEqual(tokens)
  })

  test('waits for those that run, and lets them succeed', async () => {
    const gate = makeGate()
    const bench = makeBench({ afterCreateJob: () => gate.opened }, { queue: memoryQueue({ concurrency: 1 }) })
    const [running, waiting] = [await bench.start(1), await bench.start(2)]
    await vi.waitFor(async () => expect(await bench.jobs.status(running)).toMatchObject({ status: 'running' }))
    const closing = bench.jobs.close()
    await turns(3)
    gate.open()
    await closing
    expect(await bench.jobs.status(running)).toMatchObject({ status: 'done' })
    expect(await bench.jobs.status(waiting)).toMatchObject(CANCELLED)
  })

  test('aborts those that run longer than the grace', async () => {
    vi.useFakeTimers()
    const reasons: unknown[] = []
    const bench = makeBench({
      async afterCreateJob(_id, _token, { signal }) {
        await aborted(signal)
        reasons.push(signal.reason)
        throw signal.reason
      },
    })
    const token = await bench.start()
    await vi.advanceTimersByTimeAsync(10)
    const closing = bench.jobs.close({ grace: 1_000 })
    await vi.advanceTimersByTimeAsync(900)
    expect(reasons).toEqual([])
    await vi.advanceTimersByTimeAsync(5_000)
    await closing
    expect(reasons).toEqual([expect.any(Error)])
    expect(await bench.jobs.status(token)).toMatchObject(CANCELLED)
  })

  test.each([undefined, 0, 500])('a hook that ignores the signal does not hang it (grace %s)', async (grace) => {
    vi.useFakeTimers()
    const bench = makeBench({ afterCreateJob: () => new Promise(() => {}) })
    const tokens = [await bench.start(1), await bench.start(2), await bench.start(3)]
    await vi.advanceTimersByTimeAsync(10)
    const closed = vi.fn()
    void bench.jobs.close(grace === undefined ? {} : { grace }).then(closed)
    await vi.advanceTimersByTimeAsync((grace ?? 10_000) + 5_000)
    expect(closed).toHaveBeenCalledOnce()
    for (const token of tokens) expect(await bench.jobs.status(token)).toMatchObject(CANCELLED)
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1)
  })

  test('a compensation that hangs does not hang it', async () => {
    vi.useFakeTimers()
    const bench = makeBench({ afterCreateJob() {}, afterCreateJobFailed: () => new Promise(() => {}) }, manual())
    const token = await bench.start()
    const closed = vi.fn()
    void bench.jobs.close({ grace: 100 }).then(closed)
    await vi.advanceTimersByTimeAsync(5_000)
    expect(closed).toHaveBeenCalledOnce()
    expect(await bench.jobs.status(token)).toMatchObject(CANCELLED)
  })

  test('a cache that hangs does not hang it, however many jobs wait', async () => {
    vi.useFakeTimers()
    const cache = faultyCache()
    const bench = makeBench({ afterCreateJob() {} }, { ...manual(), cache })
    for (let id = 0; id < 200; id++) await bench.start(id)
    cache.fault = 'hangs'
    const closed = vi.fn()
    void bench.jobs.close({ grace: 100 }).then(closed)
    await vi.advanceTimersByTimeAsync(30_000)
    expect(closed).toHaveBeenCalledOnce()
  })

  test('does not wait for a grace that nobody needs', async () => {
    vi.useFakeTimers()
    const bench = makeBench({ afterCreateJob() {} })
    await bench.start()
    const closed = vi.fn()
    void bench.jobs.close({ grace: 3_600_000 }).then(closed)
    await vi.advanceTimersByTimeAsync(50)
    expect(closed).toHaveBeenCalledOnce()
  })

  test('a hook that waits for the close of its own runtime or worker does not hang it', async () => {
    vi.useFakeTimers()
    const bench = makeBench(
      {
        async afterCreateJob(id) {
          // In the step of its start it would keep the other job from starting.
          await null
          await (id === 'runtime' ? bench.jobs.close() : worker.close())
        },
      },
      manual(),
    )
    const worker = bench.jobs.work({ concurrency: 2 })
    const tokens = [await bench.start('worker'), await bench.start('runtime')]
    await vi.advanceTimersByTimeAsync(60_000)
    for (const token of tokens) expect((await bench.jobs.status(token)).status).toMatch(/^(done|error)$/)
    expect(await bench.jobs.health()).toMatchObject({ waiting: 0, active: 0, workers: 0 })
  })

  test('waits for what runNext runs', async () => {
    const gate = makeGate()
    const bench = makeBench({ afterCreateJob: () => gate.opened }, manual())
    const token = await bench.start()
    const running = bench.jobs.runNext()
    await vi.waitFor(async () => expect(await bench.jobs.status(token)).toMatchObject({ status: 'running' }))
    const closing = bench.jobs.close()
    gate.open()
    await closing
    expect(await running).toBe(true)
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('while a worker is closing already, goes by the shorter grace', async () => {
    vi.useFakeTimers()
    const bench = makeBench({ afterCreateJob: () => new Promise(() => {}) }, manual())
    const worker = bench.jobs.work()
    await bench.start()
    await vi.advanceTimersByTimeAsync(10)
    const closed = vi.fn()
    void worker.close({ grace: 3_600_000 })
    void bench.jobs.close({ grace: 0 }).then(closed)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(closed).toHaveBeenCalledOnce()
  })
})

describe('after close', () => {
  test('nothing is started, and the refusal says so', async () => {
    const bench = makeBench({ afterCreateJob() {} })
    await bench.jobs.close()
    expect(await rejection(bench.start())).toMatchObject({ code: 'CLOSED' })
    expect(await rejection(bench.service.executeJobs('after', 'create', [1, 2]))).toMatchObject({ code: 'CLOSED' })
    expect(() => bench.jobs.work()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
    expect(await rejection(bench.jobs.runNext())).toMatchObject({ code: 'CLOSED' })
  })

  test('what a running job starts while its runtime closes is accepted, and ends with the memory that it is in', async () => {
    const bench = makeBench({
      async afterCreateJob(id) {
        if (id !== 'closes') return
        void bench.jobs.close()
        await turns(3)
        const result = await bench.service.executeJob('after', 'create', 'late')
        expect(await rejection(runOutside(() => bench.start('stranger')))).toMatchObject({ code: 'CLOSED' })
        return { result }
      },
    })
    // Bound where no job runs.
    const runOutside = AsyncResource.bind((start: () => Promise<unknown>) => start())
    const token = await bench.start('closes')
    const status = await bench.jobs.settled(token)
    expect(status).toMatchObject({ status: 'done', result: expect.any(String) })
    await bench.jobs.close()
    expect(await bench.jobs.status('result' in status ? String(status.result) : '')).toMatchObject(CANCELLED)
  })

  test('nothing is started from inside a job of another runtime, either', async () => {
    const closed = makeBench({ afterCreateJob() {} })
    await closed.jobs.close()
    const { jobs, start } = makeBench({
      afterCreateJob: async () => ({ result: String(((await rejection(closed.start())) as { code: unknown }).code) }),
    })
    expect(await jobs.settled(await start())).toMatchObject({ status: 'done', result: 'CLOSED' })
    expect([closed.events, closed.cache.writes]).toEqual([[], []])
    await jobs.close()
  })

  test('what an open transaction starts while the runtime closes goes to the queue with its commit', async () => {
    const bench = makeBench({ afterCreateJob() {} }, manual())
    const gate = makeGate()
    const committing = bench.jobs.transaction(async () => {
      await gate.opened
      return bench.start()
    })
    const closing = bench.jobs.close()
    gate.open()
    const token = await committing
    await closing
    expect(await bench.jobs.status(token)).toMatchObject(CANCELLED)
  })

  test('a job that is being started when it closes is accepted and cancelled, or refused; never lost', async () => {
    const bench = makeBench({ afterCreateJob() {} }, manual())
    const starting = bench.start().then(
      (token) => ({ token, error: undefined }),
      (error: { token?: string; code: string }) => ({ token: error.token, error }),
    )
    await bench.jobs.close()
    const { token, error } = await starting
    if (error === undefined) expect(await bench.jobs.status(token as string)).toMatchObject(CANCELLED)
    else expect(error).toMatchObject({ code: 'CLOSED' })
    for (const { token: written } of bench.cache.writes) {
      expect(await bench.jobs.status(written)).toMatchObject({ status: 'error' })
    }
  })

  test('statuses, cancel and health still answer', async () => {
    const bench = makeBench({ afterCreateJob() {} })
    const token = await bench.start()
    await bench.jobs.settled(token)
    await bench.jobs.close()
    expect(await bench.jobs.settled(token)).toMatchObject({ status: 'done' })
    expect(await bench.jobs.cancel(token)).toBe(false)
    expect(await bench.jobs.health()).toMatchObject({ waiting: 0, active: 0, workers: 0 })
  })

  test('a second close, an asyncDispose and one during the first are the first one', async () => {
    const gate = makeGate()
    const failed = vi.fn()
    const bench = makeBench(
      { afterCreateJob: () => gate.opened, afterCreateJobFailed: failed },
      { queue: memoryQueue({ concurrency: 1 }) },
    )
    await bench.start(1)
    await bench.start(2)
    await turns(3)
    const closings = [bench.jobs.close(), bench.jobs.close({ grace: 0 }), bench.jobs[Symbol.asyncDispose]()]
    await turns(3)
    gate.open()
    await Promise.all(closings)
    await bench.jobs.close()
    expect(failed).toHaveBeenCalledOnce()
  })

  test('await using closes', async () => {
    let runtime = createAfterJobs()
    {
      await using jobs = createAfterJobs()
      runtime = jobs
    }
    expect(() => runtime.work()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  })
})

describe('a process', () => {
  const folder = mkdtempSync(join(tmpdir(), 'after-jobs-lives-'))
  const program = join(folder, 'lives.mjs')

  beforeAll(() =>
    build({
      ...{ entryPoints: [join(import.meta.dirname, 'support/lives.ts')], outfile: program, bundle: true },
      ...{ platform: 'node', format: 'esm', target: 'node20', logLevel: 'error' },
    }),
  )
  afterAll(() => rmSync(folder, { recursive: true }))

  /** Lives one of lives.ts, and fails unless it exits by itself. */
  async function live(name: string) {
    const { stdout } = await promisify(execFile)(process.execPath, [program, name], { timeout: 8_000 })
    const lines = stdout.trim().split('\n')
    const [, code, ms] = /^exit (\d+) after (\d+)$/.exec(lines.pop() ?? '') ?? []
    expect(code).toBe('0')
    return { lines, ms: Number(ms) }
  }

  test.each<[string, string[]]>([
    ['jobs that end', ['started', 'job 1', 'job 2', 'job 3']],
    ['a delayed job and a retried one', ['started', 'job retried', 'job delayed']],
    ['a job that fails, with a hook that rejects later', ['started']],
    ['delayed jobs that nobody runs', ['started']],
    ['a delayed job whose worker has closed', ['closed']],
    ['a cancelled delay', ['cancelled true']],
    ['a closed runtime', ['error', 'timers 0']],
    ['a runtime closed on a deaf hook', ['error']],
    ['a runtime that was never used', ['made']],
    ['await using', ['job', 'closed']],
  ])('with %s exits by itself as soon as nothing is left to do', async (name, expected) => {
    const { lines, ms } = await live(name)
    expect(lines.toSorted()).toEqual(expected.toSorted())
    // Every life has done its work within 0.6 s; a timer that was left behind would be one of 1 s or more.
    expect(ms).toBeLessThan(5_000)
  })
})

describe('close does not stop at what fails', () => {
  test('a runNext that rejects does not end the wait for what runs', async () => {
    const inner = memoryQueue()
    const [gate, away] = [makeGate(), makeGate<boolean>()]
    const bench = makeBench({ afterCreateJob: () => gate.opened }, { queue: { ...inner, runOne: () => away.opened } })
    const token = await bench.start()
    await vi.waitFor(async () => expect(await bench.jobs.status(token)).toMatchObject({ status: 'running' }))
    const single = rejection(bench.jobs.runNext())
    const closed = vi.fn()
    const closing = bench.jobs.close().then(closed)
    await turns(5)
    away.fail(new Error('away'))
    await single
    await turns(5)
    expect(closed).not.toHaveBeenCalled()
    gate.open()
    await closing
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'done' })
  })

  test('a queue that cannot be closed leaves no cache open', async () => {
    const cache = spyCache()
    const close = vi.spyOn(cache, 'close')
    const jobs = createAfterJobs({ cache, queue: { ...memoryQueue(), close: () => Promise.reject(new Error('away')) } })
    expect(await rejection(jobs.close())).toMatchObject({ message: 'away' })
    expect(close).toHaveBeenCalledOnce()
  })
})

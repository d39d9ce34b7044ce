import { redisCache, redisQueue } from 'after-jobs/redis'
import { Redis } from 'ioredis'
import { expect, test, vi } from 'vitest'
import type { Step } from '../crew/errands'
import { type Finisher, openCrew } from '../crew/shared-engine'
import { testCrashes } from '../crew/suites/crash'
import { until } from '../crew/until'
import { makeBench, makeGate } from '../engine/support/runtime'
import { redisEngine } from './support/engine'
import { describeWithRedis, useRedis } from './support/suite'

/** As tight as makes sense beside processes that need half a second to start. */
const TIGHT = { lockDuration: 1_000, stalledInterval: 300 }
// The one that takes half a minute runs beside all others.
vi.setConfig({ maxConcurrency: 2 })
/** Many times what each test takes on an idle machine. */
const OPTIONS = { concurrent: true, timeout: 60_000 }

testCrashes(redisEngine, { least: TIGHT, tight: { lockDuration: 2_000, stalledInterval: 1_000 }, limit: 5_000 })

describeWithRedis('a worker that was blocked for longer than its lock', OPTIONS, () => {
  const redis = useRedis()

  /** Blocks the worker that takes the job first, until the other one has taken it over. */
  async function makeZombie(context: Finisher, steps: readonly Step[]) {
    const crew = openCrew(context, { url: redis.url, ...TIGHT })
    await Promise.all([crew.addWorker(), crew.addWorker()])
    const token = await crew.start([{ do: 'set', percent: 5 }, { do: 'block', ms: 5_000, starts: 1 }, ...steps])
    const entries = await crew.happened(token, 'started', 2)
    const [zombie, winner] = entries.map(({ pid }) => crew.workers.find((worker) => worker.pid === pid))
    if (zombie === undefined || winner === undefined || zombie === winner)
      throw new Error('No other worker took the job.')
    const awakes = (event: 'ended' | 'threw') => {
      return until('zombie that awakes', () => crew.journal.find(token, event).some(({ pid }) => pid === zombie.pid))
    }
    return { crew, zombie, winner, token, awakes }
  }

  test('changes nothing of the end that the other one wrote', async (context) => {
    const { crew, token, winner, awakes } = await makeZombie(context, [
      { do: 'return', result: 'winner' },
      { do: 'return', result: 'zombie', starts: 1 },
    ])
    const end = await crew.ended(token)
    expect(end).toMatchObject({ status: 'done', result: 'winner', attempt: 1 })
    // Its hook returns at once, without a look at its signal.
    await awakes('ended')
    await winner.kill()
    const next = await crew.start([{ do: 'return', result: 'from the zombie' }])
    expect(await crew.ended(next)).toMatchObject({ status: 'done', result: 'from the zombie' })
    expect(await crew.jobs.status(token)).toEqual(end)
  })

  test('changes no progress of the other one, and sees its signal abort', async (context) => {
    const { crew, token, zombie, awakes } = await makeZombie(context, [
      { do: 'set', percent: 90, starts: 1 },
      { do: 'wait', gate: 'never', starts: 1 },
      { do: 'set', percent: 40 },
      { do: 'wait', gate: 'end' },
      { do: 'return', result: 'winner' },
    ])
    await crew.sees(token, ({ progress }) => progress === 40)
    await awakes('threw')
    expect(crew.journal.find(token, 'aborted').map(({ pid }) => pid)).toEqual([zombie.pid])
    expect(await crew.jobs.status(token)).toMatchObject({ status: 'running', progress: 40 })
    crew.openGate('end')
    expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'winner' })
    expect(crew.journal.find(token, 'started')).toHaveLength(2)
    expect(crew.journal.find(token, 'compensated')).toEqual([])
  })
})

describeWithRedis('the dedupe key of a process that dies', OPTIONS, () => {
  const redis = useRedis()

  test('stands for its job until that has started, and is free from then on', async (context) => {
    const crew = openCrew(context, { url: redis.url, ...TIGHT })
    const producer = await crew.addWorker()
    const parent = await crew.start([
      { do: 'order', steps: [{ do: 'wait', gate: 'end' }], dedupe: 'key', starts: 1 },
      { do: 'die', starts: 1 },
    ])
    await producer.exited()
    const token = await crew.start([], { dedupe: 'key' })
    expect(await crew.jobs.status(token)).toMatchObject({ status: 'pending', parent })

    const worker = await crew.addWorker(2)
    await crew.happened(token, 'started')
    const next = await crew.start([], { dedupe: 'key' })
    expect(next).not.toBe(token)
    // Not even the death of the worker that runs the first one brings its key back.
    await worker.kill()
    await crew.addWorker(3)
    crew.openGate('end')
    for (const one of [parent, token, next]) expect(await crew.ended(one)).toMatchObject({ status: 'done' })
    expect(await crew.start([], { dedupe: 'key' })).not.toBe(next)
  })
})

describeWithRedis('a worker that has lost a lock', OPTIONS, () => {
  const redis = useRedis()

  test('keeps the lock of the next delivery when the body of the first one ends', async ({ onTestFinished }) => {
    const [url, prefix] = [redis.url, redis.makePrefix()]
    const client = new Redis(url)
    const gates = [makeGate(), makeGate(), makeGate()]
    const hook = vi.fn(() => gates[hook.mock.calls.length - 1]?.opened)
    const bench = makeBench(
      { afterCreateJob: hook },
      {
        queue: redisQueue({ url, prefix, ...TIGHT }),
        cache: redisCache({ url, prefix }),
      },
    )
    onTestFinished(async () => {
      for (const gate of gates) gate.open()
      await bench.jobs.close()
      client.disconnect()
    })
    bench.jobs.register('bench', () => bench.service)
    bench.jobs.work({ concurrency: 2 })
    const token = await bench.start()
    await until('first run', () => hook.mock.calls.length === 1)
    const lock = `${prefix}:after-jobs:${token}:lock`
    await until('lost lock', async () => (await client.del(lock)) === 1)
    await until('second run', () => hook.mock.calls.length === 2)
    gates[0]?.open()
    // It is renewed again and again, as long as the second body lives.
    for (let renewal = 0; renewal < 3; renewal++) {
      let left = await client.pttl(lock)
      await until('renewal', async () => {
        const before = left
        left = await client.pttl(lock)
        return left > before || hook.mock.calls.length > 2
      })
    }
    expect(hook).toHaveBeenCalledTimes(2)
    gates[1]?.open()
    expect(await bench.jobs.settled(token)).toMatchObject({ status: 'done' })
  })
})

import { AfterJobsError, type JobStatus } from 'after-jobs'
import { expect, test, vi } from 'vitest'
import { Dice } from '../crew/dice'
import { makeRuntime } from '../crew/runtime'
import { eventually, openCrew } from '../crew/shared-engine'
import { until } from '../crew/until'
import { makeGate, rejection } from '../engine/support/runtime'
import { openNeighbours } from './support/neighbours'
import { describeWithRedis, describeWithServer, openServer, useRedis } from './support/suite'

const rollback = new Error('rollback')
const codeOf = (status: JobStatus) => (status.status === 'error' ? status.code : status.status)
const OPTIONS = { concurrent: true, timeout: 60_000 }

describeWithRedis('a transaction in one process, whose jobs run in others', OPTIONS, () => {
  const redis = useRedis()

  test('keeps its jobs from every worker until it has committed, while all can read their tokens', async (context) => {
    const crew = openCrew(context, { url: redis.url })
    await crew.addWorker()
    const reader = makeRuntime(crew.setting, crew.logger)
    context.onTestFinished(() => reader.close())
    const [commit, held] = [makeGate(), makeGate<string>()]
    const transacting = crew.jobs.transaction(async () => {
      held.open(await crew.start([]))
      await commit.opened
      return Date.now()
    })
    const token = await held.opened
    expect(await reader.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
    // A job that the worker could take, and takes: so it has looked in vain for the one that is held.
    await crew.ended(await crew.start([]))
    // The queue forgets a job a moment after its end is stored.
    await eventually(async () => expect(await reader.health()).toMatchObject({ waiting: 0, active: 0 }))
    expect(crew.journal.find(token)).toEqual([])
    commit.open()
    const committedAt = await transacting
    expect(await reader.settled(token)).toMatchObject({ status: 'done' })
    const [started, ...others] = crew.journal.find(token, 'started')
    expect(started?.at).toBeGreaterThanOrEqual(committedAt)
    expect(others).toEqual([])
  })

  test('ends the tokens of a rollback as cancelled, for every process, and nothing is in the queue', async (context) => {
    const neighbours = openNeighbours(context, redis)
    const [hook, failed] = [vi.fn(), vi.fn()]
    const web = neighbours.add({ afterCreateJob: hook })
    const other = neighbours.add({ afterCreateJob: hook, afterCreateJobFailed: failed })
    const tokens: string[] = []
    const failing = web.jobs.transaction(async () => {
      tokens.push(await web.start(1), ...(await web.service.executeJobs('after', 'create', [2, 3])))
      throw rollback
    })
    expect(await rejection(failing)).toBe(rollback)
    const ends = await Promise.all(tokens.map(async (token) => codeOf(await other.jobs.status(token))))
    expect(ends).toEqual(['cancelled', 'cancelled', 'cancelled'])
    other.jobs.work()
    await other.jobs.drain()
    expect([hook.mock.calls, failed.mock.calls]).toEqual([[], []])
  })

  test('a held job that another process cancels never runs, although its transaction commits', async (context) => {
    const neighbours = openNeighbours(context, redis)
    const hook = vi.fn()
    const web = neighbours.add({ afterCreateJob: hook })
    const other = neighbours.add({ afterCreateJob: hook })
    other.jobs.work()
    const [token, kept] = await web.jobs.transaction(async () => {
      const tokens = [await web.start(1), await web.start(2)] as const
      expect(await other.jobs.cancel(tokens[0])).toBe(true)
      return tokens
    })
    expect(await other.jobs.settled(kept)).toMatchObject({ status: 'done' })
    await other.jobs.drain()
    expect(codeOf(await web.jobs.status(token))).toBe('cancelled')
    expect(hook.mock.calls.map(([id]) => id)).toEqual([2])
  })

  test('a long one is not declared lost, however often other processes ask', async (context) => {
    const neighbours = openNeighbours(context, redis)
    const hooks = { afterCreateJob() {} }
    const web = neighbours.add(hooks, { enqueueTimeout: 1_000 })
    const other = neighbours.add(hooks, { enqueueTimeout: 1_000 })
    const commit = makeGate()
    const held = makeGate<string>()
    const transacting = web.jobs.transaction(async () => {
      held.open(await web.start())
      await commit.opened
    })
    const token = await held.opened
    // Several times as long as a job that nobody keeps alive would be borne.
    const end = Date.now() + 6_000
    await eventually(async () => {
      expect(await other.jobs.status(token)).toMatchObject({ status: 'pending' })
      expect(Date.now()).toBeGreaterThan(end)
    })
    commit.open()
    await transacting
    other.jobs.work()
    expect(await other.jobs.settled(token)).toMatchObject({ status: 'done' })
  })

  test('300 at once, a third of them rolled back: each committed one has run once, after its commit, and no other', async (context) => {
    const crew = openCrew(context, { url: redis.url })
    await Promise.all([crew.addWorker(10), crew.addWorker(10)])
    const dice = new Dice(4)
    const plans = Array.from({ length: 300 }, (_, id) => ({
      id,
      fails: dice.roll() < 1 / 3,
      turns: dice.between(0, 5),
    }))
    const committedAt = new Map<number, number>()
    const tokens = new Map<number, string>()
    const transact = ({ id, fails, turns }: (typeof plans)[number]) =>
      crew.jobs.transaction(async () => {
        tokens.set(id, await crew.start([{ do: 'wait', gate: 'both' }], { id }))
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
        if (fails) throw rollback
        committedAt.set(id, Date.now())
      })
    await Promise.allSettled(plans.map(transact))
    const started = () => crew.journal.read().filter(({ event }) => event === 'started')
    // Neither has room for all that have committed, so each of them takes some.
    await until('both workers', () => new Set(started().map(({ pid }) => pid)).size === 2)
    crew.openGate('both')
    const ends = await Promise.all(plans.map(async ({ id }) => codeOf(await crew.jobs.settled(tokens.get(id) ?? ''))))
    expect(ends).toEqual(plans.map(({ fails }) => (fails ? 'cancelled' : 'done')))
    const committed = plans.flatMap(({ id, fails }) => (fails ? [] : id))
    const starts = started()
    expect(starts.map(({ id }) => Number(id)).toSorted((a, b) => a - b)).toEqual(committed)
    expect(starts.filter(({ id, at }) => at < (committedAt.get(Number(id)) ?? Number.POSITIVE_INFINITY))).toEqual([])
  })
})

describeWithServer('a Redis that is away when a transaction commits', OPTIONS, () => {
  test('makes nothing reject; the tokens end as enqueue_failed, and are compensated for', async (context) => {
    const [queue, cache] = [await openServer(context), await openServer(context)]
    const crew = openCrew(context, { url: queue.url, cacheUrl: cache.url, enqueueTimeout: 1_000 })
    const tokens = await crew.jobs.transaction(async () => {
      const started = [await crew.start([]), ...(await crew.startMany([], 2))]
      await queue.kill()
      return started
    })
    const ends = await Promise.all(tokens.map(async (token) => codeOf(await crew.jobs.status(token))))
    expect(ends).toEqual(['enqueue_failed', 'enqueue_failed', 'enqueue_failed'])
    for (const token of tokens) await crew.happened(token, 'compensated')

    await queue.restart()
    await crew.addWorker()
    const next = await eventually(() => crew.jobs.transaction(() => crew.start([])))
    expect(await crew.ended(next)).toMatchObject({ status: 'done' })
    for (const token of tokens) expect(crew.journal.find(token, 'started')).toEqual([])
  })

  test('for the statuses only, keeps no job from running', async (context) => {
    const [queue, cache] = [await openServer(context, { appendonly: true }), await openServer(context)]
    const crew = openCrew(context, { url: queue.url, cacheUrl: cache.url, enqueueTimeout: 1_000 })
    await crew.addWorker()
    const token = await crew.jobs.transaction(async () => {
      const started = await crew.start([])
      await cache.kill()
      return started
    })
    expect(await rejection(crew.jobs.status(token))).toSatisfy(AfterJobsError.is)
    await cache.restart()
    await crew.happened(token, 'ended')
    expect(await crew.ended(token)).toMatchObject({ status: 'done' })
  })
})

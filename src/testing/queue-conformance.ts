import type { JobEnvelope } from '../core/job'
import type { JobOutcome } from '../core/status'
import type { JobAnswer, JobDelivery, JobQueue } from '../ports/queue'
import { type ConformanceTools, until } from './conformance'

const DONE: JobOutcome = { status: 'done', result: null }
const COMPLETED: JobAnswer = { type: 'completed', outcome: DONE }

interface Delivered {
  envelope: JobEnvelope
  delivery: JobDelivery
}

type MakeQueue = () => JobQueue | Promise<JobQueue>
type Trial = (queue: JobQueue, tools: ConformanceTools) => Promise<void>

/**
 * Tests each promise of the {@link JobQueue} port on an adapter. Each test makes a queue of its own and closes it; a queue
 * made here must not start jobs by itself, and must share no jobs with another.
 *
 * @example
 * import { expect, test } from 'vitest'
 * queueConformance({ test, expect }, () => memoryQueue({ autoStart: false }))
 */
export function queueConformance(tools: ConformanceTools, makeQueue: MakeQueue): void {
  for (const [promise, trial] of Object.entries(TRIALS)) {
    tools.test(`a queue ${promise}`, async () => {
      const queue = await makeQueue()
      try {
        await trial(queue, tools)
      } finally {
        await queue.close()
      }
    })
  }
}

const TRIALS: Record<string, Trial> = {
  async 'delivers what it accepted, unchanged, as attempt 1'(queue, { expect }) {
    const envelope = makeEnvelope({ id: 'å 1', payload: { list: [1, null, { deep: 'ü' }] }, context: { user: 7 } })
    expect(await queue.enqueue(envelope)).toBe(envelope.token)
    const delivered = await collect(queue, 1)
    expect(delivered[0]?.envelope).toEqual(envelope)
    expect(delivered[0]?.delivery.attempt).toBe(1)
  },

  async 'starts no job in the tick of its caller'(queue, { expect }) {
    let hasStarted = false
    const consumer = queue.consume(async () => {
      hasStarted = true
      return COMPLETED
    })
    await queue.enqueue(makeEnvelope())
    // Microtasks belong to the tick; a hook that started in them would overtake its caller.
    for (let turn = 0; turn < 50; turn++) await Promise.resolve()
    if (!queue.isShared) expect(hasStarted).toBe(false)
    await until(() => hasStarted)
    await consumer.close()
  },

  async 'delivers in order of arrival, higher priorities first'(queue, { expect }) {
    const priorities = [0, 5, -1000, 0, 1000, 5]
    const envelopes = priorities.map((priority, id) => makeEnvelope({ id, priority }))
    for (const envelope of envelopes) await queue.enqueue(envelope)
    const delivered = await collect(queue, priorities.length, { concurrency: 1 })
    expect(delivered.map(({ envelope }) => envelope.id)).toEqual([4, 1, 5, 0, 3, 2])
  },

  async 'delivers a delayed job when it is due, not before'(queue, { expect }) {
    const start = Date.now()
    await queue.enqueue(makeEnvelope({ id: 'late', delay: 1_000 }))
    await queue.enqueue(makeEnvelope({ id: 'now' }))
    const times: Record<string, number> = {}
    const delivered = await collect(queue, 2, {
      onDelivery: ({ envelope }) => {
        times[envelope.id] = Date.now() - start
      },
    })
    expect(delivered.map(({ envelope }) => envelope.id)).toEqual(['now', 'late'])
    // A timer may fire a millisecond early by the wall clock.
    expect((times.late ?? 0) >= 998).toBe(true)
  },

  async 'runs as many at once as it was told, and no more'(queue, { expect }) {
    const gate = makeGate()
    let active = 0
    let most = 0
    const consumer = queue.consume(
      async () => {
        most = Math.max(most, ++active)
        await gate.opened
        active--
        return COMPLETED
      },
      { concurrency: 3 },
    )
    await queue.enqueueMany(Array.from({ length: 9 }, () => makeEnvelope()))
    await until(() => active === 3)
    expect((await queue.health()).active).toBe(3)
    gate.open()
    await untilEmpty(queue)
    expect(most).toBe(3)
    await consumer.close()
  },

  async 'delivers a retried job as the next attempt, after its delay'(queue, { expect }) {
    await queue.enqueue(makeEnvelope({ attempts: 3 }))
    const answers: JobAnswer[] = [{ type: 'retry', delay: 0 }, { type: 'retry', delay: 100 }, COMPLETED]
    const delivered = await collect(queue, 3, { answers })
    expect(delivered.map(({ delivery }) => delivery.attempt)).toEqual([1, 2, 3])
  },

  async 'delivers a job that was handed back as the same attempt'(queue, { expect }) {
    await queue.enqueue(makeEnvelope())
    const answers: JobAnswer[] = [{ type: 'handed back', delay: 0 }, { type: 'handed back', delay: 50 }, COMPLETED]
    const delivered = await collect(queue, 3, { answers })
    expect(delivered.map(({ delivery }) => delivery.attempt)).toEqual([1, 1, 1])
  },

  async 'forgets a job that completed or failed'(queue, { expect }) {
    const failed: JobOutcome = { status: 'error', code: 'failed', message: 'no' }
    const envelopes = [makeEnvelope(), makeEnvelope()]
    await queue.enqueueMany(envelopes)
    await collect(queue, 2, { answers: [COMPLETED, { type: 'failed', outcome: failed }] })
    await untilEmpty(queue)
    for (const { token } of envelopes) {
      const { state } = await queue.find(token)
      expect(['ended', 'absent', 'unknown'].includes(state)).toBe(true)
    }
  },

  async 'finds a job while it waits and while it is active'(queue, { expect }) {
    const { token } = makeEnvelope()
    const stranger = await queue.find(token)
    expect(['absent', 'unknown'].includes(stranger.state)).toBe(true)
    await queue.enqueue(makeEnvelope({ token }))
    expect((await queue.find(token)).state).toBe('waiting')
    const gate = makeGate()
    let isActive = false
    const consumer = queue.consume(async () => {
      isActive = true
      await gate.opened
      return COMPLETED
    })
    await until(() => isActive)
    expect((await queue.find(token)).state).toBe('active')
    gate.open()
    await consumer.close()
  },

  async 'accepts the same token only once'(queue, { expect }) {
    const envelope = makeEnvelope()
    expect(await queue.enqueue(envelope)).toBe(envelope.token)
    expect(await queue.enqueue(envelope)).toBe(envelope.token)
    expect((await queue.health()).waiting).toBe(1)
  },

  async 'answers the standing token for a dedupe key until that job has started'(queue, { expect }) {
    const first = makeEnvelope({ dedupe: 'k' })
    await queue.enqueue(first)
    expect(await queue.enqueue(makeEnvelope({ dedupe: 'k' }))).toBe(first.token)
    const others = [
      makeEnvelope({ dedupe: 'k', hook: 'afterUpdateJob' }),
      makeEnvelope({ dedupe: 'k', service: 'other' }),
    ]
    expect(await queue.enqueueMany(others)).toEqual(others.map(({ token }) => token))
    await collect(queue, 3, { answers: [{ type: 'retry', delay: 60_000 }] })
    const next = makeEnvelope({ dedupe: 'k' })
    expect(await queue.enqueue(next)).toBe(next.token)
  },

  async 'keeps the dedupe key of a job that was handed back before it started'(queue, { expect }) {
    const first = makeEnvelope({ dedupe: 'k' })
    await queue.enqueue(first)
    await collect(queue, 1, { answers: [{ type: 'handed back', delay: 60_000 }] })
    expect(await queue.enqueue(makeEnvelope({ dedupe: 'k' }))).toBe(first.token)
  },

  async 'frees the dedupe key of a cancelled job at once'(queue, { expect }) {
    const first = makeEnvelope({ dedupe: 'k', delay: 60_000 })
    await queue.enqueue(first)
    await queue.cancel(first.token)
    const second = makeEnvelope({ dedupe: 'k' })
    expect(await queue.enqueue(second)).toBe(second.token)
    expect(await queue.enqueue(makeEnvelope({ dedupe: 'k' }))).toBe(second.token)
  },

  async 'never delivers a job that its cancellation took out'(queue, { expect }) {
    const envelopes = [makeEnvelope(), makeEnvelope({ delay: 50 }), makeEnvelope()]
    await queue.enqueueMany(envelopes)
    const out = new Set<string>()
    for (const { token } of envelopes.slice(0, 2)) {
      const taken = await queue.cancel(token)
      if (taken !== undefined) out.add(taken.envelope.token)
    }
    if (!queue.isShared) expect(out.size).toBe(2)
    const delivered = await collect(queue, envelopes.length - out.size)
    expect(delivered.some(({ envelope }) => out.has(envelope.token))).toBe(false)
    expect(await queue.cancel(makeEnvelope().token)).toBe(undefined)
  },

  async 'closes a consumer when its active jobs were answered, and keeps the rest'(queue, { expect }) {
    const gate = makeGate()
    let active = 0
    const consumer = queue.consume(
      async () => {
        active++
        await gate.opened
        return COMPLETED
      },
      { concurrency: 1 },
    )
    await queue.enqueueMany([makeEnvelope(), makeEnvelope()])
    await until(() => active === 1)
    const closing = consumer.close()
    gate.open()
    await closing
    await consumer.close()
    expect(active).toBe(1)
    const health = await queue.health()
    expect([health.waiting, health.active, health.workers]).toEqual([1, 0, 0])
  },

  async 'runs one job when told, and tells when none is due'(queue, { expect }) {
    const seen: unknown[] = []
    const run = async ({ id }: JobEnvelope) => {
      seen.push(id)
      return COMPLETED
    }
    expect(await queue.runOne(run)).toBe(false)
    await queue.enqueueMany([makeEnvelope({ id: 1 }), makeEnvelope({ id: 2 }), makeEnvelope({ id: 3, delay: 60_000 })])
    expect(await queue.runOne(run)).toBe(true)
    expect(seen).toEqual([1])
    expect(await queue.runOne(run)).toBe(true)
    expect(await queue.runOne(run)).toBe(false)
    expect(seen).toEqual([1, 2])
  },

  async 'counts what waits, delayed jobs included'(queue, { expect }) {
    await queue.enqueueMany([makeEnvelope(), makeEnvelope({ delay: 60_000 })])
    const health = await queue.health()
    expect([health.waiting, health.active, health.workers]).toEqual([2, 0, 0])
    const consumer = queue.consume(async () => COMPLETED)
    await until(async () => (await queue.health()).workers === 1)
    await consumer.close()
  },

  async 'delivers each of a thousand jobs exactly once'(queue, { expect }) {
    const envelopes = Array.from({ length: 1_000 }, (_, id) => makeEnvelope({ id }))
    const delivered: unknown[] = []
    const run = async ({ id }: JobEnvelope) => {
      delivered.push(id)
      return COMPLETED
    }
    const consumers = [queue.consume(run, { concurrency: 5 }), queue.consume(run, { concurrency: 7 })]
    await Promise.all(envelopes.map((envelope) => queue.enqueue(envelope)))
    await untilEmpty(queue)
    expect(delivered.length).toBe(1_000)
    expect(new Set(delivered).size).toBe(1_000)
    for (const consumer of consumers) await consumer.close()
  },

  async 'accepts nothing after its close, and says what dies with it'(queue, { expect }) {
    const envelopes = [makeEnvelope(), makeEnvelope({ delay: 60_000 })]
    await queue.enqueueMany(envelopes)
    const dropped = await queue.close()
    const expected = queue.isShared ? [] : envelopes.map(({ token }) => token)
    expect(dropped.map(({ envelope }) => envelope.token)).toEqual(expected)
    expect(await queue.close()).toEqual([])
    const late = queue.enqueue(makeEnvelope()).then(
      () => 'accepted',
      () => 'refused',
    )
    expect(await late).toBe('refused')
  },
}

interface CollectOptions {
  concurrency?: number
  /** One for each delivery; the last one serves all that follow. */
  answers?: JobAnswer[]
  onDelivery?: (delivered: Delivered) => void
}

/** Consumes until so many jobs were delivered. */
async function collect(queue: JobQueue, count: number, options: CollectOptions = {}): Promise<Delivered[]> {
  const { concurrency = 1, answers = [COMPLETED], onDelivery } = options
  const delivered: Delivered[] = []
  const run = async (envelope: JobEnvelope, delivery: JobDelivery) => {
    const { attempt } = delivery
    const answer = answers[Math.min(delivered.length, answers.length - 1)] as JobAnswer
    if (answer.type !== 'handed back') await delivery.onStart?.()
    delivered.push({ envelope, delivery: { attempt } })
    onDelivery?.({ envelope, delivery: { attempt } })
    return answer
  }
  const consumer = queue.consume(run, { concurrency })
  await until(() => delivered.length >= count)
  await consumer.close()
  return delivered
}

function untilEmpty(queue: JobQueue): Promise<void> {
  return until(async () => {
    const { waiting, active } = await queue.health()
    return waiting + active === 0
  })
}

function makeGate(): { opened: Promise<void>; open: () => void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

function makeEnvelope(fields: Partial<JobEnvelope> = {}): JobEnvelope {
  return {
    version: 1,
    token: globalThis.crypto.randomUUID(),
    service: 'conformance',
    hook: 'afterCreateJob',
    id: 1,
    payload: undefined,
    context: undefined,
    parent: null,
    delay: 0,
    priority: 0,
    attempts: 1,
    backoff: null,
    timeout: null,
    dedupe: null,
    createdAt: Date.now(),
    ...fields,
  }
}

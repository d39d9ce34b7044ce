import { postgresQueue } from 'after-jobs/postgres'
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeEnvelope } from '../engine/support/stub-queue'

const LIMIT = 4_000
/** How much later than its time a call may be told that it is over. */
const SLACK = 60
const UNTOUCHED = { type: 'handed back', delay: 0 } as const

/** A pg-boss by hand, whose database answers nothing about jobs: it is frozen. */
function makeBoss() {
  const statements: string[] = []
  const executeSql = (text: string, values: unknown[] = []): Promise<{ rows: unknown[] }> => {
    if (text.startsWith('SELECT table_name')) return Promise.resolve({ rows: [{ table_name: 'job_common' }] })
    statements.push(String(values[0]))
    return new Promise(() => {})
  }
  const listen = vi.fn(async () => ({ close: async () => {} }))
  const getQueue = vi.fn(async (): Promise<unknown> => ({}))
  const boss = { getDb: () => ({ executeSql, listen }), getQueue, createQueue: async () => {} }
  return { boss, statements, listen, getQueue }
}

function useFakeTimers(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
}

test('of a database that is frozen, each call hears in its own time, however many wait before it', async () => {
  useFakeTimers()
  const { boss, statements } = makeBoss()
  const queue = postgresQueue({ boss })
  const begin = performance.now()
  const waits: number[] = []
  for (let call = 0; call < 12; call++) {
    const added = performance.now()
    queue.enqueue(makeEnvelope()).catch((error) => {
      expect(error).toMatchObject({ code: 'QUEUE_UNAVAILABLE', message: expect.stringContaining('gave no answer') })
      waits.push(performance.now() - added)
    })
    await vi.advanceTimersByTimeAsync(500)
  }
  await vi.advanceTimersByTimeAsync(2 * LIMIT)
  expect(waits).toHaveLength(12)
  expect(Math.max(...waits)).toBeLessThanOrEqual(LIMIT + SLACK)
  // One at a time, each of which nobody waited for any more when it was given up.
  expect(statements.length).toBeLessThanOrEqual((performance.now() - begin) / LIMIT + 1)
  await queue.close()
})

test('jobs that come while others are on their way keep their order, and go together', async () => {
  const { boss, statements } = makeBoss()
  const ends: (() => void)[] = []
  const [{ executeSql, ...rest }] = [boss.getDb()]
  const getDb = () => ({
    ...rest,
    executeSql: (text: string, values: unknown[] = []) => {
      void executeSql(text, values)
      if (text.startsWith('SELECT table_name')) return executeSql(text, values)
      const added = JSON.parse(String(values[0])).length
      return new Promise<{ rows: unknown[] }>((resolve) => ends.push(() => resolve({ rows: [{ added }] })))
    },
  })
  const queue = postgresQueue({ boss: { ...boss, getDb } })
  const envelopes = Array.from({ length: 101 }, (_, id) => makeEnvelope({ id }))
  const calls = envelopes.slice(0, 1).map((envelope) => queue.enqueue(envelope))
  await vi.waitFor(() => expect(ends).toHaveLength(1))
  calls.push(...envelopes.slice(1).map((envelope) => queue.enqueue(envelope)))
  ends[0]?.()
  await vi.waitFor(() => expect(ends).toHaveLength(2))
  ends[1]?.()
  expect(await Promise.all(calls)).toEqual(envelopes.map(({ token }) => token))
  const sent = statements.flatMap((text) => JSON.parse(text).map(([, { id }]: [string, { id: number }]) => id))
  expect(sent).toEqual(envelopes.map(({ id }) => id))
  await queue.close()
})

test('a queue that is closed before its worker could begin listens to nothing', async () => {
  const { boss, statements, listen, getQueue } = makeBoss()
  let open = (_: unknown): void => {}
  const opening = new Promise<unknown>((resolve) => {
    open = resolve
  })
  getQueue.mockReturnValue(opening)
  const queue = postgresQueue({ boss })
  const onTrouble = vi.fn()
  queue.listen?.({ onCancelled() {}, onLost() {}, onTrouble })
  const consumer = queue.consume(async () => UNTOUCHED)
  await vi.waitFor(() => expect(getQueue).toHaveBeenCalled())
  await queue.close()
  open({})
  await consumer.close()
  expect(listen).not.toHaveBeenCalled()
  expect(onTrouble).not.toHaveBeenCalled()
  expect(statements).toEqual([])
})

test('a queue that cannot be opened is tried once for all jobs of a moment, and each hears why', async () => {
  const { boss, getQueue } = makeBoss()
  getQueue.mockRejectedValue(Object.assign(new Error('password authentication failed'), { code: '28P01' }))
  const queue = postgresQueue({ boss })
  const calls = Array.from({ length: 20 }, () => queue.enqueue(makeEnvelope()))
  for (const call of calls) await expect(call).rejects.toThrow('password authentication failed')
  expect(getQueue).toHaveBeenCalledTimes(1)
  await queue.close()
})

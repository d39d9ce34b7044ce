import {
  type AfterJobs,
  AfterJobsError,
  attachAfterJobs,
  createAfterJobs,
  type JobEnvelope,
  type TransactionalQueue,
} from 'after-jobs'
import { describe, expect, test, vi } from 'vitest'
import { makeBench, makeGate, rejection } from './support/runtime'
import { distantCache } from './support/spies'
import { stubQueue } from './support/stub-queue'

const rollback = new Error('rollback')

/** A queue in a database, whose transactions are played by the test: what a connection has accepted stands in its list. */
function makeDatabase({ auto, enqueueTimeout }: { auto?: string[]; enqueueTimeout?: number } = {}) {
  const queue = stubQueue()
  const joined = new Map<unknown, string[]>()
  const transactional = {
    enqueueMany: vi.fn<TransactionalQueue['enqueueMany']>(async (envelopes, db) => {
      const tokens = envelopes.map(({ token }) => token)
      const known = joined.get(db) ?? []
      joined.set(db, known)
      for (const token of tokens) known.push(token)
      return tokens
    }),
    withdraw: vi.fn<TransactionalQueue['withdraw']>(async (tokens, db) => {
      joined.set(
        db,
        (joined.get(db) ?? []).filter((token) => !tokens.includes(token)),
      )
    }),
  }
  queue.lookup = { state: 'absent' }
  const failed = vi.fn()
  const jobs = createAfterJobs({
    ...{ queue: { ...queue, transactional }, cache: distantCache() },
    ...(enqueueTimeout && { enqueueTimeout }),
  })
  const methods = {
    async create(data: { id: number }) {
      return data
    },
    afterCreateJob() {},
    afterCreateJobFailed: failed,
  }
  const service = attachAfterJobs(methods, { jobs, name: 'bench', ...(auto && { auto }) })
  const start = async (id: number, db?: object) =>
    (await service.executeJob('after', 'create', id, db && { db })) as string
  return { queue, transactional, jobs, service, start, failed, joined: (db: object) => joined.get(db) ?? [] }
}

type Database = ReturnType<typeof makeDatabase>

describe('executeJob with db', () => {
  test('puts the job into that transaction, and writes nothing else: no status before the commit', async () => {
    const db = {}
    const { queue, jobs, start, joined } = makeDatabase()
    const token = await start(1, db)
    expect(joined(db)).toEqual([token])
    expect(queue.accepted).toEqual([])
    expect(await jobs.status(token)).toEqual({ status: 'unknown', progress: 0, message: null })
  })

  test('shows pending within a second of the commit', async () => {
    vi.useFakeTimers()
    const { queue, transactional, jobs, start } = makeDatabase()
    const token = await start(1, {})
    await jobs.status(token)
    const [[envelope]] = transactional.enqueueMany.mock.calls[0] as unknown as [[JobEnvelope]]
    queue.lookup = { state: 'waiting', envelope }
    await vi.advanceTimersByTimeAsync(1_001)
    expect(await jobs.status(token)).toMatchObject({ token, status: 'pending', attempt: 0 })
    vi.useRealTimers()
  })

  test('of many asks once', async () => {
    const db = {}
    const { transactional, service, joined } = makeDatabase()
    const tokens = await service.executeJobs('after', 'create', [1, 2, 3], { db })
    expect(joined(db)).toEqual(tokens)
    expect(transactional.enqueueMany).toHaveBeenCalledOnce()
    expect(await service.executeJobs('after', 'create', [], { db })).toEqual([])
  })

  test('of very many asks in slices, of which each has its own time', async () => {
    const db = {}
    const { transactional, service, joined } = makeDatabase()
    const ids = Array.from({ length: 2_500 }, (_, id) => id)
    const tokens = await service.executeJobs('after', 'create', ids, { db })
    expect(joined(db)).toEqual(tokens)
    expect(transactional.enqueueMany.mock.calls.map(([{ length }]) => length)).toEqual([1_000, 1_000, 500])
  })

  test('has the error of the driver as its cause where the queue says what to do', async () => {
    const { transactional, start } = makeDatabase()
    const driver = Object.assign(new Error('could not serialize access'), { code: '40001' })
    const cause = new AfterJobsError('ENQUEUE_FAILED', 'Roll it back, and repeat it.', { cause: driver })
    transactional.enqueueMany.mockRejectedValue(cause)
    const error = await rejection(start(1, {}))
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', message: cause.message, token: expect.any(String) })
    expect((error as Error).cause).toBe(driver)
  })

  test('tells the queue for how long anyone waits', async () => {
    const { transactional, jobs, start } = makeDatabase({ enqueueTimeout: 700 })
    const own = async () => {
      await start(1)
      throw rollback
    }
    await rejection(jobs.transaction(own, { db: {} }))
    expect(transactional.enqueueMany.mock.calls[0]?.[2]).toBe(700)
    expect(transactional.withdraw.mock.calls[0]?.[2]).toBe(700)
  })

  test.each<[string, (service: Database['service'], jobs: AfterJobs) => Promise<unknown>]>([
    ['executeJob', (service) => service.executeJob('after', 'create', 1, { db: {}, dedupe: 'k' })],
    ['executeJobs', (service) => service.executeJobs('after', 'create', [1], { db: {}, dedupe: 'k' })],
    [
      'a transaction',
      (service, jobs) => jobs.transaction(() => service.executeJob('after', 'create', 1, { dedupe: 'k' }), { db: {} }),
    ],
  ])('is refused by %s with dedupe, for which all others would wait', async (_name, call) => {
    const { transactional, jobs, service } = makeDatabase()
    expect(await rejection(call(service, jobs))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('dedupe'),
    })
    expect(transactional.enqueueMany).not.toHaveBeenCalled()
  })

  test('rejects where the database refuses, compensates for nothing and leaves no status', async () => {
    const { transactional, jobs, start, failed } = makeDatabase()
    transactional.enqueueMany.mockRejectedValue(new Error('current transaction is aborted'))
    const error = await rejection(start(1, {}))
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', message: expect.stringContaining('transaction is aborted') })
    expect(await jobs.status((error as { token: string }).token)).toMatchObject({ status: 'unknown' })
    await jobs.close()
    expect(failed).not.toHaveBeenCalled()
  })

  test.each<[string, () => Promise<unknown>]>([
    ['executeJob', () => makeBench({ afterCreateJob() {} }).service.executeJob('after', 'create', 1, { db: {} })],
    ['executeJobs', () => makeBench({ afterCreateJob() {} }).service.executeJobs('after', 'create', [1], { db: {} })],
    ['transaction', () => createAfterJobs().transaction(() => {}, { db: {} })],
  ])('is refused by %s where the queue has no database', async (_name, call) => {
    expect(await rejection(call())).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('postgresQueue'),
    })
  })
})

describe('a transaction with db', () => {
  test('puts into it whatever is started inside, at once', async () => {
    const db = {}
    const { jobs, service, start, joined } = makeDatabase()
    const tokens = await jobs.transaction(
      async () => {
        const first = await start(1)
        expect(joined(db)).toEqual([first])
        return [first, ...(await service.executeJobs('after', 'create', [2, 3]))]
      },
      { db },
    )
    expect(joined(db)).toEqual(tokens)
  })

  test('takes them back when the function rejects, since its caller may commit the rest', async () => {
    const db = {}
    const { jobs, start, joined } = makeDatabase()
    const own = async () => {
      await start(1)
      throw rollback
    }
    expect(await rejection(jobs.transaction(own, { db }))).toBe(rollback)
    expect(joined(db)).toEqual([])
  })

  test('bears a connection on which nothing can be taken back any more', async () => {
    const { transactional, jobs, start } = makeDatabase()
    transactional.withdraw.mockRejectedValue(new Error('aborted'))
    const own = async () => {
      await start(1)
      throw rollback
    }
    expect(await rejection(jobs.transaction(own, { db: {} }))).toBe(rollback)
  })

  test('an inner one shares its connection; its rejection takes its own jobs back, its success leaves them to the outer', async () => {
    const db = {}
    const { jobs, start, joined } = makeDatabase()
    const kept: string[] = []
    const whole = jobs.transaction(
      async () => {
        kept.push(await start(1))
        const inner = async () => {
          await start(2)
          throw rollback
        }
        await rejection(jobs.transaction(inner))
        kept.push(await jobs.transaction(() => start(3)))
        expect(joined(db)).toEqual(kept)
        throw rollback
      },
      { db },
    )
    expect(await rejection(whole)).toBe(rollback)
    expect(joined(db)).toEqual([])
  })

  test('takes as many jobs as anyone may start, and leaves them to the outer one', async () => {
    const db = {}
    const { jobs, service, joined } = makeDatabase()
    const ids = Array.from({ length: 150_000 }, (_, id) => id)
    const inner = () => service.executeJobs('after', 'create', ids)
    const tokens = await jobs.transaction(() => jobs.transaction(inner), { db })
    expect(joined(db)).toHaveLength(tokens.length)
  })

  test('inside of one without, goes by its own database alone', async () => {
    const db = {}
    const { queue, jobs, start, joined } = makeDatabase()
    let inner = ''
    const outer = jobs.transaction(async () => {
      await start(1)
      inner = await jobs.transaction(() => start(2), { db })
      throw rollback
    })
    expect(await rejection(outer)).toBe(rollback)
    expect(joined(db)).toEqual([inner])
    expect(queue.accepted).toEqual([])
  })

  test('makes an automatic start that fails reject, because nothing has been committed yet', async () => {
    const { transactional, jobs, service, failed } = makeDatabase({ auto: ['create'] })
    transactional.enqueueMany.mockRejectedValue(new Error('aborted'))
    const error = await rejection(jobs.transaction(() => service.create({ id: 1 }), { db: {} }))
    expect(error).toMatchObject({ code: 'ENQUEUE_FAILED' })
    await jobs.close()
    expect(failed).not.toHaveBeenCalled()
  })

  test('lets a job that is started after it has resolved go to the queue as any other', async () => {
    const db = {}
    const { queue, jobs, start, joined } = makeDatabase()
    let late: Promise<string> | undefined
    const gate = makeGate()
    await jobs.transaction(
      () => {
        late = gate.opened.then(() => start(1))
      },
      { db },
    )
    gate.open()
    const token = await late
    expect(joined(db)).toEqual([])
    expect(queue.accepted.map((envelope) => envelope.token)).toEqual([token])
  })
})

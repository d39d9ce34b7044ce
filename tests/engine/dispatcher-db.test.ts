import { attachAfterJobs, createAfterJobs, type JobEnvelope, type TransactionalQueue } from 'after-jobs'
import { describe, expect, test, vi } from 'vitest'
import { makeBench, makeGate, rejection } from './support/runtime'
import { distantCache } from './support/spies'
import { stubQueue } from './support/stub-queue'

const rollback = new Error('rollback')

/** A queue in a database, whose transactions are played by the test: what a connection has accepted stands in its list. */
function makeDatabase(options: { auto?: string[] } = {}) {
  const queue = stubQueue()
  const joined = new Map<unknown, string[]>()
  const transactional = {
    enqueueMany: vi.fn<TransactionalQueue['enqueueMany']>(async (envelopes, db) => {
      const tokens = envelopes.map(({ token }) => token)
      joined.set(db, [...(joined.get(db) ?? []), ...tokens])
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
  const jobs = createAfterJobs({ queue: { ...queue, transactional }, cache: distantCache() })
  const methods = {
    async create(data: { id: number }) {
      return data
    },
    afterCreateJob() {},
    afterCreateJobFailed: failed,
  }
  const service = attachAfterJobs(methods, { jobs, name: 'bench', ...options })
  const start = async (id: number, db?: object) =>
    (await service.executeJob('after', 'create', id, db && { db })) as string
  return { queue, transactional, jobs, service, start, failed, joined: (db: object) => joined.get(db) ?? [] }
}

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

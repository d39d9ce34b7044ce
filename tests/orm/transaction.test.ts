import { attachAfterJobs, createAfterJobs, type JobStatus } from 'after-jobs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Dice } from '../crew/dice'
import { makeGate, rejection, turns } from '../engine/support/runtime'
import { DATABASES } from './databases/all'
import type { Access, Database } from './databases/database'

const rollback = new Error('rollback')
const START_LIMIT = 60_000

/** A service whose job notes whether it finds its row, as somebody else who reads the database. */
function makeReader(db: Database) {
  const jobs = createAfterJobs()
  const ran: { id: number; isThere: boolean }[] = []
  const hooks = {
    async afterCreateJob(id: number) {
      const run = { id, isThere: false }
      // Noted before the row is read, because a job that comes too early may have to wait for the database.
      ran.push(run)
      run.isThere = await db.has(id)
    },
  }
  const service = attachAfterJobs(hooks, { jobs })
  const create = async (access: Access, id: number): Promise<string> => {
    await access.insert(id)
    return (await service.executeJob('after', 'create', id)) as string
  }
  return { jobs, ran, service, create }
}

const codeOf = (status: JobStatus) => (status.status === 'error' ? status.code : status.status)

describe.each(Object.entries(DATABASES))('%s', (_, open) => {
  let db: Database
  let lastId = 0
  beforeAll(async () => {
    db = await open()
  }, START_LIMIT)
  afterAll(() => db.close())
  const nextId = () => ++lastId

  test('a job reads the row that its transaction has committed', async () => {
    const { jobs, ran, create } = makeReader(db)
    const id = nextId()
    const token = await jobs.transaction(() => db.transaction((tx) => create(tx, id)))
    expect(await jobs.settled(token)).toMatchObject({ status: 'done' })
    expect(ran).toEqual([{ id, isThere: true }])
  })

  test('a job whose row was rolled back never runs, and its token ends as cancelled', async () => {
    const { jobs, ran, create } = makeReader(db)
    const id = nextId()
    let token = ''
    const failing = jobs.transaction(() =>
      db.transaction(async (tx) => {
        token = await create(tx, id)
        throw rollback
      }),
    )
    expect(await rejection(failing)).toBe(rollback)
    await jobs.drain()
    expect(codeOf(await jobs.status(token))).toBe('cancelled')
    expect(ran).toEqual([])
    expect(await db.has(id)).toBe(false)
  })

  test('a commit that fails is a rollback', async () => {
    const { jobs, ran, create } = makeReader(db)
    const id = nextId()
    let token = ''
    db.beforeCommit = () => Promise.reject(rollback)
    const failing = jobs.transaction(() =>
      db.transaction(async (tx) => {
        token = await create(tx, id)
      }),
    )
    expect(await rejection(failing)).toBe(rollback)
    db.beforeCommit = async () => {}
    await jobs.drain()
    expect(codeOf(await jobs.status(token))).toBe('cancelled')
    expect([ran, await db.has(id)]).toEqual([[], false])
  })

  test('a job does not start before a commit that takes its time', async () => {
    const { jobs, ran, create } = makeReader(db)
    const id = nextId()
    const [commit, atCommit] = [makeGate(), makeGate<string>()]
    let token = ''
    db.beforeCommit = () => {
      atCommit.open(token)
      return commit.opened
    }
    const transacting = jobs.transaction(() =>
      db.transaction(async (tx) => {
        token = await create(tx, id)
      }),
    )
    // The function of the transaction is over now, and only its commit is missing.
    expect(await jobs.status(await atCommit.opened)).toMatchObject({ status: 'pending', attempt: 0 })
    await turns(50)
    expect(ran).toEqual([])
    db.beforeCommit = async () => {}
    commit.open()
    await transacting
    expect(await jobs.settled(token)).toMatchObject({ status: 'done' })
    expect(ran).toEqual([{ id, isThere: true }])
  })

  test('a savepoint that is rolled back takes its own jobs with it, and no others', async () => {
    const { jobs, ran, create } = makeReader(db)
    const [outer, kept, dropped, last] = [nextId(), nextId(), nextId(), nextId()]
    const tokens: string[] = []
    await jobs.transaction(() =>
      db.transaction(async (tx) => {
        tokens.push(await create(tx, outer))
        tokens.push(await jobs.transaction(() => tx.transaction((inner) => create(inner, kept))))
        const failing = jobs.transaction(() =>
          tx.transaction(async (inner) => {
            tokens.push(await create(inner, dropped))
            throw rollback
          }),
        )
        expect(await rejection(failing)).toBe(rollback)
        tokens.push(await create(tx, last))
        expect(ran).toEqual([])
      }),
    )
    await jobs.drain()
    expect(ran).toEqual([outer, kept, last].map((id) => ({ id, isThere: true })))
    const ends = await Promise.all(tokens.map(async (token) => codeOf(await jobs.status(token))))
    expect(ends).toEqual(['done', 'done', 'cancelled', 'done'])
    expect(await db.has(dropped)).toBe(false)
  })

  test('an outer rollback takes the jobs of released savepoints with it', async () => {
    const { jobs, ran, create } = makeReader(db)
    const id = nextId()
    const failing = jobs.transaction(() =>
      db.transaction(async (tx) => {
        await jobs.transaction(() => tx.transaction((inner) => create(inner, id)))
        throw rollback
      }),
    )
    expect(await rejection(failing)).toBe(rollback)
    await jobs.drain()
    expect([ran, await db.has(id)]).toEqual([[], false])
  })

  test('of 500 transactions at once, a third of them rolled back, each committed one has its job, and no other', async () => {
    const { jobs, ran, service } = makeReader(db)
    const dice = new Dice(2_026)
    const before = await db.count()
    const tokens = new Map<number, string>()
    const plans = Array.from({ length: 500 }, () => {
      return { id: nextId(), fails: dice.roll() < 1 / 3, isEarly: dice.roll() < 0.5 }
    })
    const transact = ({ id, fails, isEarly }: (typeof plans)[number]) =>
      jobs.transaction(() =>
        db.transaction(async (tx) => {
          // Whether the row or its job comes first makes no difference.
          if (!isEarly) await tx.insert(id)
          tokens.set(id, (await service.executeJob('after', 'create', id)) as string)
          if (isEarly) await tx.insert(id)
          if (fails) throw rollback
        }),
      )
    const outcomes = await Promise.allSettled(plans.map(transact))
    await jobs.drain()

    const committed = plans.flatMap(({ id, fails }) => (fails ? [] : id))
    expect(Math.abs(committed.length - 333)).toBeLessThan(40)
    const rejections = outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason)
    expect(rejections).toEqual(plans.map(({ fails }) => fails && rollback))
    expect(ran.toSorted((a, b) => a.id - b.id)).toEqual(committed.map((id) => ({ id, isThere: true })))
    expect((await db.count()) - before).toBe(committed.length)
    const ends = await Promise.all(plans.map(async ({ id }) => codeOf(await jobs.status(tokens.get(id) ?? ''))))
    expect(ends).toEqual(plans.map(({ fails }) => (fails ? 'cancelled' : 'done')))
  })
})

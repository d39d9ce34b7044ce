import { AsyncResource } from 'node:async_hooks'
import { attachAfterJobs, createAfterJobs } from 'after-jobs'
import { expect, test } from 'vitest'
import { rejection } from '../engine/support/runtime'

type Callback = () => void

/** A pool of one connection, as drivers of callbacks have it: who waits is called back by whoever gives it back. */
function makePool() {
  const waiting: Callback[] = []
  return {
    take: (callback: Callback) => void waiting.push(callback),
    giveBack: () => waiting.shift()?.(),
  }
}

const rollback = new Error('rollback')

function makeCallers() {
  const jobs = createAfterJobs()
  const pool = makePool()
  const ran: unknown[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: string) => void ran.push(id) }, { jobs })
  const starts: Promise<string | undefined>[] = []
  const start = () => starts.push(service.executeJob('after', 'create', 'row'))
  /** Starts a job inside of the pool's callback, in a transaction that is then rolled back. */
  const transact = (prepare: (callback: Callback) => Callback = (callback) => callback) =>
    jobs.transaction(async () => {
      const work = (resolve: Callback) => () => {
        start()
        resolve()
      }
      await new Promise<void>((resolve) => pool.take(prepare(work(resolve))))
      throw rollback
    })
  return { jobs, pool, ran, start, starts, transact }
}

test('inside the callback of a pool a job does not know its transaction, and starts although that is rolled back', async () => {
  const { jobs, pool, ran, transact } = makeCallers()
  const failing = transact()
  pool.giveBack()
  expect(await rejection(failing)).toBe(rollback)
  await jobs.drain()
  expect(ran).toEqual(['row'])
})

test('a callback that was bound knows it', async () => {
  const { jobs, pool, ran, starts, transact } = makeCallers()
  const failing = transact((callback) => AsyncResource.bind(callback))
  pool.giveBack()
  expect(await rejection(failing)).toBe(rollback)
  await jobs.drain()
  expect(ran).toEqual([])
  expect(await jobs.status((await starts[0]) ?? '')).toMatchObject({ status: 'error', code: 'cancelled' })
})

test('after an await of the pool it is known again', async () => {
  const { jobs, pool, ran, start } = makeCallers()
  const failing = jobs.transaction(async () => {
    await new Promise<void>((resolve) => pool.take(resolve))
    start()
    throw rollback
  })
  pool.giveBack()
  expect(await rejection(failing)).toBe(rollback)
  await jobs.drain()
  expect(ran).toEqual([])
})

test('a job that falls into the transaction of another caller, which was rolled back, is told', async () => {
  const { jobs, pool, ran, starts, transact } = makeCallers()
  const other = jobs.transaction(() => {
    // As a driver does it that cleans up behind a rollback.
    setImmediate(() => pool.giveBack())
    return Promise.reject(rollback)
  })
  await Promise.all([rejection(other), rejection(transact())])
  expect(await rejection(starts[0] as Promise<unknown>)).toMatchObject({ code: 'WRONG_TRANSACTION' })
  await jobs.drain()
  expect(ran).toEqual([])
})

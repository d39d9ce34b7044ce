import { createAfterJobs, JobError, withAfterJobs } from 'after-jobs'
import { DataSource, EntitySchema, Repository } from 'typeorm'
import { expect, onTestFinished, test } from 'vitest'
import { spyLogger } from '../engine/support/spies'

interface Booking {
  id: number
  room: string
}

const Booking = new EntitySchema<Booking>({
  name: 'booking',
  columns: { id: { type: 'int', primary: true, generated: true }, room: { type: 'text' } },
})

/** As the application of the design does it: what was created for a job that fails is deleted again. */
async function openHotel({ taken, attempts = 1 }: { taken: string; attempts?: number }) {
  const logger = spyLogger()
  const jobs = createAfterJobs({ attempts, logger })
  const deleted: unknown[] = []
  class Bookings extends withAfterJobs(Repository, { jobs, auto: ['save'] })<Booking> {
    async afterSaveJob(id: number) {
      const { room } = await this.findOneByOrFail({ id })
      if (room === taken) throw new JobError(`${room} is taken`)
      if (room === 'burning') throw new Error('fire')
    }
    async afterSaveJobFailed(id: number, token: string, error: Error) {
      await this.delete(id)
      deleted.push([id, token, error.message])
      if (error.message === 'fire') throw new Error('nobody answers the telephone')
    }
  }
  const source = await new DataSource({ type: 'sqljs', entities: [Booking], synchronize: true }).initialize()
  onTestFinished(() => source.destroy())
  const bookings = new Bookings(Booking, source.manager)
  const book = async (room: string) => {
    const booking = await bookings.save({ room })
    return { ...booking, token: bookings.getJobToken(booking) ?? '' }
  }
  return { jobs, source, bookings, deleted, book, logger }
}

test('a job that has finally failed deletes the row that it was created for, and no other', async () => {
  const { jobs, bookings, deleted, book } = await openHotel({ taken: 'blue' })
  const [green, blue] = [await book('green'), await book('blue')]
  await jobs.drain()
  expect(await jobs.status(blue.token)).toMatchObject({ status: 'error', code: 'failed', message: 'blue is taken' })
  expect(await jobs.status(green.token)).toMatchObject({ status: 'done' })
  expect(await bookings.find()).toEqual([{ id: green.id, room: 'green' }])
  expect(deleted).toEqual([[blue.id, blue.token, 'blue is taken']])
})

test('it is deleted after the last attempt only, once, and what the deletion throws changes nothing', async () => {
  const { jobs, bookings, deleted, book, logger } = await openHotel({ taken: 'none', attempts: 3 })
  const burning = await book('burning')
  await jobs.drain()
  const end = { status: 'error', code: 'unexpected', message: 'fire', attempt: 3 }
  expect(await jobs.status(burning.token)).toMatchObject(end)
  expect(deleted).toEqual([[burning.id, burning.token, 'fire']])
  expect(await bookings.count()).toBe(0)
  expect(logger.print()).toContain('nobody answers the telephone')
})

test('in a transaction: what was rolled back is not compensated, what was committed is', async () => {
  const { jobs, source, bookings, deleted } = await openHotel({ taken: 'blue' })
  const save = (room: string, fails: boolean) =>
    jobs.transaction(() =>
      source.transaction(async (manager) => {
        const booking = await manager.withRepository(bookings).save({ room })
        if (fails) throw new Error('rollback')
        return booking
      }),
    )
  await expect(save('blue', true)).rejects.toThrow('rollback')
  await jobs.drain()
  expect(deleted).toEqual([])
  const { id } = await save('blue', false)
  await jobs.drain()
  expect(deleted).toEqual([[id, expect.any(String), 'blue is taken']])
  expect(await bookings.count()).toBe(0)
})

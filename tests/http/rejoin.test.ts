import { createJobHandler, type JobHandler } from 'after-jobs/http'
import { expect, test } from 'vitest'
import { nextTurn } from '../../src/core/timer'
import { statusesIn } from './live'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const AT_60 = { ...STATUSES.running, progress: 60, updatedAt: 60 }

function open(handler: JobHandler): Promise<Response> {
  return handler(new Request(`http://localhost/jobs/events/${TOKENS.running}`))
}

test('a job that could be followed no longer is followed anew by who comes, though a slow client still holds it', async () => {
  const stub = createStubJobs()
  const handler = createJobHandler(stub.jobs)
  // It reads nothing, so that it is still to be told.
  const slow = await open(handler)
  stub.tell(AT_60)
  await nextTurn()
  stub.tell(new Error('The cache is away'))
  await nextTurn()

  const next = await open(handler)
  expect([stub.record.mock.calls.length, stub.watch.mock.calls.length]).toEqual([2, 2])
  // That the slow one goes at last ends nothing for the other.
  expect(statusesIn(await slow.text())).toEqual([STATUSES.running, AT_60])
  const joined = await open(handler)
  expect(stub.watch).toHaveBeenCalledTimes(2)
  stub.tell(STATUSES.done)
  for (const response of [next, joined]) {
    expect(statusesIn(await response.text())).toEqual([STATUSES.running, STATUSES.done])
  }
})

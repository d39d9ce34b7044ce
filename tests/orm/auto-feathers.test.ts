import { feathers } from '@feathersjs/feathers'
import { MemoryService } from '@feathersjs/memory'
import { withAfterJobs } from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { describe, expect, test } from 'vitest'
import { rejection } from '../engine/support/runtime'
import { spyLogger } from '../engine/support/spies'

interface Message {
  id: number
  text: string
}

function makeMessages() {
  const logger = spyLogger()
  const jobs = createTestJobs({ logger })
  const ran: unknown[] = []
  class Messages extends withAfterJobs(MemoryService<Message>, {
    jobs,
    auto: ['create', 'update', 'patch', 'remove'],
  }) {
    async afterCreateJob(id: number) {
      ran.push(['create', id, (await this.get(id)).text])
    }
    afterUpdateJob(id: number) {
      ran.push(['update', id])
    }
    afterPatchJob(id: number) {
      ran.push(['patch', id])
    }
    afterRemoveJob(id: number) {
      ran.push(['remove', id])
    }
  }
  return { jobs, ran, logger, Messages, started: () => jobs.dispatched.map(({ hook, id }) => [hook, id]) }
}

/** The service itself, and what Feathers makes of it. */
const PLACES = ['alone', 'behind app.use()'] as const

describe.each(PLACES)('a MemoryService %s', (place) => {
  function open(options: { multi?: boolean } = {}) {
    const made = makeMessages()
    const own = new made.Messages({ startId: 0, ...options })
    if (place === 'alone') return { ...made, messages: own }
    const app = feathers<{ messages: typeof own }>()
    app.use('messages', own)
    return { ...made, messages: app.service('messages') }
  }

  test('starts the job of each of its methods, with an id of 0, too', async () => {
    const { messages, jobs, ran } = open()
    const message = await messages.create({ text: 'one' })
    expect(message.id).toBe(0)
    await messages.create({ text: 'two' })
    await jobs.drain()
    await messages.update(0, { text: 'new' })
    await messages.patch(0, { text: 'newer' })
    await messages.remove(0)
    await jobs.drain()
    expect(ran).toEqual([
      ['create', 0, 'one'],
      ['create', 1, 'two'],
      ['update', 0],
      ['patch', 0],
      ['remove', 0],
    ])
  })

  test('gives the token of what it answered', async () => {
    const { messages, jobs } = open()
    const message = await messages.create({ text: 'one' })
    expect(messages.getJobToken(message)).toBe(jobs.dispatched[0]?.token)
    const removed = await messages.remove(0)
    expect(messages.getJobToken(removed)).toBe(jobs.dispatched[1]?.token)
  })

  test('starts one job for each of many, and none for none', async () => {
    const { messages, started, jobs } = open({ multi: true })
    const list = await messages.create([{ text: 'one' }, { text: 'two' }])
    await messages.patch(null, { text: 'all' })
    await messages.remove(null)
    await messages.remove(null)
    expect(started()).toEqual(
      ['Create', 'Patch', 'Remove'].flatMap((action) => [0, 1].map((id) => [`after${action}Job`, id])),
    )
    expect(list.map((message) => messages.getJobToken(message))).toEqual(
      jobs.dispatched.slice(0, 2).map(({ token }) => token),
    )
  })

  test('starts none where the method fails', async () => {
    const { messages, started } = open()
    expect(await rejection(messages.remove(7))).toMatchObject({ name: 'NotFound' })
    expect(await rejection(messages.create([{ text: 'one' }, { text: 'two' }]))).toMatchObject({
      name: 'MethodNotAllowed',
    })
    expect(started()).toEqual([])
  })

  test('complains of nothing', async () => {
    const { messages, jobs, logger } = open()
    await messages.create({ text: 'one' })
    await messages.find()
    await jobs.drain()
    expect(logger.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([])
  })
})

test('starts none where the method answers null', async () => {
  const { Messages, started } = makeMessages()
  class Silent extends Messages {
    override async remove(_id: number | string | null): Promise<never> {
      return null as never
    }
  }
  const app = feathers<{ messages: Silent }>()
  app.use('messages', new Silent())
  expect(await app.service('messages').remove(1)).toBeNull()
  expect(started()).toEqual([])
})

test('Feathers hooks that answer in place of the method start no job, and those that change its answer none too many', async () => {
  const { Messages, started, jobs } = makeMessages()
  const app = feathers<{ messages: InstanceType<typeof Messages> }>()
  app.use('messages', new Messages())
  const messages = app.service('messages')
  messages.hooks({
    before: {
      async patch(context) {
        context.result = { id: 5, text: 'from a cache' }
      },
    },
    after: {
      async create(context) {
        context.result = { ...(context.result as Message), text: 'hidden' }
      },
    },
  })
  await jobs.scope(async () => {
    const created = await messages.create({ text: 'one' })
    expect(created).toEqual({ id: 0, text: 'hidden' })
    // Another object than the method had answered: in the scope of a request its id is enough.
    expect(messages.getJobToken(created)).toBe(jobs.dispatched[0]?.token)
  })
  await messages.patch(5, { text: 'new' })
  expect(started()).toEqual([['afterCreateJob', 0]])
})

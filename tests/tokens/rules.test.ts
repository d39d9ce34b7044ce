import { attachAfterJobs, createAfterJobs, memoryQueue, withAfterJobs } from 'after-jobs'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ask } from './crowd'
import { acceptConnection } from './serving'

interface Entity {
  id: number
}

/** Sets up a service whose jobs run when they are told to. */
function setUp(options: { tokenScope?: 'instance' } = {}) {
  const jobs = createAfterJobs({ queue: memoryQueue({ autoStart: false }) })
  onTestFinished(async () => {
    while (await jobs.runNext());
    await jobs.close()
  })
  const tokens: string[] = []
  jobs.on('queued', ({ token }) => tokens.push(String(token)))
  class ProjectService extends withAfterJobs({ jobs, auto: ['create'], ...options }) {
    /** The body of every job. */
    work: () => unknown = () => {}

    async create(entity: Entity): Promise<Entity> {
      return entity
    }

    async afterCreateJob(): Promise<void> {
      await this.work()
    }

    start(subject: Entity | number, options = {}): Promise<string | undefined> {
      return this.executeJob('after', 'create', subject, options)
    }

    /** Is an action without a hook. */
    touch(subject: Entity): Promise<string | undefined> {
      return this.executeJob('after', 'touch' as string, subject)
    }
  }
  return { jobs, tokens, ProjectService, service: new ProjectService() }
}

type Stage = ReturnType<typeof setUp>

/** What somebody does, and which token is told: the first, the second, none or a refusal. */
interface Case {
  name: string
  run(stage: Stage): Promise<string | null> | string | null
  told: 0 | 1 | null | 'NO_SCOPE'
}

beforeAll(() => acceptConnection())

const OUTSIDE: Case[] = [
  {
    name: 'the object that started a job has its token',
    told: 0,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await service.start({ id: 7 })
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'the object that an action resolved to has its token',
    told: 0,
    async run({ service }) {
      const entity = await service.create({ id: 7 })
      await service.create({ id: 7 })
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'each object of a bulk has its own token',
    told: 1,
    async run({ service }) {
      const entities = [{ id: 7 }, { id: 8 }]
      await service.executeJobs('after', 'create', entities)
      return ask(() => service.getJobToken(entities[1]))
    },
  },
  {
    name: 'a copy has none',
    told: null,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      return ask(() => service.getJobToken({ ...entity }))
    },
  },
  {
    name: 'an object whose id started a job has none',
    told: null,
    async run({ service }) {
      await service.start(7)
      return ask(() => service.getJobToken({ id: 7 }))
    },
  },
  {
    name: 'an id is refused',
    told: 'NO_SCOPE',
    async run({ service }) {
      await service.start(7)
      return ask(() => service.getJobToken(7 as unknown as Entity))
    },
  },
  {
    name: 'an object that started two jobs is refused',
    told: 'NO_SCOPE',
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await service.start(entity)
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'an object that asked twice for the same job has its token',
    told: 0,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity, { dedupe: 'once' })
      await service.start(entity, { dedupe: 'once' })
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'an object keeps its token after an action without a hook',
    told: 0,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await service.touch(entity)
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'another service has none for the same object',
    told: null,
    async run({ service, ProjectService }) {
      const entity = { id: 7 }
      await service.start(entity)
      return ask(() => new ProjectService().getJobToken(entity))
    },
  },
  {
    name: 'without an entity it is refused, even if nothing has been started',
    told: 'NO_SCOPE',
    run: ({ service }) => ask(() => service.getJobToken()),
  },
  {
    name: 'what was started in a scope is no longer told without an entity',
    told: 'NO_SCOPE',
    async run({ jobs, service }) {
      await jobs.scope(() => service.start(7))
      return ask(() => service.getJobToken())
    },
  },
  {
    name: 'what was started in a scope is told to those who have the object',
    told: 0,
    async run({ jobs, service }) {
      const entity = { id: 7 }
      await jobs.scope(() => service.start(entity))
      return ask(() => service.getJobToken(entity))
    },
  },
]

const INSIDE: Case[] = [
  {
    name: "without an entity the service's last token",
    told: 1,
    async run({ service }) {
      await service.start(7)
      await service.start(8)
      return ask(() => service.getJobToken())
    },
  },
  {
    name: "not another service's last token",
    told: 0,
    async run({ service, ProjectService }) {
      await service.start(7)
      await new ProjectService().start(8)
      return ask(() => service.getJobToken())
    },
  },
  {
    name: 'none when the last action had no hook',
    told: null,
    async run({ service }) {
      await service.start(7)
      await service.touch({ id: 7 })
      return ask(() => service.getJobToken())
    },
  },
  {
    name: 'none when nothing was started',
    told: null,
    run: ({ service }) => ask(() => service.getJobToken()),
  },
  {
    name: 'the last token of an object',
    told: 1,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await service.start(entity)
      await service.touch(entity)
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'the token of the very object before that of its id',
    told: 0,
    async run({ service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await service.start({ id: 7 })
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'else the last token of its id',
    told: 1,
    async run({ service }) {
      await service.start({ id: 7 })
      await service.start(7)
      await service.start(8)
      return ask(() => service.getJobToken({ id: 7 }))
    },
  },
  {
    name: 'none for an object and an id that started nothing',
    told: null,
    async run({ service }) {
      await service.start(7)
      return ask(() => service.getJobToken({ id: 8 }))
    },
  },
  {
    name: 'none of an inner scope',
    told: 0,
    async run({ jobs, service }) {
      const entity = { id: 7 }
      await service.start(entity)
      await jobs.scope(() => service.start(entity))
      return ask(() => service.getJobToken(entity))
    },
  },
  {
    name: 'none of an outer scope',
    told: null,
    async run({ jobs, service }) {
      const entity = { id: 7 }
      await service.start(entity)
      return jobs.scope(() => ask(() => service.getJobToken(entity)) ?? ask(() => service.getJobToken()))
    },
  },
]

describe('outside a scope', () => {
  test.each(OUTSIDE)('$name', async ({ run, told }) => {
    const stage = setUp()
    expect(await run(stage)).toBe(resolveTold(stage, told))
  })

  test('the refusal names the ways out', () => {
    const { service } = setUp()
    expect(() => service.getJobToken()).toThrow(/executeJob\(\).*object.*jobs\.scope\(fn\).*jobs\.middleware\(\)/)
  })
})

describe('inside a scope', () => {
  test.each(INSIDE)('$name', async ({ run, told }) => {
    const stage = setUp()
    expect(await stage.jobs.scope(() => run(stage))).toBe(resolveTold(stage, told))
  })

  test.each(INSIDE)('of a middleware: $name', async ({ run, told }) => {
    const stage = setUp()
    const answer = await new Promise((resolve) => {
      stage.jobs.middleware()(undefined, undefined, () => resolve(run(stage)))
    })
    expect(answer).toBe(resolveTold(stage, told))
  })

  test.each(INSIDE)('of a job: $name', async ({ run, told }) => {
    const stage = setUp()
    const starter = new stage.ProjectService()
    const answer = new Promise((resolve) => {
      starter.work = async () => resolve(await run(stage))
    })
    await starter.start(0)
    await stage.jobs.runNext()
    stage.tokens.shift()
    expect(await answer).toBe(resolveTold(stage, told))
  })

  test('of somebody else, an object has no token', async () => {
    const { jobs, service } = setUp()
    const entity = { id: 7 }
    await jobs.scope(() => service.start(entity))
    await service.start(entity)
    expect(jobs.scope(() => service.getJobToken(entity))).toBeUndefined()
  })

  test('a scope answers what its function answers, and rejects as it does', async () => {
    const { jobs } = setUp()
    expect(jobs.scope(() => 7)).toBe(7)
    expect(await jobs.scope(async () => 7)).toBe(7)
    await expect(jobs.scope(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  })
})

test('a job sees neither what its request has started nor what it is itself', async () => {
  const { jobs, service } = setUp()
  const entity = { id: 7 }
  const told = new Promise<unknown>((resolve) => {
    service.work = () => resolve([ask(() => service.getJobToken()), ask(() => service.getJobToken(entity))])
  })
  await jobs.scope(() => service.start(entity))
  await jobs.runNext()
  expect(await told).toEqual([null, null])
})

test('a job that opens a scope is still the parent of what it starts there', async () => {
  const { jobs, tokens, service, ProjectService } = setUp()
  service.work = () => jobs.scope(() => new ProjectService().start(8))
  await service.start(7)
  await jobs.runNext()
  expect(await jobs.status(String(tokens[1]))).toMatchObject({ parent: tokens[0] })
})

describe("tokenScope: 'instance'", () => {
  test("tells an instance's last token in a process that serves", async () => {
    const { service, ProjectService } = setUp({ tokenScope: 'instance' })
    const token = await service.start(7)
    await new ProjectService().start(8)
    expect(service.getJobToken()).toBe(token)
    await service.touch({ id: 7 })
    expect(service.getJobToken()).toBeUndefined()
  })

  test('tells it also where the scope is lost in which it was started', async () => {
    const { jobs, service } = setUp({ tokenScope: 'instance' })
    const token = await jobs.scope(() => service.start(7))
    expect(token).toBeDefined()
    expect(service.getJobToken()).toBe(token)
  })

  test('leaves the rules for entities and scopes as they are', async () => {
    const { jobs, service } = setUp({ tokenScope: 'instance' })
    const entity = { id: 7 }
    await service.start(entity)
    expect(service.getJobToken({ ...entity })).toBeUndefined()
    expect(jobs.scope(() => service.getJobToken())).toBeUndefined()
    await service.start(entity)
    expect(ask(() => service.getJobToken(entity))).toBe('NO_SCOPE')
  })
})

describe('a service wrapped as Feathers wraps it', () => {
  test.each(['outside', 'inside'])('%s a scope has the tokens that it started itself', async (where) => {
    const { jobs, ProjectService } = setUp()
    const wrapper: InstanceType<typeof ProjectService> = Object.create(new ProjectService())
    const entity = { id: 7 }
    const told = async () => [await wrapper.start(entity), wrapper.getJobToken(entity)]
    const [token, answer] = await (where === 'outside' ? told() : jobs.scope(told))
    expect(answer).toBe(token)
    expect(token).toBeDefined()
  })

  test('shares the tokens of the service that it wraps', async () => {
    const { jobs, service } = setUp()
    await jobs.scope(async () => {
      const token = await service.start(7)
      const wrapper: typeof service = Object.create(service)
      expect(wrapper.getJobToken()).toBe(token)
      const next = await wrapper.start(8)
      expect(service.getJobToken()).toBe(next)
    })
  })

  test('an attached object as well', async () => {
    const { jobs } = setUp()
    const service = attachAfterJobs({ async afterCreateJob() {} }, { jobs, name: 'project' })
    await jobs.scope(async () => {
      const wrapper: typeof service = Object.create(service)
      const token = await wrapper.executeJob('after', 'create', 7)
      expect(wrapper.getJobToken()).toBe(token)
    })
  })
})

function resolveTold({ tokens }: Stage, told: Case['told']): string | null | undefined {
  return typeof told === 'number' ? tokens[told] : told
}

import {
  type AfterJobs,
  type AfterJobsError,
  type AfterJobsMethods,
  type AfterJobsOptions,
  attachAfterJobs,
  createAfterJobs,
  defaultAfterJobs,
  type JobAnswer,
  type JobContext,
  JobError,
  type JobQueue,
  type JobStatus,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { afterEach, expect, test, vi } from 'vitest'
import { makeGate, rejection } from './support/runtime'
import { spyCache, spyLogger } from './support/spies'

// Every queue in memory that anybody makes is counted; they work as ever.
vi.mock('../../src/memory/queue', { spy: true })
const queuesMadeOnImport = vi.mocked(memoryQueue).mock.calls.length

const opened: AfterJobs[] = []

afterEach(async () => {
  vi.useRealTimers()
  await Promise.all(opened.splice(0).map((jobs) => jobs.close({ grace: 0 })))
})

function makeJobs(options: AfterJobsOptions = {}): AfterJobs {
  const jobs = createAfterJobs({ logger: spyLogger(), ...options })
  opened.push(jobs)
  return jobs
}

/** The queue of this process, said to be shared; and the cache likewise. */
function makeSharedJobs(queue: Partial<JobQueue> = {}): AfterJobs {
  const inner = memoryQueue({ autoStart: false })
  return makeJobs({ queue: { ...inner, isShared: true, ...queue }, cache: { ...spyCache(), isLocal: false } })
}

async function settled(jobs: AfterJobs, token: string | undefined): Promise<JobStatus> {
  return jobs.settled(token ?? '', { signal: AbortSignal.timeout(5_000) })
}

interface Row {
  id: number
}

abstract class Table<T extends Row> {
  static table = 'rows'
  static readonly #secret = 'static'
  readonly #rows = new Map<number, T>()
  protected readonly prefix = 'row'
  readonly made: unknown[]

  constructor(
    readonly database: string,
    ...rest: number[]
  ) {
    this.made = [new.target.name, ...rest]
  }

  static describe(): string {
    return `${Table.table} (${Table.#secret})`
  }

  static holds(value: object): boolean {
    return #rows in value
  }

  abstract label(id: number): string

  async create(row: T): Promise<T> {
    this.#rows.set(row.id, row)
    return row
  }

  find(id: number): T | undefined {
    return this.#rows.get(id)
  }
}

class Plain extends Table<Row> {
  label(id: number): string {
    return `${this.prefix} ${id}`
  }
}

function makeServiceClass(jobs: AfterJobs, auto: string[] = []) {
  return class Service extends withAfterJobs(Table, { jobs, auto })<Row> {
    static readonly jobName = 'rows'
    readonly seen: unknown[] = []

    label(id: number): string {
      return `${this.prefix} ${id}`
    }

    async afterCreateJob(id: number, token: string, progress: ProgressReporter, job: JobContext) {
      this.seen.push({ row: this.find(id), token, job, isReporter: typeof progress.tick === 'function' })
    }
  }
}

// What the mixin keeps of a class, and what it adds.

test.each([[[]], [['create']]])('keeps the class as it was (auto: %j)', (auto) => {
  const Service = makeServiceClass(makeJobs(), auto)
  const service = new Service('db', 1, 2)
  expect(service.made).toEqual(['Service', 1, 2])
  expect(service.database).toBe('db')
  expect(service.label(3)).toBe('row 3')
  expect(service).toBeInstanceOf(Table)
  expect(service).toBeInstanceOf(Service)
  expect(service.constructor).toBe(Service)
  expect(Table.holds(service)).toBe(true)
  expect(Service.describe()).toBe('rows (static)')
})

test.each([[[]], [['create']]])('adds nothing to a new instance (auto: %j)', (auto) => {
  const Service = makeServiceClass(makeJobs(), auto)
  expect(Reflect.ownKeys(new Service('db'))).toEqual([...Reflect.ownKeys(new Plain('db')), 'seen'])
})

test.each([[[]], [['create']]])('keeps its state in one hidden, symbol-keyed property (auto: %j)', async (auto) => {
  const jobs = makeJobs()
  const service = new (makeServiceClass(jobs, auto))('db')
  const before = Reflect.ownKeys(service)
  await settled(jobs, await service.executeJob('after', 'create', await service.create({ id: 1 })))
  service.getJobToken()
  const added = Reflect.ownKeys(service).filter((key) => !before.includes(key))
  expect(added).toEqual([expect.any(Symbol)])
  expect(Object.getOwnPropertyDescriptor(service, added[0] as symbol)?.enumerable).toBe(false)
})

test('is seen by neither JSON, nor a spread, nor a loop', async () => {
  const service = new (class extends withAfterJobs({ jobs: makeJobs(), auto: ['save'] }) {
    name = 'x'
    async save() {
      return 1
    }
    afterSaveJob() {}
  })()
  await service.save()
  const looped: string[] = []
  for (const key in service) looped.push(key)
  expect([JSON.stringify(service), Reflect.ownKeys({ ...service }), looped]).toEqual([
    '{"name":"x"}',
    ['name'],
    ['name'],
  ])
})

test('calls the hook with id, token, progress and job, on the instance', async () => {
  const jobs = makeJobs()
  const service = new (makeServiceClass(jobs))('db')
  const row = await service.create({ id: 7 })
  const token = await service.executeJob('after', 'create', row, { attempts: 2, payload: { why: 'new' } })
  expect(await settled(jobs, token)).toMatchObject({ token, status: 'done', progress: 100, attempt: 1, attempts: 2 })
  const job = { token, id: 7, service: 'rows', hook: 'afterCreateJob', payload: { why: 'new' }, context: undefined }
  const run = { attempt: 1, attempts: 2, parent: null, signal: expect.any(AbortSignal) }
  expect(service.seen).toEqual([{ row, token, job: expect.objectContaining({ ...job, ...run }), isReporter: true }])
})

test.each([
  ['nothing', () => withAfterJobs()],
  ['options', () => withAfterJobs({ jobs: makeJobs() })],
])('makes a class of its own out of %s', async (_, makeBase) => {
  class Service extends makeBase() {
    ran: number[] = []
    afterCreateJob(id: number) {
      this.ran.push(id)
    }
  }
  const service = new Service()
  await service.executeJob('after', 'create', 0)
  await vi.waitFor(() => expect(service.ran).toEqual([0]))
})

test('makes the default runtime on first use, not on import', async () => {
  const key = Symbol.for('after-jobs.default')
  Reflect.deleteProperty(globalThis, key)
  expect(queuesMadeOnImport).toBe(0)
  vi.mocked(memoryQueue).mockClear()
  class Service extends withAfterJobs() {
    afterCreateJob() {}
  }
  const service = new Service()
  expect(await service.executeJob('after', 'update' as string, 1)).toBeUndefined()
  expect(memoryQueue).not.toHaveBeenCalled()
  const token = await service.executeJob('after', 'create', 1)
  expect(memoryQueue).toHaveBeenCalledTimes(1)
  expect(await settled(defaultAfterJobs(), token)).toMatchObject({ status: 'done' })
  expect(memoryQueue).toHaveBeenCalledTimes(1)
})

test('works on a wrapper made by Object.create, as Feathers makes it', async () => {
  const jobs = makeJobs()
  const Service = class extends withAfterJobs({ jobs, auto: ['create'] }) {
    readonly ran: unknown[] = []
    async create(row: Row) {
      return { ...row }
    }
    afterCreateJob(id: number) {
      this.ran.push(id)
    }
  }
  const service = new Service()
  const wrapper: typeof service = Object.create(service)
  const made = await wrapper.create({ id: 1 })
  const token = wrapper.getJobToken(made)
  expect(await settled(jobs, token)).toMatchObject({ status: 'done' })
  await settled(jobs, await wrapper.executeJob('after', 'create', 2))
  expect(service.ran).toEqual([1, 2])
})

test('lets a service and its wrapper find the same tokens', async () => {
  const jobs = makeJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const first = { id: 1 }
  const second = { id: 2 }
  await service.executeJob('after', 'create', first)
  const wrapper: typeof service = Object.create(service)
  await wrapper.executeJob('after', 'create', second)
  expect(wrapper.getJobToken(first)).toBe(service.getJobToken(first))
  expect(service.getJobToken(second)).toEqual(expect.any(String))
})

test('works on a service that is frozen', async () => {
  const jobs = createTestJobs()
  class Frozen extends withAfterJobs({ jobs }) {
    constructor() {
      super()
      Object.freeze(this)
    }
    afterCreateJob() {}
  }
  const service = new Frozen()
  const row = { id: 1 }
  const token = await service.executeJob('after', 'create', row)
  expect([service.getJobToken(row), service.getJobToken()]).toEqual([token, token])
  expect(new Frozen().getJobToken()).toBeUndefined()
})

test('is applied once, however often it is applied', async () => {
  const jobs = createTestJobs()
  class Service extends withAfterJobs({ jobs, auto: ['create'] }) {
    async create() {
      return 1
    }
    afterCreateJob() {}
  }
  class Again extends withAfterJobs(Service) {
    afterUpdateJob() {}
  }
  const service = new (withAfterJobs(Again))()
  await service.create()
  await service.executeJob('after', 'update', 1)
  expect(jobs.dispatched.map(({ hook }) => hook)).toEqual(['afterCreateJob', 'afterUpdateJob'])
})

test.each([
  ['jobs', { jobs: createAfterJobs() }],
  ['auto', { auto: ['create'] }],
  ['nothing set', {}],
])('refuses a second application with options: %s', (_, options) => {
  class Service extends withAfterJobs() {}
  class Sub extends Service {}
  const expected = expect.objectContaining({ code: 'ALREADY_APPLIED', message: expect.stringContaining('Sub') })
  expect(() => withAfterJobs(Sub, options)).toThrow(expected)
  const service = attachAfterJobs({})
  expect(() => attachAfterJobs(service, options)).toThrow(expect.objectContaining({ code: 'ALREADY_APPLIED' }))
})

test('a base whose constructor always answers the same object starts its jobs once', async () => {
  const jobs = createTestJobs()
  class Singleton {
    static only: Singleton | undefined
    constructor() {
      Singleton.only ??= this
      // biome-ignore lint/correctness/noConstructorReturn: some services are made like this
      return Singleton.only
    }
    async create() {
      return 1
    }
    afterCreateJob() {}
  }
  class Service extends withAfterJobs(Singleton, { jobs, auto: ['create'] }) {}
  expect(new Service()).toBe(new Service())
  await new Service().create()
  expect(jobs.dispatched).toHaveLength(1)
})

// Plain objects.

test('attaches to a plain object, whose own enumerable keys stay as they are', async () => {
  const jobs = createTestJobs()
  const ran: unknown[] = []
  const object = {
    rows: 0,
    create: async (row: Row) => row,
    afterCreateJob: (id: number) => void ran.push(id),
  }
  const service = attachAfterJobs(object, { jobs, name: 'rows', auto: ['create'] })
  expect(service).toBe(object)
  expect(Object.keys(object)).toEqual(['rows', 'create', 'afterCreateJob'])
  expect(Object.keys({ ...object })).toEqual(['rows', 'create', 'afterCreateJob'])
  const row = await service.create({ id: 4 })
  expect(service.getJobToken(row)).toBe(jobs.dispatched[0]?.token)
  expect(jobs.dispatched).toMatchObject([{ service: 'rows', hook: 'afterCreateJob', id: 4 }])
  await jobs.drain()
  expect(ran).toEqual([4])
})

test('attaches once', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ create: async () => 1, afterCreateJob() {} }, { jobs, auto: ['create'] })
  expect(attachAfterJobs(service)).toBe(service)
  await service.create()
  expect(jobs.dispatched).toHaveLength(1)
})

test('attaches to an object without a prototype', async () => {
  const jobs = createTestJobs()
  const object: { afterCreateJob(): void } = Object.assign(Object.create(null), { afterCreateJob() {} })
  const service = attachAfterJobs(object, { jobs })
  const token = await service.executeJob('after', 'create', 1)
  await jobs.drain()
  expect(await jobs.status(token ?? '')).toMatchObject({ status: 'done' })
})

test('knows an instance of a class that has it already', async () => {
  const jobs = createTestJobs()
  class Service extends withAfterJobs({ jobs }) {
    afterCreateJob() {}
  }
  const service = attachAfterJobs(new Service())
  await service.executeJob('after', 'create', 1)
  expect(jobs.dispatched).toHaveLength(1)
  const again = () => attachAfterJobs(new Service(), { auto: ['create'] })
  expect(again).toThrow(expect.objectContaining({ code: 'ALREADY_APPLIED' }))
})

// Names.

test('a class without jobName works in memory', async () => {
  const jobs = makeJobs()
  class Nameless extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, _progress: ProgressReporter, job: JobContext) {
      return { result: job.service }
    }
  }
  const status = await settled(jobs, await new Nameless().executeJob('after', 'create', 1))
  expect(status).toMatchObject({ status: 'done', result: 'Nameless' })
})

test('a class without jobName is refused on a queue that processes share', async () => {
  class Nameless extends withAfterJobs({ jobs: makeSharedJobs() }) {
    afterCreateJob() {}
  }
  const error = await rejection(new Nameless().executeJob('after', 'create', 1))
  expect(error).toMatchObject({ name: 'AfterJobsError', code: 'NO_JOB_NAME' })
  expect(String(error)).toMatch(/Nameless.*static readonly jobName = '/)
})

test('a plain object without a name is refused on a shared queue, and told of the name option', async () => {
  const jobs = makeSharedJobs()
  const error = await rejection(attachAfterJobs({ afterCreateJob() {} }, { jobs }).executeJob('after', 'create', 1))
  expect(error).toMatchObject({ code: 'NO_JOB_NAME', message: expect.stringContaining('name:') })
  const named = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'rows' })
  expect(await named.executeJob('after', 'create', 1)).toEqual(expect.any(String))
})

test('two nameless classes of the same name do not share a dedupe key', async () => {
  const jobs = createTestJobs()
  const makeNameless = () =>
    class Nameless extends withAfterJobs({ jobs }) {
      afterCreateJob() {}
    }
  const services = [new (makeNameless())(), new (makeNameless())()]
  const tokens = await Promise.all(services.map((each) => each.executeJob('after', 'create', 1, { dedupe: 'k' })))
  expect(new Set(tokens).size).toBe(2)
})

test('two instances of one nameless class do share it', async () => {
  const jobs = createTestJobs()
  class Nameless extends withAfterJobs({ jobs }) {
    afterCreateJob() {}
  }
  const services = [new Nameless(), new Nameless()]
  const tokens = await Promise.all(services.map((each) => each.executeJob('after', 'create', 1, { dedupe: 'k' })))
  expect(new Set(tokens).size).toBe(1)
})

test('a nameless class does not share a dedupe key with a service of that jobName', async () => {
  const jobs = createTestJobs()
  class Project extends withAfterJobs({ jobs }) {
    afterCreateJob() {}
  }
  const named = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'Project' })
  const first = await named.executeJob('after', 'create', 1, { dedupe: 'k' })
  expect(await new Project().executeJob('after', 'create', 1, { dedupe: 'k' })).not.toBe(first)
})

test('a jobName is the name, whatever nameless classes there are', async () => {
  const jobs = createTestJobs()
  class Project extends withAfterJobs({ jobs }) {
    afterCreateJob() {}
  }
  class Named extends withAfterJobs({ jobs }) {
    static readonly jobName = 'Project'
    afterCreateJob() {}
  }
  const nameless = await new Project().executeJob('after', 'create', 1, { dedupe: 'k' })
  const named = await new Named().executeJob('after', 'create', 1, { dedupe: 'k' })
  expect(named).not.toBe(nameless)
  expect(jobs.dispatched.find(({ token }) => token === named)).toMatchObject({ service: 'Project' })
})

// executeJob.

test('without a hook it resolves to undefined, and looks at no id', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob: undefined as (() => void) | undefined }, { jobs })
  const bad = { id: 1n } as unknown as Row
  expect(await service.executeJob('after', 'update' as string, bad)).toBeUndefined()
  expect(await service.executeJob('after', 'create', bad)).toBeUndefined()
  expect(await service.executeJobs('after', 'update' as string, [bad])).toEqual([])
  expect(jobs.dispatched).toEqual([])
  expect(await jobs.health()).toMatchObject({ waiting: 0, active: 0 })
})

test('finds a hook that is a field of the instance, and one that comes by inheritance', async () => {
  const jobs = createTestJobs()
  class Parent extends withAfterJobs({ jobs }) {
    beforeDeleteJob() {}
  }
  class Child extends Parent {
    readonly afterCreateJob = async () => {}
  }
  const service = new Child()
  await service.executeJob('after', 'create', 1)
  await service.executeJob('before', 'delete', 2)
  expect(jobs.dispatched.map(({ hook, id }) => [hook, id])).toEqual([
    ['afterCreateJob', 1],
    ['beforeDeleteJob', 2],
  ])
})

test('before and after are two hooks', async () => {
  const jobs = createTestJobs()
  const ran: string[] = []
  const hooks = { beforeSaveJob: () => void ran.push('before'), afterSaveJob: () => void ran.push('after') }
  const service = attachAfterJobs(hooks, { jobs })
  await service.executeJob('before', 'save', 1)
  await jobs.drain()
  expect(ran).toEqual(['before'])
  await service.executeJob('after', 'save', 1)
  await jobs.drain()
  expect(ran).toEqual(['before', 'after'])
})

test.each([0, -1, 1.5, '', 'a/ü', { id: 0 }, { id: '' }, { id: 'x', other: null }])(
  'takes %j as a subject',
  async (subject) => {
    const jobs = createTestJobs()
    const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
    await service.executeJob('after', 'create', subject)
    expect(jobs.dispatched).toMatchObject([{ id: typeof subject === 'object' ? subject.id : subject }])
  },
)

test.each(['a', 'create', 'createMany2', `a${'B'.repeat(63)}`])('takes %s as an action', async (action) => {
  const jobs = createTestJobs()
  const hook = `after${action.charAt(0).toUpperCase()}${action.slice(1)}Job`
  const service = attachAfterJobs({ [hook]: () => {} }, { jobs })
  expect(await service.executeJob('after', action, 1)).toEqual(jobs.dispatched[0]?.token)
})

test('the status can be read as soon as it has resolved', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const token = await service.executeJob('after', 'create', 1, { attempts: 4 })
  const waiting = { status: 'pending', progress: 0, label: null, message: null, code: null, attempt: 0, attempts: 4 }
  const rest = { result: null, parent: null, hint: null, startedAt: null, finishedAt: null }
  const times = { createdAt: expect.any(Number), updatedAt: expect.any(Number) }
  expect(await jobs.status(token ?? '')).toEqual({ token, ...waiting, ...rest, ...times })
})

test('a hook never starts in the tick of its caller', async () => {
  let hasStarted = false
  const start = () => {
    hasStarted = true
  }
  const service = attachAfterJobs({ afterCreateJob: start }, { jobs: makeJobs() })
  await service.executeJob('after', 'create', 1)
  await service.executeJobs('after', 'create', [2, 3])
  for (let step = 0; step < 100; step++) await Promise.resolve()
  expect(hasStarted).toBe(false)
  await vi.waitFor(() => expect(hasStarted).toBe(true))
})

test.each<[string, () => unknown, object]>([
  ['nothing', () => {}, { status: 'done', result: null }],
  ["'done'", () => 'done', { status: 'done', result: null }],
  ['a result', () => ({ result: { rows: [1, null, 'ü'] } }), { status: 'done', result: { rows: [1, null, 'ü'] } }],
  ['a falsy result', () => ({ result: 0 }), { status: 'done', result: 0 }],
  ['an empty result', () => ({ result: undefined }), { status: 'done', result: null }],
  ["'error'", () => 'error', { status: 'error', code: 'failed', message: expect.stringMatching(/.+/), progress: 30 }],
])('a hook may return %s', async (_, value, expected) => {
  const jobs = makeJobs({ attempts: 3 })
  const afterCreateJob = vi.fn(async (_id: unknown, _token: string, progress: ProgressReporter) => {
    progress.set(30)
    return value() as undefined
  })
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const status = await settled(jobs, await service.executeJob('after', 'create', 1))
  expect(status).toMatchObject({ progress: 100, ...expected, attempt: 1 })
  expect(afterCreateJob).toHaveBeenCalledTimes(1)
})

test('what a reader does to a status changes nothing for others', async () => {
  const jobs = makeJobs()
  const service = attachAfterJobs({ afterCreateJob: () => ({ result: { rows: [1] } }) }, { jobs })
  const token = (await service.executeJob('after', 'create', 1)) ?? ''
  const status = await settled(jobs, token)
  const { result } = status as unknown as { result: { rows: number[] } }
  result.rows.push(2)
  expect(await jobs.status(token)).toMatchObject({ result: { rows: [1] } })
})

test('a JobError is final, and its message public', async () => {
  const jobs = makeJobs()
  const afterCreateJob = vi.fn(() => Promise.reject(new JobError('The project does not exist')))
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const status = await settled(jobs, await service.executeJob('after', 'create', 1, { attempts: 3 }))
  expect(status).toMatchObject({ status: 'error', code: 'failed', message: 'The project does not exist', attempt: 1 })
  expect(afterCreateJob).toHaveBeenCalledTimes(1)
})

test('in a script getJobToken() gives the token of the last action, one action after the other', async () => {
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs: makeJobs() })
  const tokens = [await service.executeJob('after', 'create', 1), await service.executeJob('after', 'create', 2)]
  expect(service.getJobToken()).toBe(tokens[1])
  const [third] = await service.executeJobs('after', 'create', [3])
  expect(service.getJobToken()).toBe(third)
  await service.executeJob('after', 'update' as string, 4)
  expect(service.getJobToken()).toBeUndefined()
})

test.each<[string, () => AfterJobs, { tokenScope?: 'instance' }]>([
  ['a script', () => makeJobs(), {}],
  ["a service with tokenScope: 'instance'", () => makeJobs(), { tokenScope: 'instance' }],
  ['a unit test', () => createTestJobs(), {}],
])('in %s what a job starts is not the last action', async (_, make, options) => {
  const jobs = make()
  const children: unknown[] = []
  const hooks = {
    async afterCreateJob() {
      children.push(
        await service.executeJob('after', 'update', 2),
        await service.executeJob('after', 'touch' as string, 2),
      )
    },
    afterUpdateJob() {},
  }
  const service: typeof hooks & AfterJobsMethods = attachAfterJobs(hooks, { jobs, ...options })
  const token = await service.executeJob('after', 'create', 1)
  await jobs.drain()
  expect(children).toEqual([expect.any(String), undefined])
  expect(service.getJobToken()).toBe(token)
})

test('in a script what was started in a scope is not the last action', async () => {
  const jobs = makeJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const token = await service.executeJob('after', 'create', 1)
  await jobs.scope(() => service.executeJob('after', 'create', 2))
  expect(service.getJobToken()).toBe(token)
})

test('an adapter that wraps another one by a spread is the one that is asked', async () => {
  const [queue, cache] = [memoryQueue(), memoryCache()]
  const enqueue = vi.fn(queue.enqueue)
  const [read, write] = [vi.fn(cache.read), vi.fn(cache.write)]
  const jobs = makeJobs({ queue: { ...queue, enqueue }, cache: { ...cache, read, write } })
  const token = await attachAfterJobs({ afterCreateJob() {} }, { jobs }).executeJob('after', 'create', 1)
  expect(enqueue).toHaveBeenCalledTimes(1)
  expect(write).toHaveBeenCalled()
  expect(await settled(jobs, token)).toMatchObject({ status: 'done' })
  expect(read).toHaveBeenCalled()
})

// executeJobs.

test('executeJobs answers the tokens in order, and each job is its own', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob: (id: number) => ({ result: id }) }, { jobs })
  const subjects = [3, { id: 1 }, 2]
  const tokens = await service.executeJobs('after', 'create', subjects, { payload: { why: 'all' } })
  expect(jobs.dispatched.map(({ token }) => token)).toEqual(tokens)
  expect(jobs.dispatched.map(({ id, payload }) => [id, payload])).toEqual([3, 1, 2].map((id) => [id, { why: 'all' }]))
  expect(jobs.dispatched[0]?.payload).not.toBe(jobs.dispatched[1]?.payload)
  await jobs.drain()
  const statuses = await Promise.all(tokens.map((token) => jobs.status(token)))
  expect(statuses).toMatchObject([{ result: 3 }, { result: 1 }, { result: 2 }])
  expect(await service.executeJobs('after', 'create', [])).toEqual([])
})

test('executeJobs takes all or nothing in memory', async () => {
  const jobs = makeJobs({ queue: memoryQueue({ autoStart: false, maxWaiting: 3 }) })
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs })
  await service.executeJobs('after', 'create', [1, 2])
  const error = await rejection(service.executeJobs('after', 'create', [3, 4]))
  expect(error).toMatchObject({ name: 'AfterJobsError', code: 'QUEUE_FULL' })
  expect((error as AfterJobsError).accepted).toBeUndefined()
  expect(await jobs.health()).toMatchObject({ waiting: 2 })
  while (await jobs.runNext());
  expect(ran).toEqual([1, 2])
})

test('executeJobs starts nothing when one id is wrong', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const subjects = [1, { id: null as unknown as number }, 3]
  expect(await rejection(service.executeJobs('after', 'create', subjects))).toMatchObject({ code: 'INVALID_ID' })
  expect(jobs.dispatched).toEqual([])
})

test('executeJobs takes one call to queue and cache per thousand on a shared queue', async () => {
  const inner = memoryQueue({ autoStart: false })
  const enqueueMany = vi.fn(inner.enqueueMany)
  const cache = { ...spyCache(), isLocal: false }
  const jobs = makeJobs({ queue: { ...inner, isShared: true, enqueueMany }, cache })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'rows' })
  const ids = Array.from({ length: 2_500 }, (_, index) => index)
  const tokens = await service.executeJobs('after', 'create', ids)
  expect(new Set(tokens).size).toBe(2_500)
  expect(enqueueMany.mock.calls.map(([batch]) => batch.length)).toEqual([1_000, 1_000, 500])
  expect(cache.calls).toEqual({ read: 0, write: 0, writeMany: 3 })
})

test('executeJobs tells after a failure half-way what was accepted', async () => {
  const inner = memoryQueue({ autoStart: false })
  const enqueueMany = vi.fn(inner.enqueueMany)
  enqueueMany.mockImplementationOnce(inner.enqueueMany).mockRejectedValueOnce(new Error('connection lost'))
  const jobs = makeSharedJobs({ enqueueMany })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'rows' })
  const ids = Array.from({ length: 2_500 }, (_, index) => index)
  const error = await rejection(service.executeJobs('after', 'create', ids))
  const [first, second] = enqueueMany.mock.calls.map(([batch]) => batch.map(({ token }) => token))
  expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', accepted: first })
  expect(await jobs.status(first?.[999] ?? '')).toMatchObject({ status: 'pending' })
  expect(await jobs.status(second?.[0] ?? '')).toMatchObject({ status: 'error', code: 'enqueue_failed' })
  expect(enqueueMany).toHaveBeenCalledTimes(2)
})

// Options.

test('delay keeps a job back, beyond what a timer of the platform can take', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  const jobs = makeJobs()
  const afterCreateJob = vi.fn()
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const delay = 2 ** 31 + 1_000
  const token = (await service.executeJob('after', 'create', 1, { delay })) ?? ''
  await vi.advanceTimersByTimeAsync(delay - 1)
  expect(afterCreateJob).not.toHaveBeenCalled()
  expect(await jobs.status(token)).toMatchObject({ status: 'pending', hint: null })
  await vi.advanceTimersByTimeAsync(1)
  vi.useRealTimers()
  expect(await settled(jobs, token)).toMatchObject({ status: 'done' })
})

test('a higher priority runs first, equal ones in order', async () => {
  const jobs = createTestJobs()
  const ran: number[] = []
  const service = attachAfterJobs({ afterCreateJob: (id: number) => void ran.push(id) }, { jobs })
  const priorities = [undefined, -1_000, 1_000, 0, 5, 1_000]
  for (const [id, priority] of priorities.entries()) {
    await service.executeJob('after', 'create', id, priority === undefined ? {} : { priority })
  }
  await jobs.drain()
  expect(ran).toEqual([2, 5, 4, 0, 3, 1])
})

test('attempts repeats an unexpected failure, and only the last one is an error', async () => {
  const jobs = createTestJobs()
  const attempts: number[] = []
  const afterCreateJob = (_id: number, _token: string, progress: ProgressReporter, job: JobContext) => {
    attempts.push(job.attempt)
    progress.set(50)
    throw new Error(`failure ${job.attempt}`)
  }
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const token = (await service.executeJob('after', 'create', 1, { attempts: 2 })) ?? ''
  await jobs.runNext()
  expect(await jobs.status(token)).toMatchObject({
    status: 'pending',
    progress: 0,
    attempt: 1,
    attempts: 2,
    message: null,
  })
  await jobs.runNext()
  const expected = { status: 'error', code: 'unexpected', message: 'failure 2', attempt: 2, attempts: 2 }
  expect(await jobs.status(token)).toMatchObject(expected)
  expect(attempts).toEqual([1, 2])
  expect(await jobs.runNext()).toBe(false)
})

test.each([
  [undefined, [0, 0, 0]],
  [{ type: 'fixed', delay: 50 } as const, [50, 50, 50]],
  [{ type: 'exponential', delay: 50 } as const, [50, 100, 200]],
])('backoff %j waits between attempts', async (backoff, expected) => {
  const answers: JobAnswer[] = []
  const jobs = makeJobs({ queue: impatientQueue(answers), attempts: 4, ...(backoff && { backoff }) })
  const afterCreateJob = () => Promise.reject(new Error('again'))
  const service = attachAfterJobs({ afterCreateJob }, { jobs })
  const token = await service.executeJob('after', 'create', 1)
  while (await jobs.runNext());
  expect(answers.map((answer) => ('delay' in answer ? answer.delay : answer.type))).toEqual([...expected, 'failed'])
  expect(await jobs.status(token ?? '')).toMatchObject({ status: 'error', attempt: 4 })
})

/** A queue that notes the answers, and delivers again at once. */
function impatientQueue(answers: JobAnswer[]): JobQueue {
  const queue = memoryQueue({ autoStart: false })
  return {
    ...queue,
    runOne: (run) =>
      queue.runOne(async (envelope, delivery) => {
        const answer = await run(envelope, delivery)
        answers.push(answer)
        return 'delay' in answer ? { ...answer, delay: 0 } : answer
      }),
  }
}

test('what a caller later does to its options changes no job', async () => {
  const answers: JobAnswer[] = []
  const jobs = makeJobs({ queue: impatientQueue(answers) })
  const service = attachAfterJobs({ afterCreateJob: () => Promise.reject(new Error('again')) }, { jobs })
  const options = { attempts: 3, backoff: { type: 'fixed' as const, delay: 50 } }
  await service.executeJob('after', 'create', 1, options)
  Object.assign(options, { attempts: 1 })
  options.backoff.delay = 7
  while (await jobs.runNext());
  expect(answers).toMatchObject([{ type: 'retry', delay: 50 }, { type: 'retry', delay: 50 }, { type: 'failed' }])
})

test('timeout is final, aborts the signal, and is told to the compensation after the body has ended', async () => {
  const jobs = makeJobs()
  const log: string[] = []
  const gate = makeGate()
  const service = attachAfterJobs(
    {
      async afterCreateJob(_id: number, _token: string, progress: ProgressReporter) {
        progress.signal.addEventListener('abort', () => log.push('aborted'))
        await gate.opened
        log.push('body ended')
      },
      afterCreateJobFailed: (_id: number, _token: string, error: Error) => void log.push(error.message),
    },
    { jobs },
  )
  const token = await service.executeJob('after', 'create', 1, { timeout: 5, attempts: 3 })
  const status = await settled(jobs, token)
  expect(status).toMatchObject({ status: 'error', code: 'timeout', attempt: 1 })
  expect(log).toEqual(['aborted'])
  gate.open()
  await vi.waitFor(() => expect(log).toEqual(['aborted', 'body ended', status.message]))
})

test('the defaults of the runtime hold where a job says nothing else', async () => {
  const backoff = { type: 'fixed', delay: 9 } as const
  const jobs = createTestJobs({ attempts: 3, backoff, timeout: 1_000 })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  await service.executeJob('after', 'create', 1)
  await service.executeJob('after', 'create', 1, { attempts: 1, backoff: { type: 'fixed', delay: 0 }, timeout: 5 })
  expect(jobs.dispatched).toMatchObject([
    { attempts: 3, backoff, timeout: 1_000, delay: 0, priority: 0, dedupe: null },
    { attempts: 1, backoff: { delay: 0 }, timeout: 5 },
  ])
})

// dedupe.

test('dedupe: while a job waits, its token is the answer, and nothing else exists', async () => {
  const cache = spyCache()
  const jobs = createTestJobs({ cache })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const start = () => service.executeJob('after', 'create', 1, { dedupe: 'k' })
  const tokens = await Promise.all([start(), start(), start()])
  tokens.push(await start(), ...(await service.executeJobs('after', 'create', [2, 3], { dedupe: 'k' })))
  const [token = ''] = tokens
  expect(new Set(tokens).size).toBe(1)
  expect(jobs.dispatched.map((envelope) => envelope.token)).toEqual([token])
  expect(new Set(cache.writes.map((write) => write.token))).toEqual(new Set([token]))
  expect(await jobs.status(token)).toMatchObject({ token, status: 'pending' })
  await jobs.drain()
  expect(await jobs.status(token)).toMatchObject({ status: 'done' })
})

test('dedupe: another key, hook or service is another job', async () => {
  const jobs = createTestJobs()
  const one = attachAfterJobs({ afterCreateJob() {}, beforeCreateJob() {} }, { jobs, name: 'one' })
  const two = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'two' })
  const tokens = [
    await one.executeJob('after', 'create', 1, { dedupe: 'k' }),
    await one.executeJob('after', 'create', 1, { dedupe: 'l' }),
    await one.executeJob('before', 'create', 1, { dedupe: 'k' }),
    await two.executeJob('after', 'create', 1, { dedupe: 'k' }),
    await one.executeJob('after', 'create', 1),
  ]
  expect(new Set(tokens).size).toBe(5)
})

test('dedupe: the first start frees the key, and a retry does not take it again', async () => {
  const jobs = createTestJobs()
  const started: (string | undefined)[] = []
  const start = () => service.executeJob('after', 'create', 1, { dedupe: 'k', attempts: 2 })
  const service = attachAfterJobs(
    {
      async afterCreateJob() {
        if (started.length === 0) started.push(await start())
        throw new Error('again')
      },
    },
    { jobs },
  )
  const first = await start()
  await jobs.runNext()
  const [second] = started
  expect(second).not.toBe(first)
  expect(await start()).toBe(second)
  expect(await jobs.status(first ?? '')).toMatchObject({ status: 'pending', attempt: 1 })
  // What stands for the key is the second; the end of the first frees nothing.
  await jobs.cancel(first ?? '')
  expect(await start()).toBe(second)
})

test('dedupe: a cancelled job frees the key at once', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  for (const delay of [0, 60_000]) {
    const first = (await service.executeJob('after', 'create', 1, { dedupe: 'k', delay })) ?? ''
    await jobs.cancel(first)
    const second = (await service.executeJob('after', 'create', 1, { dedupe: 'k' })) ?? ''
    expect(await jobs.status(first)).toMatchObject({ status: 'error', code: 'cancelled' })
    expect(await jobs.status(second)).toMatchObject({ status: 'pending' })
    await jobs.drain()
    expect(await jobs.status(second)).toMatchObject({ status: 'done' })
  }
})

test('dedupe: a full queue still answers with the job that stands for the key', async () => {
  const jobs = makeJobs({ queue: memoryQueue({ autoStart: false, maxWaiting: 1 }) })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const token = await service.executeJob('after', 'create', 1, { dedupe: 'k' })
  expect(await service.executeJob('after', 'create', 1, { dedupe: 'k' })).toBe(token)
})

// Payload and context.

test('the payload is a copy, without undefined members', async () => {
  const jobs = createTestJobs()
  const seen: unknown[] = []
  const hook = (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
    seen.push(structuredClone(job.payload))
  }
  const service = attachAfterJobs({ afterCreateJob: hook }, { jobs })
  const payload = { list: [1, { deep: true }], gone: undefined as number | undefined, text: 'ü' }
  const executed = service.executeJob('after', 'create', 1, { payload })
  payload.list.push(2)
  await executed
  payload.text = 'changed'
  await service.executeJobs('after', 'create', [2], { payload: [null, -0, 1e300, ''] })
  await jobs.drain()
  expect(seen).toEqual([{ list: [1, { deep: true }], text: 'ü' }, [null, 0, 1e300, '']])
  expect(Object.keys(seen[0] as object)).not.toContain('gone')
})

test('each attempt starts from the payload that was sent', async () => {
  const jobs = createTestJobs()
  const seen: number[] = []
  const hook = (_id: number, _token: string, _progress: ProgressReporter, job: JobContext<{ left: number[] }>) => {
    seen.push(job.payload.left.length)
    job.payload.left.pop()
    throw new Error('again')
  }
  const service = attachAfterJobs({ afterCreateJob: hook }, { jobs })
  await service.executeJob('after', 'create', 1, { payload: { left: [1, 2] }, attempts: 2 })
  await jobs.drain()
  expect(seen).toEqual([2, 2])
})

test('a payload with a key __proto__ pollutes nothing', async () => {
  const jobs = createTestJobs()
  const seen: unknown[] = []
  const hook = (_id: number, _token: string, _progress: ProgressReporter, job: JobContext<object>) => {
    seen.push(Object.keys(job.payload), (job.payload as { isAdmin?: unknown }).isAdmin)
  }
  const service = attachAfterJobs({ afterCreateJob: hook }, { jobs })
  for (const attempts of [1, 2]) {
    const payload = JSON.parse('{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}}')
    await service.executeJob('after', 'create', 1, { payload, attempts })
  }
  await jobs.drain()
  const keys = ['__proto__', 'constructor']
  expect(seen).toEqual([keys, undefined, keys, undefined])
  expect(({} as { isAdmin?: unknown }).isAdmin).toBeUndefined()
})

test('takes a payload of exactly 16,384 bytes of UTF-8', async () => {
  const jobs = createTestJobs()
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const payload = 'é'.repeat((16_384 - 2) / 2)
  await service.executeJob('after', 'create', 1, { payload })
  expect(jobs.dispatched[0]?.payload).toBe(payload)
  const tooLong = service.executeJob('after', 'create', 1, { payload: `${payload}x` })
  expect(await rejection(tooLong)).toMatchObject({ code: 'INVALID_PAYLOAD', message: expect.stringMatching(/16,?384/) })
})

test('context.capture() is kept as a copy: for the hook, its compensation, and servers', async () => {
  const user = { name: 'ada' }
  const jobs = createTestJobs({ context: { capture: () => user } })
  const seen: unknown[] = []
  const keep = (job: JobContext | undefined) => seen.push(structuredClone(job?.context))
  const service = attachAfterJobs(
    {
      afterCreateJob: (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
        keep(job)
        throw new Error('no')
      },
      afterCreateJobFailed: (_id: number, _token: string, _error: Error, job: JobContext) => void keep(job),
    },
    { jobs },
  )
  const token = (await service.executeJob('after', 'create', 1)) ?? ''
  user.name = 'eve'
  await jobs.drain()
  expect(seen).toEqual([{ name: 'ada' }, { name: 'ada' }])
  expect(await jobs.record(token)).toMatchObject({ token, status: 'error', context: { name: 'ada' } })
  expect(await jobs.status(token)).not.toHaveProperty('context')
})

test('a hook that changes its context changes no other job, and not what servers see', async () => {
  const jobs = createTestJobs({ context: { capture: () => ({ user: 'ada' }) } })
  const seen: unknown[] = []
  const hook = (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
    const context = job.context as { user: string }
    seen.push(context.user)
    context.user = 'eve'
  }
  const service = attachAfterJobs({ afterCreateJob: hook }, { jobs })
  const [token = ''] = await service.executeJobs('after', 'create', [1, 2])
  await jobs.drain()
  expect(seen).toEqual(['ada', 'ada'])
  expect(await jobs.record(token)).toMatchObject({ context: { user: 'ada' } })
})

test('a job started by a job has a parent, and inherits the context', async () => {
  let user: string | undefined = 'ada'
  const jobs = createTestJobs({ context: { capture: () => user } })
  const seen: unknown[] = []
  const service = attachAfterJobs(
    {
      async afterCreateJob(id: number) {
        user = undefined
        await Promise.resolve()
        await service.executeJob('after', 'update', id)
        await service.executeJobs('after', 'update', [id])
      },
      afterUpdateJob: (_id: number, _token: string, _progress: ProgressReporter, job: JobContext) => {
        seen.push([job.parent, job.context])
      },
    },
    { jobs },
  )
  const parent = (await service.executeJob('after', 'create', 1)) ?? ''
  await jobs.drain()
  expect(seen).toEqual([
    [parent, 'ada'],
    [parent, 'ada'],
  ])
  const children = jobs.dispatched.slice(1).map(({ token }) => jobs.status(token))
  expect(await Promise.all(children)).toMatchObject([{ parent }, { parent }])
  expect(await jobs.status(parent)).toMatchObject({ parent: null })
})

// A full queue.

test('a full queue refuses the job, and loses none', async () => {
  const jobs = makeJobs({ queue: memoryQueue({ autoStart: false, maxWaiting: 2 }) })
  const ran: number[] = []
  const afterCreateJobFailed = vi.fn()
  const hooks = { afterCreateJob: (id: number) => void ran.push(id), afterCreateJobFailed }
  const service = attachAfterJobs(hooks, { jobs })
  await service.executeJob('after', 'create', 1)
  await service.executeJob('after', 'create', 2, { delay: 60_000 })
  const entity = { id: 3 }
  const error = await rejection(service.executeJob('after', 'create', entity))
  expect(error).toMatchObject({ name: 'AfterJobsError', code: 'QUEUE_FULL', token: expect.any(String) })
  expect(String(error)).toMatch(/full.*maxWaiting/)
  const { token } = error as { token: string }
  expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed', progress: 0, attempt: 0 })
  expect(service.getJobToken(entity)).toBeUndefined()
  expect(service.getJobToken()).not.toBe(token)
  while (await jobs.runNext());
  expect(ran).toEqual([1])
  await service.executeJob('after', 'create', 4)
  while (await jobs.runNext());
  expect(ran).toEqual([1, 4])
  expect(afterCreateJobFailed).not.toHaveBeenCalled()
})

test('an engine that is away rejects, and is told to log and listeners, not to the compensation', async () => {
  const logger = spyLogger()
  const enqueue = () => Promise.reject(new Error('connect ECONNREFUSED'))
  const jobs = makeJobs({ queue: { ...memoryQueue(), enqueue }, logger, cache: memoryCache() })
  const listener = vi.fn()
  jobs.on('error', listener)
  const afterCreateJobFailed = vi.fn()
  const service = attachAfterJobs({ afterCreateJob() {}, afterCreateJobFailed }, { jobs, name: 'rows' })
  const error = await rejection(service.executeJob('after', 'create', 1))
  const { token } = error as { token: string }
  expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', cause: { message: 'connect ECONNREFUSED' } })
  expect(String(error)).toMatch(/rows.*afterCreateJob.*connect ECONNREFUSED/)
  expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
  expect(listener.mock.calls).toMatchObject([[{ token, service: 'rows', hook: 'afterCreateJob', id: 1, attempt: 0 }]])
  expect(logger.lines).toMatchObject([{ level: 'error', fields: { token: token.slice(0, 8) } }])
  expect(afterCreateJobFailed).not.toHaveBeenCalled()
})

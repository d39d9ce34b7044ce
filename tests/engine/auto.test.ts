import { EventEmitter } from 'node:events'
import {
  type AfterJobs,
  type AfterJobsOptions,
  type AfterJobsServiceOptions,
  attachAfterJobs,
  createAfterJobs,
  type JobContext,
  type JobEvent,
  type JobQueue,
  memoryQueue,
  withAfterJobs,
} from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeGate, rejection } from './support/runtime'
import { faultyCache, type SpyLogger, spyLogger } from './support/spies'
import { stubQueue } from './support/stub-queue'

interface Row {
  id: number
  name?: string
  by?: string[]
}

/** A CRUD service as anybody writes it. */
class Rows {
  last = 0

  async create(data: Partial<Row>): Promise<Row> {
    this.last++
    return { ...data, id: this.last, by: ['Rows'] }
  }

  async createMany(list: Partial<Row>[]): Promise<Row[]> {
    const rows: Row[] = []
    for (const data of list) rows.push(await this.create(data))
    return rows
  }

  async update(_id: number | string, _data?: object): Promise<unknown> {
    return undefined
  }
}

/** A runtime for tests whose warnings and error events can be read. */
function makeBench() {
  const logger = spyLogger()
  const jobs = createTestJobs({ logger })
  const errors: JobEvent[] = []
  jobs.on('error', (event) => errors.push(event))
  return { logger, jobs, errors, started: () => jobs.dispatched.map(({ hook, id }) => [hook, id]) }
}

function warnings(logger: SpyLogger): string[] {
  return logger.lines.filter(({ level }) => level === 'warn').map(({ message }) => message)
}

type Auto = NonNullable<AfterJobsServiceOptions['auto']>

/** A service whose action answers what the test says. */
function makeAnswering(answer: () => unknown, auto: Auto, options: AfterJobsServiceOptions) {
  const Service = class Answering extends withAfterJobs({ ...options, auto }) {
    async save(..._args: unknown[]): Promise<unknown> {
      return answer()
    }
    afterSaveJob() {}
  }
  return new Service()
}

// When it starts, and how often.

test('starts the job of an action once it has resolved', async () => {
  const { jobs, started } = makeBench()
  const gate = makeGate<Row>()
  class Service extends withAfterJobs({ jobs, auto: ['create'] }) {
    create(): Promise<Row> {
      return gate.opened
    }
    afterCreateJob() {}
  }
  const service = new Service()
  const created = service.create()
  await new Promise((resolve) => setImmediate(resolve))
  expect(started()).toEqual([])
  const row = { id: 5 }
  gate.open(row)
  expect(await created).toBe(row)
  expect(started()).toEqual([['afterCreateJob', 5]])
  expect(service.getJobToken(row)).toBe(jobs.dispatched[0]?.token)
  expect(service.getJobToken()).toBe(jobs.dispatched[0]?.token)
})

function makeFamily(jobs: AfterJobs) {
  class Parent extends withAfterJobs(Rows, { jobs, auto: ['create'] }) {
    override async create(data: Partial<Row>) {
      const row = await super.create(data)
      return { ...row, by: [...(row.by ?? []), 'Parent'] }
    }
    afterCreateJob() {}
  }
  class Child extends Parent {
    override async create(data: Partial<Row>) {
      const row = await super.create(data)
      return { ...row, id: 100 + row.id, by: [...row.by, 'Child'] }
    }
  }
  class Grandchild extends Child {}
  class Straight extends Parent {
    override async create(data: Partial<Row>) {
      const row = await Rows.prototype.create.call(this, data)
      return { ...row, by: ['Straight'] }
    }
  }
  return { Parent, Child, Grandchild, Straight }
}

test('starts it once, after the outermost override, on every level of a family', async () => {
  const { jobs, started } = makeBench()
  const { Parent, Child, Grandchild, Straight } = makeFamily(jobs)
  for (const Service of [Grandchild, Parent, Child, Straight, Grandchild, Parent]) await new Service().create({})
  expect(started().map(([, id]) => id)).toEqual([101, 1, 101, 1, 101, 1])
})

test('lets each override do its part', async () => {
  const { Grandchild, Straight } = makeFamily(makeBench().jobs)
  expect(await new Grandchild().create({ name: 'x' })).toEqual({ name: 'x', id: 101, by: ['Rows', 'Parent', 'Child'] })
  expect(await new Straight().create({})).toMatchObject({ by: ['Straight'] })
})

test('starts one for each this.create() inside createMany', async () => {
  const { jobs, started } = makeBench()
  const { Child } = makeFamily(jobs)
  const service = new Child()
  const rows = await service.createMany([{ name: 'a' }, { name: 'b' }])
  expect(rows.map(({ id }) => id)).toEqual([101, 102])
  expect(started()).toEqual([
    ['afterCreateJob', 101],
    ['afterCreateJob', 102],
  ])
  expect(rows.map((row) => service.getJobToken(row))).toEqual(jobs.dispatched.map(({ token }) => token))
})

// An action that calls itself.

/** A service whose `create` takes a list as well, and makes each of its rows by itself. */
function makeListing(jobs: AfterJobs, makeMany: (create: (data: object) => Promise<Row>, list: object[]) => unknown) {
  class Listing extends withAfterJobs({ jobs, auto: ['create'] }) {
    #last = 0
    async create(data: object | object[]): Promise<unknown> {
      if (Array.isArray(data)) return makeMany(async (each) => (await this.create(each)) as Row, data)
      return { ...data, id: ++this.#last }
    }
    afterCreateJob() {}
  }
  return new Listing()
}

test.each<[string, Parameters<typeof makeListing>[1]]>([
  ['at once', (create, list) => Promise.all(list.map(create))],
  [
    'one after the other',
    async (create, list) => {
      const rows: Row[] = []
      for (const data of list) rows.push(await create(data))
      return rows
    },
  ],
  [
    'in lists of their own',
    async (create, [first, ...rest]) =>
      first === undefined ? [] : [await create(first), ...((await create(rest)) as never)],
  ],
])('starts one for each item of a list whose items this.create() has made %s', async (_, makeMany) => {
  const { jobs, started } = makeBench()
  const service = makeListing(jobs, makeMany)
  await jobs.scope(async () => {
    const rows = (await service.create([{}, {}, {}])) as Row[]
    expect(started().map(([, id]) => id)).toEqual([1, 2, 3])
    const tokens = jobs.dispatched.map(({ token }) => token)
    expect(rows.map((row) => service.getJobToken(row))).toEqual(tokens)
    expect(service.getJobToken()).toBe(tokens.at(-1))
  })
})

test('starts the rest of a list whose items were made by this.create() only in part', async () => {
  const { jobs, started } = makeBench()
  const service = makeListing(jobs, async (create, [first = {}]) => [await create(first), { id: 70 }, { id: 80 }])
  await service.create([{}])
  expect(started().map(([, id]) => id)).toEqual([1, 70, 80])
})

test('a list of what was made before starts its jobs, however often', async () => {
  const { jobs, started } = makeBench()
  const made: Row[] = []
  const service = makeListing(jobs, async () => made)
  made.push((await service.create({})) as Row)
  await service.create([])
  await service.create([])
  expect(started().map(([, id]) => id)).toEqual([1, 1, 1])
})

test.each<[string, (jobs: AfterJobs, act: () => Promise<unknown>) => Promise<unknown>, boolean]>([
  ['another request', (jobs, act) => jobs.scope(act), false],
  ['another instance', (_, act) => act(), true],
])('what %s does to an item in the meantime is no part of the list', async (_, run, isOther) => {
  const { jobs, started } = makeBench()
  const cached = { id: 7 }
  const gate = makeGate<Row[]>()
  class Cached extends withAfterJobs({ jobs, auto: ['save'] }) {
    async save(isList: boolean) {
      return isList ? gate.opened : cached
    }
    afterSaveJob() {}
  }
  const service = new Cached()
  // The list begins first, and answers last.
  const listed = run(jobs, () => service.save(true))
  await run(jobs, () => (isOther ? new Cached() : service).save(false))
  gate.open([cached])
  await listed
  expect(started()).toHaveLength(2)
})

test('a list goes on as one when its request is closed in the middle', async () => {
  const { jobs, started } = makeBench()
  const response = new EventEmitter()
  const service = makeListing(jobs, async (create, [first = {}, second = {}]) => {
    const row = await create(first)
    response.emit('close')
    return [row, await create(second)]
  })
  await new Promise((resolve) => jobs.middleware()({}, response, () => resolve(service.create([{}, {}]))))
  expect(started().map(([, id]) => id)).toEqual([1, 2])
})

test('a base constructor that calls the action does no harm', async () => {
  const { jobs } = makeBench()
  class Eager extends Rows {
    readonly first = this.create({})
  }
  class Service extends withAfterJobs(Eager, { jobs, auto: ['create'] }) {
    afterCreateJob() {}
  }
  expect(await new Service().first).toMatchObject({ id: 1 })
})

test('passes the arguments and this through', async () => {
  const { jobs } = makeBench()
  class Service extends withAfterJobs({ jobs, auto: ['save'] }) {
    async save(...args: unknown[]) {
      return { id: 1, self: this, args }
    }
    afterSaveJob() {}
  }
  const service = new Service()
  const answer = await service.save(1, undefined, null)
  expect(answer.self).toBe(service)
  expect(answer.args).toEqual([1, undefined, null])
})

test('an action without a hook is left alone', async () => {
  const { jobs, errors, logger } = makeBench()
  class Service extends withAfterJobs(Rows, { jobs, auto: ['create', 'update'] }) {
    afterCreateJob() {}
  }
  const service = new Service()
  await service.create({})
  await service.update(1)
  expect(jobs.dispatched).toHaveLength(1)
  expect(service.getJobToken()).toBeUndefined()
  expect([errors, warnings(logger)]).toEqual([[], []])
})

test('a rejection passes through and starts nothing', async () => {
  const { jobs, errors } = makeBench()
  const failure = new Error('unique key')
  const service = makeAnswering(() => Promise.reject(failure), ['save'], { jobs })
  expect(await rejection(service.save(1))).toBe(failure)
  expect(jobs.dispatched).toEqual([])
  expect(errors).toEqual([])
})

test('a synchronous throw passes through and starts nothing', () => {
  const { jobs } = makeBench()
  class Service extends withAfterJobs({ jobs, auto: ['save'] }) {
    save(): Promise<number> {
      throw new Error('at once')
    }
    afterSaveJob() {}
  }
  expect(() => new Service().save()).toThrow('at once')
  expect(jobs.dispatched).toEqual([])
})

test.each([
  ['a value', 5],
  ['an entity', { id: 5 }],
])('a synchronous method that answers %s is passed through unchanged, with one warning', async (_, value) => {
  const { jobs, logger } = makeBench()
  class Sync extends withAfterJobs({ jobs, auto: ['save'] }) {
    save() {
      return value
    }
    afterSaveJob() {}
  }
  const services = [new Sync(), new Sync()]
  for (const service of [...services, ...services]) expect(service.save()).toBe(value)
  await jobs.drain()
  expect(jobs.dispatched).toEqual([])
  expect(warnings(logger)).toEqual([expect.stringMatching(/Sync.*save.*async/)])
})

test('a lazy query, which runs when awaited, is not awaited', () => {
  const { jobs, logger } = makeBench()
  // biome-ignore lint/suspicious/noThenProperty: query builders are like this
  const query = { then: vi.fn() }
  class Service extends withAfterJobs({ jobs, auto: ['save'] }) {
    save() {
      return query
    }
    afterSaveJob() {}
  }
  expect(new Service().save()).toBe(query)
  expect(query.then).not.toHaveBeenCalled()
  expect(warnings(logger)).toHaveLength(1)
})

test('warns once of a name that is no method, and names it', async () => {
  const { jobs, logger } = makeBench()
  class Misspelt extends withAfterJobs(Rows, { jobs, auto: ['crate', 'last'] }) {
    afterCrateJob() {}
  }
  new Misspelt()
  const service = new Misspelt()
  await Promise.resolve()
  expect('crate' in service).toBe(false)
  expect(service.last).toBe(0)
  const expected = ['crate', 'last'].map((name) => expect.stringMatching(new RegExp(`'${name}'.*Misspelt`)))
  expect(warnings(logger)).toEqual(expected)
})

// Actions that are fields.

/** A service of an older style: every instance has functions of its own. */
class Fields {
  #last = 0
  create = async (data: Partial<Row>): Promise<Row> => ({ ...data, id: ++this.#last })
}

test('starts the job of an action that the base keeps in a field', async () => {
  const { jobs, started, logger } = makeBench()
  class Service extends withAfterJobs(Fields, { jobs, auto: ['create'] }) {
    afterCreateJob() {}
  }
  const [service, other] = [new Service(), new Service()]
  const row = await service.create({})
  await other.create({})
  // Such a function may be taken off its object.
  const { create } = service
  await create({})
  expect(started().map(([, id]) => id)).toEqual([1, 1, 2])
  expect(service.getJobToken(row)).toBe(jobs.dispatched[0]?.token)
  expect(service.getJobToken()).toBe(jobs.dispatched[2]?.token)
  expect([Object.keys(service), create.name, warnings(logger)]).toEqual([['create'], 'create', []])
})

test('warns once of an action in a field of the subclass, which comes too late', async () => {
  const { jobs, started, logger } = makeBench()
  class Late extends withAfterJobs(Rows, { jobs, auto: ['create', 'save'] }) {
    override create = async () => ({ id: 1 })
    save = async () => 1
    afterCreateJob() {}
    afterSaveJob() {}
  }
  const service = new Late()
  await new Late().create()
  await service.save()
  expect(started()).toEqual([])
  expect(warnings(logger)).toEqual(
    ['create', 'save'].map((name) => expect.stringMatching(new RegExp(`Late\\.${name} .*field.*method`))),
  )
})

test('a spy on an instance is no field, and does not hide the action', async () => {
  const { jobs, started, logger } = makeBench()
  class Service extends withAfterJobs(Rows, { jobs, auto: ['create'] }) {
    afterCreateJob() {}
  }
  const service = new Service()
  const spy = vi.spyOn(service, 'create')
  await service.create({})
  expect(spy).toHaveBeenCalledOnce()
  expect([started(), warnings(logger)]).toEqual([[['afterCreateJob', 1]], []])
})

test('warns once of a field that cannot be replaced', async () => {
  const { jobs, logger } = makeBench()
  class Fixed {
    constructor() {
      Object.defineProperty(this, 'save', { value: async () => 1 })
    }
    declare readonly save: () => Promise<number>
  }
  class Service extends withAfterJobs(Fixed, { jobs, auto: ['save'] }) {
    afterSaveJob() {}
  }
  new Service()
  expect(await new Service().save()).toBe(1)
  expect(warnings(logger)).toEqual([expect.stringMatching(/Service\.save .*replaced/)])
})

test.each([Object.freeze, Object.seal, Object.preventExtensions])(
  'warns once of instances that their base closes (%o), and leaves them as they are',
  async (close) => {
    const { jobs, started, logger } = makeBench()
    class Closed extends Rows {
      constructor() {
        super()
        close(this)
      }
    }
    class Service extends withAfterJobs(Closed, { jobs, auto: ['update'] }) {
      afterUpdateJob() {}
    }
    new Service()
    const service = new Service()
    expect(await service.update(1)).toBeUndefined()
    expect(started()).toEqual([])
    expect(warnings(logger)).toEqual([expect.stringMatching(/Service.*frozen.*executeJob/)])
    expect(await service.executeJob('after', 'update', 1)).toBe(jobs.dispatched[0]?.token)
  },
)

test('honours a spy that is put on the prototype later', async () => {
  const { jobs, started } = makeBench()
  class Service extends withAfterJobs(Rows, { jobs, auto: ['create'] }) {
    afterCreateJob() {}
  }
  const service = new Service()
  await service.create({})
  const own = vi.spyOn(Service.prototype, 'create').mockResolvedValueOnce({ id: 70 })
  await service.create({ name: 'spied' })
  own.mockRestore()
  const inherited = vi.spyOn(Rows.prototype, 'create').mockResolvedValueOnce({ id: 80 })
  await service.create({})
  inherited.mockRestore()
  await service.create({})
  expect(started().map(([, id]) => id)).toEqual([1, 70, 80, 2])
})

test('keeps the name of the method, and instanceof of the promise', async () => {
  const { jobs } = makeBench()
  const service = makeAnswering(() => 1, ['save'], { jobs })
  expect(service.save.name).toBe('save')
  expect(service.save(1)).toBeInstanceOf(Promise)
  await jobs.drain()
})

// Ids.

const row = { id: 7 }

test.each<[string, unknown, unknown[], unknown[]]>([
  ['result.id', { id: 7 }, [1], [7]],
  ['a result.id of 0', { id: 0 }, [1], [0]],
  ["a result.id of ''", { id: '' }, [1], ['']],
  ['a string', 'x', [1], ['x']],
  ['an empty string', '', [1], ['']],
  ['a number', 9, [1], [9]],
  ['0', 0, [1], [0]],
  ['the first argument, for no result', undefined, [4, {}], [4]],
  ['the first argument, for a result without id', { changes: 1 }, ['x', {}], ['x']],
  ['the first argument, for true', true, [0], [0]],
  ['nothing, for null', null, [4], []],
  ['one per item of an array', [{ id: 1 }, 'two', 3], [4], [1, 'two', 3]],
  ['nothing, for an empty array', [], [4], []],
  ['nothing for what is null in an array', [{ id: 1 }, null], [4], [1]],
])('the id is %s', async (_, answer, args, ids) => {
  const { jobs, errors } = makeBench()
  const service = makeAnswering(() => answer, ['save'], { jobs })
  expect(await service.save(...args)).toBe(answer)
  expect(jobs.dispatched.map(({ id }) => id)).toEqual(ids)
  expect(errors).toEqual([])
})

test.each<[string, unknown, (result: never, ...args: never[]) => unknown, unknown[]]>([
  ['its own', { id: 1 }, () => 'own', ['own']],
  ['0', { id: 1 }, () => 0, [0]],
  ["''", { id: 1 }, () => '', ['']],
  ['of an argument', { id: 1 }, (_: unknown, data: { owner: number }) => data.owner, [42]],
  ['another field', { _id: 'a1' }, (result: { _id: string }) => result._id, ['a1']],
  ['undefined', { id: 1 }, () => undefined, []],
  ['one per item', [{ n: 1 }, { n: 2 }], (item: { n: number }) => item.n, [1, 2]],
  ['undefined for some', [{ n: 1 }, {}], (item: { n?: number }) => item.n, [1]],
])('the id is what the function answers: %s', async (_, answer, findId, ids) => {
  const { jobs, errors } = makeBench()
  const service = makeAnswering(() => answer, { save: findId as () => string }, { jobs })
  await service.save({ owner: 42 })
  expect(jobs.dispatched.map(({ id }) => id)).toEqual(ids)
  expect(errors).toEqual([])
})

test('the function is not asked for a null result', async () => {
  const { jobs } = makeBench()
  const findId = vi.fn(() => 1)
  await makeAnswering(() => null, { save: findId }, { jobs }).save(1)
  expect(findId).not.toHaveBeenCalled()
  expect(jobs.dispatched).toEqual([])
})

test.each<[string, unknown, Auto]>([
  ['a bigint', { id: 1n }, ['save']],
  ['NaN', Number.NaN, ['save']],
  ['an infinite id', { id: Number.POSITIVE_INFINITY }, ['save']],
  ['an ObjectId', { id: new (class ObjectId {})() }, ['save']],
  ['a symbol', { id: Symbol('id') }, ['save']],
  ['nothing anywhere', undefined, ['save']],
  ['a function that throws', row, { save: fails }],
  ['a function that answers a promise', row, { save: () => Promise.resolve(1) as never }],
  ['a function that answers a Date', row, { save: () => new Date() as never }],
  ['a function that throws undefined', row, { save: failsSilently }],
])('an unusable id (%s) is a warning and an event, and no job; the action resolves', async (_, answer, auto) => {
  const { jobs, errors, logger } = makeBench()
  const service = makeAnswering(() => answer, auto, { jobs })
  expect(await service.save()).toBe(answer)
  await jobs.drain()
  expect(jobs.dispatched).toEqual([])
  expect(service.getJobToken()).toBeUndefined()
  expect(errors).toMatchObject([{ event: 'error', token: null, service: 'Answering', hook: 'afterSaveJob', id: null }])
  expect(warnings(logger)).toHaveLength(1)
})

function fails(): never {
  throw new Error('no id')
}

function failsSilently(): never {
  throw undefined
}

test("an unusable id is no failed enqueue: the action resolves with onEnqueueError: 'throw', too", async () => {
  const { jobs, errors } = makeBench()
  const service = makeAnswering(() => ({ id: 1n }), ['save'], { jobs, onEnqueueError: 'throw' })
  expect(await service.save()).toEqual({ id: 1n })
  expect(errors).toHaveLength(1)
})

test('one unusable id of many costs only its own job', async () => {
  const { jobs, errors } = makeBench()
  const service = makeAnswering(() => [{ id: 1 }, { id: 2n }, { id: 3 }], ['save'], { jobs })
  await service.save()
  expect(jobs.dispatched.map(({ id }) => id)).toEqual([1, 3])
  expect(errors).toHaveLength(1)
})

test('the token is found by the result, item by item', async () => {
  const { jobs } = makeBench()
  const rows = [{ id: 1 }, { id: 1 }, { id: 2 }]
  const service = makeAnswering(() => rows, ['save'], { jobs })
  await service.save()
  expect(rows.map((each) => service.getJobToken(each))).toEqual(jobs.dispatched.map(({ token }) => token))
  expect(service.getJobToken({ id: 1 })).toBeUndefined()
  jobs.scope(() => expect(service.getJobToken(rows[0])).toBeUndefined())
})

test('inside a scope a copy of the result finds its token by the id', async () => {
  const { jobs } = makeBench()
  const service = makeAnswering(() => row, ['save'], { jobs })
  await jobs.scope(async () => {
    await service.save()
    expect(service.getJobToken({ ...row })).toBe(jobs.dispatched[0]?.token)
  })
})

// The queue away.

/** A service whose queue is away. */
function makeStranded(
  queue: Partial<JobQueue>,
  options: AfterJobsServiceOptions = {},
  shared: Pick<AfterJobsOptions, 'queue' | 'cache'> = {},
) {
  const logger = spyLogger()
  const jobs = createAfterJobs({ queue: { ...memoryQueue({ autoStart: false }), ...queue }, ...shared, logger })
  const errors: JobEvent[] = []
  jobs.on('error', (event) => errors.push(event))
  const hooks = { failed: vi.fn((..._args: unknown[]) => {}) }
  class Service extends withAfterJobs(Rows, { jobs, auto: ['create', 'createMany'], ...options }) {
    static readonly jobName = 'rows'
    afterCreateJob() {}
    afterCreateManyJob() {}
    async afterCreateJobFailed(id: number, token: string, error: Error, job: JobContext) {
      hooks.failed(id, token, error, job)
    }
  }
  return { service: new Service(), jobs, logger, errors, hooks }
}

const away = { enqueue: () => Promise.reject(new Error('connect ECONNREFUSED')) }

test('with the queue away the action resolves, and the token tells', async () => {
  const { service, jobs, hooks, errors, logger } = makeStranded(away)
  const made = await service.create({ name: 'x' })
  const token = service.getJobToken(made) ?? ''
  expect(await jobs.status(token)).toMatchObject({ token, status: 'error', code: 'enqueue_failed', attempt: 0 })
  expect(errors).toMatchObject([
    { token, service: 'rows', hook: 'afterCreateJob', id: made.id, code: 'enqueue_failed' },
  ])
  const lines = logger.lines.filter(({ level }) => level === 'error')
  expect(lines).toMatchObject([{ fields: { token: token.slice(0, 8), code: 'enqueue_failed' } }])
  await vi.waitFor(() => expect(hooks.failed).toHaveBeenCalled())
  await jobs.close()
  const job = { token, id: made.id, hook: 'afterCreateJob', service: 'rows' }
  const error = expect.objectContaining({ code: 'ENQUEUE_FAILED', message: expect.stringContaining('ECONNREFUSED') })
  expect(hooks.failed.mock.calls).toEqual([[made.id, token, error, expect.objectContaining(job)]])
})

test('a full queue is no reason for the action to fail either', async () => {
  const { service, jobs } = makeStranded(memoryQueue({ autoStart: false, maxWaiting: 1 }))
  const rows = [await service.create({}), await service.create({})]
  const statuses = await Promise.all(rows.map((made) => jobs.status(service.getJobToken(made) ?? '')))
  expect(statuses).toMatchObject([{ status: 'pending' }, { status: 'error', code: 'enqueue_failed' }])
})

test.each([
  ['rejects', () => Promise.reject(new Error('connect ECONNREFUSED'))],
  ['hangs', () => new Promise<never>(() => {})],
] as const)('with a shared queue and its cache away, of which each %s, the action resolves', async (fault, enqueue) => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const [queue, cache] = [stubQueue(), faultyCache()]
  cache.fault = fault
  queue.enqueue.mockImplementation(enqueue)
  const { service, hooks, logger } = makeStranded({}, {}, { queue, cache })
  const created = service.create({ name: 'x' })
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await Promise.race([created, 'waiting'])).toMatchObject({ id: 1, name: 'x' })
  expect(service.getJobToken(await created)).toBe(queue.enqueue.mock.calls[0]?.[0].token)
  // Nobody can tell whether the job will run.
  expect(logger.print()).toContain('job may not have been queued')
  expect(hooks.failed).not.toHaveBeenCalled()
})

test('a compensation that throws, or never ends, does not reach the action', async () => {
  const { service, jobs, hooks, logger } = makeStranded(away)
  hooks.failed.mockImplementationOnce(() => {
    throw new Error('compensation failed')
  })
  const made = await service.create({})
  await vi.waitFor(() => expect(logger.print()).toContain('compensation failed'))
  const token = service.getJobToken(made) ?? ''
  expect(await jobs.status(token)).toMatchObject({ code: 'enqueue_failed' })
})

test("onEnqueueError: 'throw' rejects, and does not compensate", async () => {
  const { service, jobs, hooks } = makeStranded(away, { onEnqueueError: 'throw' })
  const error = await rejection(service.create({}))
  expect(error).toMatchObject({ name: 'AfterJobsError', code: 'ENQUEUE_FAILED' })
  const { token } = error as { token: string }
  expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
  expect(service.getJobToken()).toBeUndefined()
  await jobs.close()
  expect(hooks.failed).not.toHaveBeenCalled()
})

test('a runtime that is closed does not make the action fail', async () => {
  const { service, jobs, errors } = makeStranded({})
  await jobs.close()
  expect(await service.create({})).toMatchObject({ id: 1 })
  expect(errors).toHaveLength(1)
  expect(service.getJobToken()).toBeUndefined()
})

test("onEnqueueError: 'throw' rejects on a closed runtime", async () => {
  const { service, jobs } = makeStranded({}, { onEnqueueError: 'throw' })
  await jobs.close()
  expect(await rejection(service.create({}))).toMatchObject({ code: 'CLOSED' })
})

test('a service that is frozen does not make the action fail after its write', async () => {
  const { jobs } = makeBench()
  class Frozen extends withAfterJobs(Rows, { jobs, auto: ['update'] }) {
    constructor() {
      super()
      Object.freeze(this)
    }
    afterUpdateJob() {}
  }
  expect(await new Frozen().update(1)).toBeUndefined()
})

test('a hook that is no function does not make the action fail', async () => {
  const { jobs, errors } = makeBench()
  const service = attachAfterJobs({ save: async () => 1, afterSaveJob: 'soon' as never }, { jobs, auto: ['save'] })
  expect(await service.save()).toBe(1)
  expect(errors).toMatchObject([{ hook: 'afterSaveJob', token: null }])
})

test('the action resolves only when the enqueue has ended', async () => {
  const gate = makeGate()
  const inner = memoryQueue({ autoStart: false })
  const enqueue: JobQueue['enqueue'] = async (envelope) => {
    await gate.opened
    return inner.enqueue(envelope)
  }
  const { service } = makeStranded({ ...inner, enqueue })
  let hasResolved = false
  const created = service.create({}).then(() => {
    hasResolved = true
  })
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(hasResolved).toBe(false)
  gate.open()
  await created
})

// Plain objects, and bad options.

test('attaches to a plain object, in both forms', async () => {
  const { jobs, started } = makeBench()
  const object = {
    save: async (id: number) => ({ saved: id }),
    drop: async () => {},
    afterSaveJob() {},
    afterDropJob() {},
  }
  const service = attachAfterJobs(object, { jobs, auto: { save: (result: { saved: number }) => 10 * result.saved } })
  const { save } = service
  expect(await Reflect.apply(save, service, [2])).toEqual({ saved: 2 })
  await service.drop()
  expect(started()).toEqual([['afterSaveJob', 20]])
})

test('follows a method that was taken off its object', async () => {
  const { jobs, started } = makeBench()
  const service = attachAfterJobs({ save: async () => 3, afterSaveJob() {} }, { jobs, auto: ['save'] })
  const { save } = service
  expect(await save()).toBe(3)
  expect(started()).toEqual([['afterSaveJob', 3]])
  expect(service.getJobToken()).toBe(jobs.dispatched[0]?.token)
})

test('a method that was taken off an instance of a class is what it was', async () => {
  const { jobs, started } = makeBench()
  class Service extends withAfterJobs({ jobs, auto: ['save'] }) {
    async save(this: unknown) {
      return this
    }
    afterSaveJob() {}
  }
  const { save } = new Service()
  expect(await Reflect.apply(save, undefined, [])).toBeUndefined()
  expect(started()).toEqual([])
})

test.each<[string, string]>([
  ['an action', 'save'],
  ['a method of ours', 'executeJob'],
])('an object with %s that cannot be replaced is refused, and left as it was', (_, name) => {
  const object = Object.defineProperty({ save: async () => 1, afterSaveJob() {} }, name, {
    value: () => 1,
    configurable: false,
  })
  const keys = Reflect.ownKeys(object)
  const attach = () => attachAfterJobs(object, { jobs: makeBench().jobs, auto: ['save'] })
  const refused = { code: 'INVALID_SERVICE', message: expect.stringMatching(new RegExp(`'${name}'.*configurable`)) }
  for (let time = 0; time < 2; time++) expect(attach).toThrow(expect.objectContaining(refused))
  expect(Reflect.ownKeys(object)).toEqual(keys)
})

test('attaches to an object whose method is inherited', async () => {
  const { jobs, started } = makeBench()
  const object = Object.assign(Object.create({ save: async () => 3 }) as { save(): Promise<number> }, {
    afterSaveJob() {},
  })
  await attachAfterJobs(object, { jobs, auto: ['save'] }).save()
  expect(Object.keys(object)).toEqual(['afterSaveJob'])
  expect(started()).toEqual([['afterSaveJob', 3]])
})

test.each<[string, unknown, string, RegExp]>([
  ['a name that is none', ['bulk-create'], 'INVALID_ACTION', /'bulk-create'.*'bulkCreate'/],
  ['a symbol', [Symbol('x')], 'INVALID_ACTION', /symbol/],
  ['a string', 'create', 'INVALID_OPTION', /auto.*'create'.*(array|list|names)/],
  ['a number', 5, 'INVALID_OPTION', /auto.*5/],
  ['no function', { create: 'id' }, 'INVALID_OPTION', /auto\.create.*'id'.*function/],
])('refuses auto as %s where it is written', (_, auto, code, message) => {
  const options = { jobs: makeBench().jobs, auto } as AfterJobsServiceOptions
  const expected = expect.objectContaining({ name: 'AfterJobsError', code, message: expect.stringMatching(message) })
  expect(() => withAfterJobs(options)).toThrow(expected)
  expect(() => attachAfterJobs({}, options)).toThrow(expected)
})

test("in a transaction of another runtime's the action resolves, and its job is compensated for", async () => {
  const { service, jobs, hooks } = makeStranded(memoryQueue())
  const made = await createTestJobs().transaction(() => service.create({}))
  const token = service.getJobToken(made) ?? ''
  expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
  await jobs.close()
  expect(hooks.failed).toHaveBeenCalledOnce()
})

test('a list of a class of its own is told from one that it would make', async () => {
  class Page extends Array<Row> {
    constructor(rows: Row[]) {
      super()
      // A length, which map() gives, is no list.
      for (const row of rows) this.push(row)
    }
  }
  const bench = makeBench()
  const service = makeAnswering(async () => new Page([{ id: 1 }, { id: 2 }]), ['save'], { jobs: bench.jobs })
  await service.save()
  expect(bench.started().map(([, id]) => id)).toEqual([1, 2])
})

test('a getter is left as it is, with one warning', async () => {
  const { jobs, logger, started } = makeBench()
  class Getting extends withAfterJobs({ jobs, auto: ['save'] }) {
    readonly #repository = { save: async () => ({ id: 1 }) }
    get save() {
      return () => this.#repository.save()
    }
    afterSaveJob() {}
  }
  const services = [new Getting(), new Getting()]
  for (const service of services) expect(await service.save()).toEqual({ id: 1 })
  expect(started()).toEqual([])
  expect(warnings(logger)).toEqual([
    expect.stringMatching(/Getting\.save is a field or a getter.*Write it as a method/),
  ])
})

test.each<[string, (this: object) => unknown]>([
  [
    'puts its value on the instance',
    function (this: object) {
      const value = async () => ({ id: 1 })
      Object.defineProperty(this, 'save', { value })
      return value
    },
  ],
  [
    'throws until the service is complete',
    () => {
      throw new Error('too early')
    },
  ],
])('a getter that %s is not asked, and warned of', async (_, get) => {
  const { jobs, logger } = makeBench()
  class Base {
    afterSaveJob() {}
  }
  Object.defineProperty(Base.prototype, 'save', { get })
  ;new (withAfterJobs(Base, { jobs, auto: ['save', 'load'] }))()
  await Promise.resolve()
  expect(warnings(logger)).toEqual([
    expect.stringMatching(/Base\.save is a field or a getter/),
    expect.stringMatching(/'load', which Base does not have/),
  ])
})

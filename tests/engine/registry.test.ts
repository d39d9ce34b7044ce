import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  type AfterJobs,
  attachAfterJobs,
  createAfterJobs,
  type JobContext,
  type JobEnvelope,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from './support/runtime'
import { makeEnvelope } from './support/stub-queue'

afterEach(() => {
  vi.useRealTimers()
})

/** Two runtimes that play two processes. What one hands to the other is text, as with every engine that processes share. */
function makeShared() {
  const inner = memoryQueue({ autoStart: false })
  const send = (envelope: JobEnvelope): JobEnvelope => JSON.parse(JSON.stringify(envelope))
  const queue = {
    ...inner,
    isShared: true,
    enqueue: (envelope: JobEnvelope) => inner.enqueue(send(envelope)),
    enqueueMany: (envelopes: readonly JobEnvelope[]) => inner.enqueueMany(envelopes.map(send)),
  }
  const cache = { ...memoryCache(), isLocal: false }
  const producer = createAfterJobs({ queue, cache })
  const worker = createAfterJobs({ queue, cache })
  return { queue, cache, producer, worker }
}

function anError(code: string, message: RegExp): Error {
  const fields = { name: 'AfterJobsError', code, message: expect.stringMatching(message) }
  return expect.objectContaining(fields) as unknown as Error
}

/** Starts a job of a service that lives in another process. */
async function start(producer: AfterJobs, name = 'rows', id = 1): Promise<string> {
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs: producer, name })
  return (await service.executeJob('after', 'create', id)) ?? ''
}

// What a worker makes.

test('register(Class) makes the service with new', async () => {
  const { producer, worker } = makeShared()
  const made = vi.fn()
  class Rows {
    static readonly jobName = 'rows'
    readonly table = 'rows'
    constructor(...args: unknown[]) {
      made(...args)
    }
    afterCreateJob() {
      return { result: this.table }
    }
  }
  worker.register(Rows)
  expect(made).not.toHaveBeenCalled()
  const token = await start(producer)
  expect(await worker.runNext()).toBe(true)
  expect(await producer.status(token)).toMatchObject({ status: 'done', result: 'rows' })
  expect(made.mock.calls).toEqual([[]])
})

test('register(Class, factory) makes it with the factory, under the jobName', async () => {
  const { producer, worker } = makeShared()
  abstract class Rows {
    static readonly jobName = 'rows'
    constructor(readonly database: string) {}
    afterCreateJob(id: number) {
      return { result: `${this.database} ${id}` }
    }
  }
  class Real extends Rows {}
  worker.register(Rows, () => new Real('db'))
  const token = await start(producer, 'rows', 7)
  await worker.runNext()
  expect(await producer.status(token)).toMatchObject({ status: 'done', result: 'db 7' })
})

test('register(name, factory) calls the factory, which may be async, once per job', async () => {
  const { producer, worker } = makeShared()
  const services: object[] = []
  const factory = vi.fn(async () => {
    await Promise.resolve()
    const service = { afterCreateJob: () => void services.push(service) }
    return service
  })
  worker.register('rows', factory)
  const tokens = [await start(producer), await start(producer)]
  while (await worker.runNext());
  expect(factory).toHaveBeenCalledTimes(2)
  expect(new Set(services).size).toBe(2)
  const statuses = await Promise.all(tokens.map((token) => worker.status(token)))
  expect(statuses).toMatchObject([{ status: 'done' }, { status: 'done' }])
})

test('a factory may answer a promise of another realm, as in a test framework', async () => {
  const { producer, worker } = makeShared()
  worker.register('rows', runInNewContext('async () => ({ afterCreateJob: () => ({ result: 1 }) })'))
  const token = await start(producer)
  await worker.runNext()
  expect(await producer.status(token)).toMatchObject({ status: 'done', result: 1 })
})

test('hook and compensation of a job share one service', async () => {
  const { producer, worker } = makeShared()
  const factory = vi.fn(() => {
    const log: string[] = []
    return {
      log,
      afterCreateJob() {
        log.push('ran')
        return 'error'
      },
      afterCreateJobFailed: () => void log.push('failed'),
    }
  })
  worker.register('rows', factory)
  await start(producer)
  await worker.runNext()
  expect(factory.mock.results.map(({ value }) => value.log)).toEqual([['ran', 'failed']])
})

test('the factory is called, too, where one process both starts and runs the job', async () => {
  const { producer } = makeShared()
  const live = vi.fn()
  const factory = vi.fn(() => ({ afterCreateJob: () => ({ result: 'made' }) }))
  producer.register('rows', factory)
  const service = attachAfterJobs({ afterCreateJob: live }, { jobs: producer, name: 'rows' })
  const token = await service.executeJob('after', 'create', 1)
  await producer.runNext()
  expect(live).not.toHaveBeenCalled()
  expect(factory).toHaveBeenCalledTimes(1)
  expect(await producer.status(token ?? '')).toMatchObject({ status: 'done', result: 'made' })
})

test('a process that only starts jobs does not keep the services of those that others run', async () => {
  const { producer, worker } = makeShared()
  worker.register('rows', () => ({ afterCreateJob() {} }))
  const reference = new WeakRef(await startAndForget(producer))
  while (await worker.runNext());
  await collectGarbage()
  expect(reference.deref()).toBeUndefined()
})

async function startAndForget(producer: AfterJobs): Promise<object> {
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs: producer, name: 'rows' })
  await service.executeJob('after', 'create', 1)
  return service
}

async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  for (let round = 0; round < 3; round++) {
    // A WeakRef holds on until the turn in which it was made or read is over.
    await new Promise((resolve) => setImmediate(resolve))
    runInNewContext('gc')()
  }
}

test('in memory the hook runs on the live instance, and nothing needs to be registered', async () => {
  const jobs = createAfterJobs()
  const factory = vi.fn(() => ({}))
  class Rows extends withAfterJobs({ jobs }) {
    static readonly jobName = 'rows'
    readonly #secret = 'live'
    afterCreateJob() {
      return { result: this.#secret }
    }
  }
  jobs.register(Rows, factory)
  const token = await new Rows().executeJob('after', 'create', 1)
  expect(await jobs.settled(token ?? '')).toMatchObject({ status: 'done', result: 'live' })
  expect(factory).not.toHaveBeenCalled()
})

test('a hook gets what was sent, through the queue', async () => {
  const { producer, worker } = makeShared()
  const seen: unknown[] = []
  const afterCreateJob = (id: string, _token: string, _progress: ProgressReporter, job: JobContext) => {
    seen.push(id, job.payload, job.service, job.attempts)
  }
  worker.register('rows', () => ({ afterCreateJob }))
  const service = attachAfterJobs({ afterCreateJob }, { jobs: producer, name: 'rows' })
  await service.executeJob('after', 'create', 'x', { payload: [1], attempts: 2 })
  await worker.runNext()
  expect(seen).toEqual(['x', [1], 'rows', 2])
})

test('a factory that fails costs no attempt: the job waits, unharmed', async () => {
  const { queue, producer, worker } = makeShared()
  const factory = vi.fn(async () => ({ afterCreateJob() {} }))
  factory.mockRejectedValueOnce(new Error('database away'))
  worker.register('rows', factory)
  const token = await start(producer)
  await worker.runNext()
  expect(await producer.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
  queue.ignoreDelays(true)
  await worker.runNext()
  expect(await producer.status(token)).toMatchObject({ status: 'done', attempt: 1 })
})

// What is refused.

class Named {
  static readonly jobName: string = 'rows'
  afterCreateJob() {}
}
class Silent extends Named {
  find() {}
}
class WithHooks extends Named {
  beforeDeleteJob() {}
}
class BelowHooks extends WithHooks {}
class Renamed extends Named {
  static override readonly jobName = 'renamed'
  afterDeleteJob() {}
}
class BelowRenamed extends Renamed {
  find() {}
}
class Nameless {
  afterCreateJob() {}
}
class EmptyName extends Nameless {
  static readonly jobName = ''
}
class NumberName extends Nameless {
  static readonly jobName = 5
}

test('an inherited jobName is refused where the subclass declares hooks of its own', () => {
  const { worker } = makeShared()
  expect(() => worker.register(WithHooks)).toThrow(anError('INVALID_SERVICE', /WithHooks.*'rows'.*jobName/))
  worker.register(BelowRenamed)
  worker.register(Silent)
})

test('it is refused as well where a class between them declares the hooks', () => {
  const { worker } = makeShared()
  const refused = anError('INVALID_SERVICE', /BelowHooks.*'rows'.*WithHooks.*jobName/)
  expect(() => worker.register(BelowHooks)).toThrow(refused)
  expect(() => worker.register(BelowHooks, () => new BelowHooks())).toThrow(refused)
})

test('a refused registration leaves nothing behind', () => {
  const { worker } = makeShared()
  expect(() => worker.register(WithHooks)).toThrow()
  worker.register(Named)
})

test.each([Nameless, EmptyName, NumberName as unknown as typeof Nameless])(
  'a class without jobName is refused: %o',
  (Service) => {
    const expected = anError('NO_JOB_NAME', new RegExp(`${Service.name}.*static readonly jobName = `))
    expect(() => makeShared().worker.register(Service)).toThrow(expected)
    expect(() => makeShared().worker.register(Service, () => new Service())).toThrow(expected)
  },
)

test.each<[string, (jobs: AfterJobs) => void, (jobs: AfterJobs) => void]>([
  ['a class twice', (jobs) => jobs.register(Named), (jobs) => jobs.register(Named)],
  ['a class and a name', (jobs) => jobs.register(Named), (jobs) => jobs.register('rows', () => ({}))],
  ['a name twice', (jobs) => jobs.register('rows', () => ({})), (jobs) => jobs.register('rows', () => ({}))],
  ['a class and its silent subclass', (jobs) => jobs.register(Named), (jobs) => jobs.register(Silent)],
])('a name that is taken is refused: %s', (_, first, second) => {
  const { worker } = makeShared()
  first(worker)
  expect(() => second(worker)).toThrow(anError('INVALID_SERVICE', /'rows'.*registered already.*jobName/))
})

test.each<[string, unknown[]]>([
  ['a name without a factory', ['rows']],
  ['an empty name', ['', () => ({})]],
  ['a factory that is no function', ['rows', {}]],
  ['an instance', [{ afterCreateJob() {} }]],
  ['undefined', [undefined]],
  ['null', [null]],
  ['a number', [5, () => ({})]],
  ['a class with a factory that is no function', [Named, {}]],
])('a registration that makes no service is refused: %s', (_, args) => {
  const { worker } = makeShared()
  const register = worker.register as (...args: unknown[]) => void
  expect(() => register(...args)).toThrow(anError('INVALID_SERVICE', /register.*(class|function)/))
})

// Forged messages.

class Target {
  static readonly jobName = 'rows'
  static readonly ran: string[] = []
  readonly afterListJob = ['no function']
  delete() {
    Target.ran.push('delete')
  }
  afterCreateJob() {
    Target.ran.push('afterCreateJob')
  }
  afterCreateJobFailed() {
    Target.ran.push('afterCreateJobFailed')
  }
  after_secretJob() {
    Target.ran.push('after_secretJob')
  }
  getafterXJob() {
    Target.ran.push('getafterXJob')
  }
}

type Forgeries = [string, Partial<Record<keyof JobEnvelope, unknown>>][]

/** What no runtime would write. */
const forgeries: Forgeries = [
  ['the hook delete', { hook: 'delete' }],
  ['the hook constructor', { hook: 'constructor' }],
  ['the hook __proto__', { hook: '__proto__' }],
  ['the hook toString', { hook: 'toString' }],
  ['a compensation', { hook: 'afterCreateJobFailed' }],
  ['a hook with a lower case letter', { hook: 'aftercreateJob' }],
  ['a hook with an underscore', { hook: 'after_secretJob' }],
  ['a hook inside of another name', { hook: 'getafterXJob' }],
  ['a hook and a line break', { hook: 'afterCreateJob\n' }],
  ['a hook in an array', { hook: ['afterCreateJob'] }],
  ['no hook', { hook: undefined }],
  ['no service', { service: undefined }],
  ['no version', { version: undefined }],
  ["version '1'", { version: '1' }],
  ['an id that is an object', { id: { id: 1 } }],
  ['no id', { id: undefined }],
  ['a payload of a megabyte', { payload: 'x'.repeat(1_000_000) }],
  ['no attempts', { attempts: undefined }],
  ['a thousand attempts', { attempts: 1_000 }],
  ['a negative timeout', { timeout: -1 }],
  ['a backoff of a word', { backoff: 'fixed' }],
  ['a parent that is no token', { parent: 'me' }],
  ['a creation in words', { createdAt: 'today' }],
]

/** What another worker may know. */
const strangers: Forgeries = [
  ['a hook that the service does not have', { hook: 'afterUpdateJob' }],
  ['a hook that is no function', { hook: 'afterListJob' }],
  ['an unknown service', { service: 'projects' }],
  ['the service __proto__', { service: '__proto__' }],
  ['the service constructor', { service: 'constructor' }],
  ['version 2', { version: 2 }],
  ['version 0', { version: 0 }],
]

async function enqueueForged(fields: object) {
  Target.ran.length = 0
  const shared = makeShared()
  shared.worker.register(Target)
  const envelope = { ...makeEnvelope({ service: 'rows' }), ...fields } as JobEnvelope
  await shared.queue.enqueue(envelope)
  return { ...shared, token: envelope.token }
}

test('the message that the forgeries start from does run', async () => {
  const { worker, token } = await enqueueForged({})
  await worker.runNext()
  expect(Target.ran).toEqual(['afterCreateJob'])
  expect(await worker.status(token)).toMatchObject({ status: 'done' })
})

test.each(forgeries)('a forged message is refused, never run, and ends its token: %s', async (_, fields) => {
  const { queue, worker, token } = await enqueueForged(fields)
  expect(await worker.runNext()).toBe(true)
  expect(Target.ran).toEqual([])
  expect(await queue.health()).toMatchObject({ waiting: 0, active: 0 })
  expect(await worker.status(token)).toMatchObject({ status: 'error', code: 'missing_hook' })
})

test.each(strangers)('what this worker does not know is handed back and not run: %s', async (_, fields) => {
  const { queue, worker, token } = await enqueueForged(fields)
  expect(await worker.runNext()).toBe(true)
  expect(Target.ran).toEqual([])
  expect(await queue.find(token)).toEqual({ state: 'waiting' })
  // It is due again only after a delay.
  expect(await worker.runNext()).toBe(false)
  expect(await worker.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
})

test('what nobody knows ends as missing_hook after 10 minutes, not before', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { queue, worker, token } = await enqueueForged({ hook: 'afterUpdateJob' })
  const start = Date.now()
  const runAfter = async (minutes: number) => {
    vi.setSystemTime(start + minutes * 60_000)
    queue.ignoreDelays(true)
    await worker.runNext()
    return worker.status(token)
  }
  expect(await runAfter(0)).toMatchObject({ status: 'pending' })
  expect(await runAfter(9.9)).toMatchObject({ status: 'pending' })
  const expected = { status: 'error', code: 'missing_hook', message: expect.stringMatching(/afterUpdateJob.*rows/) }
  expect(await runAfter(10.1)).toMatchObject(expected)
  expect(Target.ran).toEqual([])
  expect(await queue.health()).toMatchObject({ waiting: 0, active: 0 })
})

test('what is deployed within the 10 minutes still runs', async () => {
  const { queue, producer, worker } = makeShared()
  const token = await start(producer)
  await worker.runNext()
  worker.register(Target)
  queue.ignoreDelays(true)
  await worker.runNext()
  expect(await producer.status(token)).toMatchObject({ status: 'done', attempt: 1 })
})

test('a forged payload pollutes nothing', async () => {
  const { worker, token } = await enqueueForged({
    payload: JSON.parse('{"__proto__":{"polluted":true}}'),
    context: JSON.parse('{"__proto__":{"polluted":true}}'),
    attempts: 2,
  })
  await worker.runNext()
  expect(await worker.status(token)).toMatchObject({ status: 'done' })
  expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
})

test('a service without a name is refused before anything is written', async () => {
  const { queue, producer } = makeShared()
  class Anonymous extends withAfterJobs({ jobs: producer }) {
    afterCreateJob() {}
  }
  expect(await rejection(new Anonymous().executeJob('after', 'create', 1))).toMatchObject({ code: 'NO_JOB_NAME' })
  expect(await queue.health()).toMatchObject({ waiting: 0 })
})

test('what was cancelled while nobody knew its service is not told as an end of another kind', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  const { queue, cache, producer, worker } = makeShared()
  const token = await start(producer)
  await worker.runNext()
  // A process whose word the queue does not hear.
  const elsewhere = createAfterJobs({ queue: { ...memoryQueue({ autoStart: false }), isShared: true }, cache })
  expect(await elsewhere.cancel(token)).toBe(true)
  const errors = vi.fn()
  worker.on('error', errors)
  vi.setSystemTime(Date.now() + 11 * 60_000)
  queue.ignoreDelays(true)
  expect(await worker.runNext()).toBe(true)
  expect(errors).not.toHaveBeenCalled()
  expect(await queue.health()).toMatchObject({ waiting: 0, active: 0 })
})

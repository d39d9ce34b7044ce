import { runInNewContext } from 'node:vm'
import {
  type AfterJobs,
  AfterJobsError,
  type AfterJobsOptions,
  attachAfterJobs,
  createAfterJobs,
  JobError,
  type JobStatus,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { expect, onTestFinished, test, vi } from 'vitest'
import { makeGate, rejection } from './support/runtime'
import { spyLogger } from './support/spies'

/** The methods as JavaScript calls them. */
interface Loose {
  executeJob(...args: unknown[]): Promise<string | undefined>
  executeJobs(...args: unknown[]): Promise<string[]>
}

function makeLoose(jobs: AfterJobs = createTestJobs()): Loose {
  const service: object = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'rows' })
  return service as Loose
}

/** An error of this library says who, what was expected and what it got, in a few lines. */
function anError(code: string, message: RegExp): unknown {
  return expect.objectContaining({ name: 'AfterJobsError', code, message: expect.stringMatching(message) })
}

/** Runs a hook to the end of its job, with attempts to spare. */
async function runHook(body: () => unknown): Promise<{ status: JobStatus; calls: number }> {
  const jobs = createTestJobs()
  const afterCreateJob = vi.fn(() => body() as undefined)
  const service = attachAfterJobs({ afterCreateJob }, { jobs, name: 'rows' })
  const token = (await service.executeJob('after', 'create', 1, { attempts: 2 })) ?? ''
  // A job that hangs fails its test by the signal, whatever else hangs with it.
  const settled = jobs.settled(token, { signal: AbortSignal.timeout(3_000) })
  const drained = jobs.drain()
  const status = await settled
  await drained
  return { status, calls: afterCreateJob.mock.calls.length }
}

const LONG = 'x'.repeat(1_000_000)

// Actions and moments.

const badActions: [string, unknown, RegExp][] = [
  ['bulk-create', 'bulk-create', /'bulk-create'.*'bulkCreate'/],
  ['a capital', 'Create', /'Create'.*'create'/],
  ['snake case', 'bulk_create', /'bulk_create'.*'bulkCreate'/],
  ['an empty string', '', /''/],
  ['65 letters', 'a'.repeat(65), /64|63/],
  ['a line break', 'create\n', /letters/],
  ['a digit first', '1st', /'1st'/],
  ['unicode', 'créer', /'créer'/],
  ['__proto__', '__proto__', /'__proto__'/],
  ['a path', '../create', /letters/],
  ['a megabyte', LONG, /letters/],
  ['undefined', undefined, /undefined/],
  ['null', null, /null/],
  ['a number', 5, /5/],
  ['an array', ['create'], /Array/],
  ['an object', { toString: (): string => 'create' }, /object/],
  ['a symbol', Symbol('create'), /symbol/],
  ['a function', function create() {}, /function|create/],
]

test.each(badActions)('an action that is no name: %s', async (_, action, message) => {
  const service = makeLoose()
  const expected = anError('INVALID_ACTION', message)
  for (const call of [service.executeJob('after', action, 1), service.executeJobs('after', action, [1])]) {
    const error = (await rejection(call)) as Error
    expect(error).toEqual(expected)
    expect(error.message.length).toBeLessThan(400)
  }
})

test.each([
  ['during', 'during'],
  ['After', 'After'],
  ['an empty string', ''],
  ['undefined', undefined],
  ['an object', { toString: (): string => 'after' }],
])('a moment that is neither before nor after: %s', async (_, when) => {
  const error = await rejection(makeLoose().executeJob(when, 'create', 1))
  expect(error).toEqual(anError('INVALID_ACTION', /'before' or 'after'/))
})

// Subjects.

class ObjectId {
  toHexString() {
    return 'a1'
  }
}

const badSubjects: [string, unknown, RegExp][] = [
  ['a bigint', 5n, /5n.*bigint/],
  ['an ObjectId', new ObjectId(), /id/],
  ['undefined', undefined, /undefined/],
  ['null', null, /null/],
  ['NaN', Number.NaN, /NaN/],
  ['Infinity', Number.POSITIVE_INFINITY, /Infinity/],
  ['a boolean', true, /true/],
  ['a symbol', Symbol('id'), /symbol/],
  ['a function', () => 1, /=>|function/],
  ['a boxed string', new String('x'), /id/],
  ['an array', [1], /id/],
  ['an empty object', {}, /undefined/],
  ['an entity with a bigint', { id: 5n }, /5n/],
  ['an entity with an ObjectId', { id: new ObjectId() }, /ObjectId/],
  ['an entity with null', { id: null }, /null/],
  ['an entity with NaN', { id: Number.NaN }, /NaN/],
  ['an entity with a Date', { id: new Date() }, /Date/],
  ['an entity without a prototype', Object.create(null), /undefined/],
]

test.each(badSubjects)('an id that no queue can carry: %s', async (_, subject, message) => {
  const jobs = createTestJobs()
  const service = makeLoose(jobs)
  const expected = anError('INVALID_ID', message)
  for (const call of [
    service.executeJob('after', 'create', subject),
    service.executeJobs('after', 'create', [subject]),
  ]) {
    const error = (await rejection(call)) as Error
    expect(error).toEqual(expected)
    // Who, what was expected, and how to convert it.
    expect(error.message).toMatch(/afterCreateJob.*string.*finite number.*String\(id\)/)
  }
  expect(jobs.dispatched).toEqual([])
})

test.each([[undefined], [null], [5], ['abc'], [{ 0: 1, length: 1 }], [new Set([1])]])(
  'executeJobs of what is no array: %o',
  async (subjects) => {
    const error = await rejection(makeLoose().executeJobs('after', 'create', subjects))
    expect(error).toEqual(anError('INVALID_ID', /array/))
  },
)

// Payloads and context.

function cycle(): unknown {
  const list: unknown[] = []
  list.push({ list })
  return list
}

function nest(depth: number): unknown {
  let value: unknown = null
  for (let level = 0; level < depth; level++) value = [value]
  return value
}

class Point {
  x = 1
}

const notJson: [string, unknown, RegExp][] = [
  ['a BigInt', { a: [1n] }, /\.a\[0\].*bigint/],
  ['a cycle', { c: cycle() }, /\.c\[0\]\.list.*cycle/],
  ['a function', { run() {} }, /\.run.*function/],
  ['a symbol', { s: Symbol('s') }, /\.s.*symbol/],
  ['a Map', { m: new Map() }, /\.m.*Map/],
  ['a Set', [new Set()], /\[0\].*Set/],
  ['a Date', { at: new Date() }, /\.at.*Date/],
  ['a class instance', { p: new Point() }, /\.p.*Point/],
  ['a RegExp', { r: /x/ }, /\.r.*RegExp/],
  ['an Error', { e: new Error('x') }, /\.e.*Error/],
  ['bytes', { b: new Uint8Array(2) }, /\.b.*Uint8Array/],
  ['a Buffer', { b: Buffer.from('x') }, /\.b.*Buffer/],
  ['a promise', { p: Promise.resolve() }, /\.p.*Promise/],
  ['a boxed number', { n: new Number(1) }, /\.n.*Number/],
  ['NaN', { n: Number.NaN }, /\.n.*NaN/],
  ['-Infinity', [Number.NEGATIVE_INFINITY], /\[0\].*-Infinity/],
  ['undefined in an array', { list: [1, undefined] }, /\.list\[1\].*undefined/],
  ['a hole in an array', new Array(2), /\[0\].*undefined/],
  ['an object with toJSON', { d: { toJSON: () => 'x' } }, /\.d\.toJSON.*function/],
  ['a nest of 100,000 arrays', nest(100_000), /deep/],
]

test.each([...notJson, ['a top-level Date', new Date(), /Date/] as const])(
  'a payload that plain JSON cannot carry: %s',
  async (_, payload, message) => {
    const jobs = createTestJobs()
    const service = makeLoose(jobs)
    const options = { payload }
    for (const call of [
      service.executeJob('after', 'create', 1, options),
      service.executeJobs('after', 'create', [1], options),
    ]) {
      const error = await rejection(call)
      expect(error).toEqual(anError('INVALID_PAYLOAD', message))
      expect(String(error)).toContain('afterCreateJob')
    }
    expect(jobs.dispatched).toEqual([])
  },
)

test('the same object twice is no cycle', async () => {
  const jobs = createTestJobs()
  const shared = { x: 1 }
  await makeLoose(jobs).executeJob('after', 'create', 1, { payload: { a: shared, b: [shared, shared] } })
  expect(jobs.dispatched[0]?.payload).toEqual({ a: { x: 1 }, b: [{ x: 1 }, { x: 1 }] })
})

test.each([
  ['ASCII', 'x'.repeat(16_383)],
  ['UTF-8', 'é'.repeat(8_192)],
  ['a megabyte', LONG],
])('a payload over 16 KB: %s', async (_, payload) => {
  const error = await rejection(makeLoose().executeJob('after', 'create', 1, { payload }))
  expect(error).toEqual(anError('INVALID_PAYLOAD', /afterCreateJob.*\d+ bytes.*16,?384.*id/))
})

test.each(notJson)('a captured context that plain JSON cannot carry: %s', async (_, context, message) => {
  const jobs = createTestJobs({ context: { capture: () => context } })
  const error = await rejection(makeLoose(jobs).executeJob('after', 'create', 1))
  expect(error).toEqual(anError('INVALID_CONTEXT', message))
  expect(jobs.dispatched).toEqual([])
})

// Options of executeJob.

const YEAR = 365 * 24 * 3_600_000

test.each<[string, unknown, RegExp]>([
  ['delay', -1, /delay.*-1.*0.*31,?536,?000,?000/],
  ['delay', YEAR + 1, /delay.*0.*31,?536,?000,?000/],
  ['delay', Number.NaN, /delay.*NaN/],
  ['delay', '5', /delay.*'5'/],
  ['delay', null, /delay.*null/],
  ['priority', 1_001, /priority.*1001.*-1,?000.*1,?000/],
  ['priority', -1_001, /priority.*-1001/],
  ['priority', 0.5, /priority.*0\.5.*integer/],
  ['attempts', 0, /attempts.*0.*1.*100/],
  ['attempts', 101, /attempts.*101.*1.*100/],
  ['attempts', 1.5, /attempts.*1\.5.*integer/],
  ['attempts', '3', /attempts.*'3'/],
  ['timeout', 0, /timeout.*0.*1/],
  ['timeout', 0.5, /timeout.*0\.5.*1/],
  ['timeout', Number.NaN, /timeout.*NaN/],
  ['timeout', -5, /timeout.*-5/],
  ['dedupe', 5, /dedupe.*5.*string/],
  ['dedupe', '', /dedupe/],
  ['dedupe', null, /dedupe.*null/],
  ['backoff', 'fixed', /backoff/],
  ['backoff', null, /backoff/],
  ['backoff', {}, /backoff\.type.*'fixed'.*'exponential'/],
  ['backoff', { type: 'linear', delay: 1 }, /backoff\.type.*'linear'.*'fixed'.*'exponential'/],
  ['backoff', { type: 'fixed' }, /backoff\.delay/],
  ['backoff', { type: 'fixed', delay: -1 }, /backoff\.delay.*-1/],
  ['backoff', { type: 'fixed', delay: '5' }, /backoff\.delay.*'5'/],
  ['atempts', 3, /atempts.*attempts/],
  ['__proto__', 3, /__proto__/],
])('an option that is wrong: %s: %o', async (name, value, message) => {
  const jobs = createTestJobs()
  const service = makeLoose(jobs)
  const options = Object.defineProperty({}, name, { value, enumerable: true })
  const expected = anError('INVALID_OPTION', message)
  expect(await rejection(service.executeJob('after', 'create', 1, options))).toEqual(expected)
  expect(await rejection(service.executeJobs('after', 'create', [1], options))).toEqual(expected)
  expect(jobs.dispatched).toEqual([])
})

test.each([
  ['delay', 0],
  ['delay', 0.5],
  ['delay', YEAR],
  ['delay', 2 ** 31],
  ['priority', -1_000],
  ['priority', 1_000],
  ['attempts', 1],
  ['attempts', 100],
  ['timeout', 1],
  ['timeout', 2 ** 31],
  ['timeout', 2 * YEAR],
  ['backoff', { type: 'exponential', delay: 0 }],
  ['dedupe', 'k\n'],
  ['delay', undefined],
])('an option at the edge of its range is taken: %s: %o', async (name, value) => {
  const jobs = createTestJobs()
  await makeLoose(jobs).executeJob('after', 'create', 1, { [name]: value })
  expect(jobs.dispatched).toHaveLength(1)
})

test.each([
  ['null', null],
  ['a string', 'attempts'],
  ['a number', 5],
  ['an array', [5]],
  ['a function', () => {}],
])('options that are no object: %s', async (_, options) => {
  const jobs = createTestJobs()
  const error = await rejection(makeLoose(jobs).executeJob('after', 'create', 1, options))
  expect(error).toEqual(anError('INVALID_OPTION', /option/))
  expect(jobs.dispatched).toEqual([])
})

// The service.

test.each([
  ['a string', 'soon'],
  ['an object', {}],
  ['true', true],
  ['0', 0],
])('a hook that is no function: %s', async (_, hook) => {
  const service: object = attachAfterJobs({ afterCreateJob: hook } as object, { jobs: createTestJobs() })
  const error = await rejection((service as Loose).executeJob('after', 'create', 1))
  expect(error).toEqual(anError('INVALID_HOOK', /afterCreateJob.*method|function/))
})

test.each([
  ['null', null],
  ['an empty object', {}],
  ['a queue', memoryQueue()],
  ['a class', class Jobs {}],
])('jobs that is no runtime is told where it is written: %s', (_, jobs) => {
  const options = { jobs } as never
  const expected = anError('INVALID_OPTION', /jobs.*createAfterJobs\(\)/)
  expect(() => withAfterJobs(options)).toThrow(expected as Error)
  expect(() => withAfterJobs(class {}, options)).toThrow(expected as Error)
  expect(() => attachAfterJobs({}, options)).toThrow(expected as Error)
})

test.each<[string, unknown, RegExp]>([
  ['atuo', ['create'], /atuo.*auto/],
  ['onEnqueueError', 'reject', /onEnqueueError.*'reject'.*'log' or 'throw'/],
  ['onEnqueueError', null, /onEnqueueError.*null/],
  ['tokenScope', 'request', /tokenScope.*'request'.*'instance'/],
  ['tokenScope', true, /tokenScope.*true/],
])('an option of a service that is wrong: %s: %o', (name, value, message) => {
  const options = { [name]: value } as never
  for (const [who, make] of [
    ['withAfterJobs', () => withAfterJobs(options)],
    ['withAfterJobs', () => withAfterJobs(class {}, options)],
    ['attachAfterJobs', () => attachAfterJobs({}, options)],
  ] as const) {
    expect(make).toThrow(anError('INVALID_OPTION', message) as Error)
    expect(make).toThrow(who)
  }
})

test('options of a service that are undefined are as if not given', () => {
  const options = { jobs: undefined, auto: undefined, onEnqueueError: undefined, tokenScope: undefined } as never
  expect(() => [withAfterJobs(options), withAfterJobs(class {}, options), attachAfterJobs({}, options)]).not.toThrow()
})

test('a name is an option of a plain object only: a class has its jobName', () => {
  expect(() => attachAfterJobs({}, { name: 'rows' })).not.toThrow()
  expect(() => withAfterJobs({ name: 'rows' } as never)).toThrow(anError('INVALID_OPTION', /'name'/) as Error)
})

test.each([['failed'], ['Done'], [''], [undefined], ['__proto__']])('an event that there is not: %o', (name) => {
  const expected = anError('INVALID_OPTION', /event.*expected 'queued' or .*'error'/)
  expect(() => createTestJobs().on(name as never, () => {})).toThrow(expected as Error)
})

test.each([
  ['null', null],
  ['undefined', undefined],
  ['a string', 'service'],
  ['a function', () => {}],
])('attachAfterJobs of what is no object: %s', (_, service) => {
  expect(() => attachAfterJobs(service as never)).toThrow(anError('INVALID_SERVICE', /object/) as Error)
})

test('a class or a function is shown by its name, not by its source', () => {
  class ProjectService {
    readonly secret = 'of the source'
  }
  expect(() => attachAfterJobs(ProjectService as never)).toThrow(/ class ProjectService\.$/)
})

test.each([
  ['undefined, as a circular import leaves it', undefined],
  ['null', null],
  ['options', { tokenScope: 'instance' }],
])('withAfterJobs refuses options beside %s', (_, base) => {
  const refused = anError('INVALID_SERVICE', /needs a class, then options/) as Error
  expect(() => withAfterJobs(base as never, { auto: ['create'] })).toThrow(refused)
})

test('attachAfterJobs of a frozen object says what to do', () => {
  const expected = anError('INVALID_SERVICE', /frozen|extensible/)
  expect(() => attachAfterJobs(Object.freeze({ afterCreateJob() {} }))).toThrow(expected as Error)
})

test.each([
  ['a string', 'project'],
  ['a number', 5],
])('withAfterJobs of what is neither class nor options: %s', (_, base) => {
  expect(() => withAfterJobs(base as never)).toThrow(anError('INVALID_SERVICE', /class/) as Error)
})

// Options of createAfterJobs.

test.each<[string, unknown, RegExp]>([
  ['attempts', 0, /attempts.*0.*1.*100/],
  ['attempts', 101, /attempts.*101/],
  ['attempts', Number.NaN, /attempts.*NaN/],
  ['attempts', '3', /attempts.*'3'/],
  ['attempts', null, /attempts.*null/],
  ['timeout', 0, /timeout.*0/],
  ['timeout', -1, /timeout.*-1/],
  ['timeout', Number.NaN, /timeout.*NaN/],
  ['backoff', { type: 'fixed', delay: -1 }, /backoff\.delay.*-1/],
  ['backoff', 'fixed', /backoff/],
  ['backoff', '', /backoff/],
  ['ttl', 0, /ttl.*0/],
  ['ttl', -1, /ttl.*-1/],
  ['ttl', Number.NaN, /ttl.*NaN/],
  ['ttl', '1h', /ttl.*'1h'/],
  ['ttl', Number.POSITIVE_INFINITY, /ttl.*Infinity/],
  ['liveTtl', 0, /liveTtl.*0/],
  ['enqueueTimeout', 0, /enqueueTimeout.*0/],
  ['enqueueTimeout', '5', /enqueueTimeout.*'5'/],
  ['queue', null, /queue.*null.*memoryQueue/],
  ['queue', {}, /queue.*memoryQueue/],
  ['queue', 'redis://localhost', /queue.*'redis.*memoryQueue/],
  ['cache', {}, /cache.*memoryCache/],
  ['cache', new Map(), /cache.*Map.*memoryCache/],
  ['context', {}, /context.*capture/],
  ['context', null, /context.*capture/],
  ['context', () => ({}), /context.*capture/],
  ['logger', {}, /logger/],
  ['logger', 'pino', /logger/],
  ['quee', memoryQueue(), /quee.*queue/],
  ['concurrency', 5, /concurrency/],
])('an option of createAfterJobs that is wrong: %s: %o', (name, value, message) => {
  const make = () => createAfterJobs({ [name]: value } as AfterJobsOptions)
  expect(make).toThrow(anError('INVALID_OPTION', message) as Error)
})

/** Every option of createAfterJobs, as a configuration may hold those that it does not set. */
const unset = Object.fromEntries(
  ['queue', 'cache', 'ttl', 'liveTtl', 'attempts', 'backoff', 'timeout', 'context', 'logger', 'enqueueTimeout'].map(
    (name) => [name, undefined],
  ),
)

test('options of createAfterJobs that are undefined are as if not given', async () => {
  const jobs = createAfterJobs(unset)
  const statuses = Array.from({ length: 10 }, async (_, id) => {
    const token = await makeLoose(jobs).executeJob('after', 'create', id)
    return jobs.settled(token ?? '', { signal: AbortSignal.timeout(3_000) })
  })
  expect(new Set((await Promise.all(statuses)).map(({ status }) => status))).toEqual(new Set(['done']))
})

test('an undefined ttl or liveTtl is the default', async () => {
  const inner = memoryCache()
  const write = vi.fn(inner.write)
  const jobs = createTestJobs({ ...unset, cache: { ...inner, write } })
  await makeLoose(jobs).executeJob('after', 'create', 1)
  await jobs.drain()
  expect(write.mock.calls.map(([, { status }, ttl]) => [status, ttl])).toEqual([
    ['pending', 86_400_000],
    ['running', 86_400_000],
    ['done', 3_600_000],
  ])
})

test('an undefined enqueueTimeout is the default', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const queue = { ...memoryQueue({ autoStart: false }), isShared: true, enqueue: () => new Promise<never>(() => {}) }
  const jobs = createAfterJobs({ ...unset, queue, cache: { ...memoryCache(), isLocal: false } })
  const onRejection = vi.fn()
  makeLoose(jobs).executeJob('after', 'create', 1).catch(onRejection)
  await vi.advanceTimersByTimeAsync(4_900)
  expect(onRejection).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(200)
  expect(onRejection).toHaveBeenCalledWith(anError('ENQUEUE_FAILED', /5000 ms/))
})

test.each([[null], ['memory'], [5]])('options of createAfterJobs that are no object: %o', (options) => {
  expect(() => createAfterJobs(options as never)).toThrow(anError('INVALID_OPTION', /options/) as Error)
})

test('a queue that processes share is refused beside a cache that they do not', async () => {
  const queue = { ...memoryQueue({ autoStart: false }), isShared: true }
  expect(() => createAfterJobs({ queue })).toThrow(anError('INVALID_OPTION', /share.*cache/) as Error)
  const shared = createAfterJobs({ queue, cache: { ...memoryCache(), isLocal: false } })
  expect(await shared.status('')).toMatchObject({ status: 'unknown' })
})

// What a hook returns and throws.

test.each<[string, () => unknown, RegExp]>([
  ['a number', () => 5, /afterCreateJob.*5.*'done', 'error' or \{ result \}/],
  ['a string', () => 'finished', /afterCreateJob.*'finished'/],
  ['true', () => true, /true/],
  ['an object', () => ({ ok: true }), /object/],
  ['an array', () => [], /Array/],
  ['a function', () => () => {}, /afterCreateJob/],
  ['a symbol', () => Symbol('x'), /symbol/],
  ['an object without a prototype', () => Object.create(null), /object/],
  ['a prototype that has a result', () => Object.create({ result: 1 }), /object/],
  ['a number later', async () => 5, /afterCreateJob.*5/],
  ['an array later', async () => [], /Array/],
  [
    'a hostile object later',
    async () => ({
      get constructor() {
        throw new Error('no constructor')
      },
    }),
    /.+/,
  ],
])('a hook that returns %s fails, and is not repeated', async (_, value, message) => {
  const { status, calls } = await runHook(value)
  expect(status).toMatchObject({
    status: 'error',
    code: 'unexpected',
    message: expect.stringMatching(message),
    attempt: 1,
  })
  expect(calls).toBe(1)
})

test.each([...notJson, ['more than 64 KB', 'é'.repeat(32_768), /65,?536/] as const])(
  'a result that JSON cannot carry is final, although attempts remain: %s',
  async (_, result, message) => {
    const { status, calls } = await runHook(() => ({ result }))
    expect(status).toMatchObject({ status: 'error', message: expect.stringMatching(message), attempt: 1, attempts: 2 })
    expect(calls).toBe(1)
  },
)

test.each<[string, () => unknown]>([
  ['a promise of another realm', () => runInNewContext('Promise.resolve({ result: 1 })')],
  // biome-ignore lint/suspicious/noThenProperty: query builders are like this
  ['a lazy query', () => ({ then: (resolve: (value: unknown) => void) => resolve({ result: 1 }) })],
])('a hook may answer %s', async (_, body) => {
  expect((await runHook(body)).status).toMatchObject({ status: 'done', result: 1 })
})

test('a result of exactly 64 KB is taken', async () => {
  const result = 'é'.repeat(32_767)
  expect((await runHook(() => ({ result }))).status).toMatchObject({ status: 'done', result })
})

function thrower(value: unknown): () => never {
  return () => {
    throw value
  }
}

/** An error whose message is something else. */
function errorWith(message: unknown): Error {
  return Object.defineProperty(new Error('x'), 'message', { value: message })
}

/** An object that answers no question. */
const hostile = new Proxy({}, { get: thrower(new Error('no get')), has: thrower(new Error('no has')) })
const revoked = Proxy.revocable({}, {})
revoked.revoke()

const thrownValues: [string, unknown, RegExp][] = [
  ['undefined', undefined, /afterCreateJob.*undefined/],
  ['null', null, /afterCreateJob.*null/],
  ['a string', 'no luck', /no luck/],
  ['an empty string', '', /afterCreateJob/],
  ['a number', 0, /0/],
  ['a bigint', 1n, /1n/],
  ['a symbol', Symbol('x'), /symbol/],
  ['a function', () => 1, /afterCreateJob/],
  ['an object', { status: 503 }, /object/],
  ['an object without a prototype', Object.create(null), /object/],
  ['a proxy that answers nothing', hostile, /.+/],
  ['a proxy that was revoked', revoked.proxy, /.+/],
  ['an error', new TypeError('x is not a function'), /^x is not a function$/],
  ['an error with an empty message', new Error(''), /afterCreateJob/],
  ['an error without a message', errorWith(undefined), /afterCreateJob/],
  ['an error whose message is an object', errorWith({ text: 'x' }), /.+/],
  ['an error whose message has no prototype', errorWith(Object.create(null)), /.+/],
  ['an error whose message is a symbol', errorWith(Symbol('x')), /.+/],
  ['an AfterJobsError', new AfterJobsError('QUEUE_FULL', 'full'), /full/],
]

const inBothWays = thrownValues.flatMap(([name, thrown, message]): [string, () => unknown, RegExp][] => [
  [name, thrower(thrown), message],
  [`${name} later`, () => Promise.reject(thrown), message],
])

test.each(inBothWays)('a hook that throws %s is repeated, and then fails', async (_, body, message) => {
  const { status, calls } = await runHook(body)
  const expected = { status: 'error', code: 'unexpected', message: expect.stringMatching(message), attempt: 2 }
  expect(status).toMatchObject(expected)
  expect(calls).toBe(2)
})

test.each([
  ['an empty message', new JobError('')],
  ['no message', new JobError(undefined as never)],
  ['a message that is an object', new JobError({} as never)],
])('a JobError with %s still tells something', async (_, thrown) => {
  const { status, calls } = await runHook(thrower(thrown))
  expect(status).toMatchObject({ status: 'error', code: 'failed', message: expect.stringMatching(/.+/) })
  expect(calls).toBe(1)
})

test('a JobError of another copy of the library is one, too', async () => {
  const foreign = Object.defineProperty(new Error('Not found'), Symbol.for('after-jobs.job-error'), { value: true })
  expect((await runHook(thrower(foreign))).status).toMatchObject({ code: 'failed', message: 'Not found', attempt: 1 })
})

test('a message of a megabyte is cut, and loses its control characters', async () => {
  const { status } = await runHook(thrower(new JobError(`line 1\nline 2\u0000\u202e${LONG}`)))
  const { message = '' } = status as { message?: string }
  expect(message.length).toBeLessThanOrEqual(500)
  expect(message).toMatch(/^line 1 line 2 x+…$/)
})

test.each([
  ['a megabyte', LONG, /^x{499}…$/],
  ['controls', 'a\u0000b\tc\u007fd\u2028e', /^a b c d e$/],
  ['emoji', '😀'.repeat(400), /^(😀)+…$/u],
  ['a number', 5, /^5$/],
  ['an object', {}, /object/],
])('a label of %s kills no job', async (_, text, expected) => {
  const jobs = createTestJobs()
  const afterCreateJob = (_id: number, _token: string, progress: ProgressReporter) => progress.label(text as string)
  const token = await attachAfterJobs({ afterCreateJob }, { jobs }).executeJob('after', 'create', 1)
  await jobs.drain()
  const status = await jobs.status(token ?? '')
  expect(status).toMatchObject({ status: 'done', label: expect.stringMatching(expected) })
  expect((status as { label: string }).label.length).toBeLessThanOrEqual(500)
})

test.each([
  [
    'once',
    (logger: ReturnType<typeof spyLogger>) => ({ ...logger, debug: thrower(new Error('the worker has exited')) }),
  ],
  [
    'always',
    () => {
      const fails = thrower(new Error('the worker has exited'))
      return { debug: fails, info: fails, warn: fails, error: fails }
    },
  ],
])('a logger that throws (%s) loses no job', async (_, makeLogger) => {
  const jobs = createTestJobs({ logger: makeLogger(spyLogger()) })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
  const token = await service.executeJob('after', 'create', 1)
  await jobs.drain({ signal: AbortSignal.timeout(2_000) })
  expect(await jobs.status(token ?? '')).toMatchObject({ status: 'done' })
})

test('a logger is called on itself, whether its methods are its own or inherited', async () => {
  class ClassLogger {
    readonly #messages: string[] = []
    debug(_fields: object, message: string) {
      this.#messages.push(message)
    }
    info(_fields: object, message: string) {
      this.#messages.push(message)
    }
    warn(_fields: object, message: string) {
      this.#messages.push(message)
    }
    error(_fields: object, message: string) {
      this.#messages.push(message)
    }
    get messages() {
      return this.#messages
    }
  }
  const logger = new ClassLogger()
  const jobs = createTestJobs({ logger })
  await attachAfterJobs({ afterCreateJob: () => 'error' }, { jobs }).executeJob('after', 'create', 1)
  await jobs.drain()
  expect(logger.messages).toEqual(['job queued', 'job started', expect.stringMatching(/^job failed/)])
  for (const level of ['debug', 'info', 'warn', 'error'] as const) jobs.logger[level]({}, level)
  expect(logger.messages.slice(3)).toEqual(['debug', 'info', 'warn', 'error'])
})

// Tokens.

const UNKNOWN = { status: 'unknown', progress: 0, message: null }

test.each<[string, unknown]>([
  ['__proto__', '__proto__'],
  ['constructor', 'constructor'],
  ['an empty string', ''],
  ['10 kB', 'a'.repeat(10_000)],
  ['unicode', 'ⅷ5a1c1f5-94b6-4a6c-8f0e-0f6a3f8f7f10'],
  ['a path', '../../etc/passwd'],
  ['a wildcard', '*'],
  ['a UUID of version 7', '01890a5d-ac96-774b-bcce-b302099a8057'],
  ['the nil UUID', '00000000-0000-0000-0000-000000000000'],
  ['a token and a line break', '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10\n'],
  ['a token that nobody has', '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10'],
  ['an array', ['6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10']],
  ['an object', { toString: () => '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10' }],
  ['a boxed string', new String('6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10')],
  ['a symbol', Symbol('token')],
  ['a number', 5],
  ['null', null],
  ['undefined', undefined],
])('a token that is none: %s', async (_, value) => {
  const jobs = createTestJobs()
  await makeLoose(jobs).executeJob('after', 'create', 1)
  const token = value as string
  expect(await jobs.status(token)).toStrictEqual(UNKNOWN)
  expect(await jobs.record(token)).toStrictEqual(UNKNOWN)
  expect(await jobs.settled(token)).toStrictEqual(UNKNOWN)
  const watched: JobStatus[] = []
  for await (const status of jobs.watch(token)) watched.push(status)
  expect(watched).toStrictEqual([UNKNOWN])
  expect(await jobs.cancel(token)).toBe(false)
})

test.each(['__proto__', '', 'x'.repeat(10_000), '00000000-0000-0000-0000-000000000000'])(
  'a malformed token reaches no cache: %s',
  async (token) => {
    const cache = { ...memoryCache(), read: vi.fn(memoryCache().read) }
    const jobs = createTestJobs({ cache })
    await jobs.status(token)
    await jobs.record(token)
    await jobs.cancel(token)
    expect(cache.read).not.toHaveBeenCalled()
  },
)

// Closing.

test('close() in the middle of jobs tells what is dropped, and its status ends', async () => {
  const logger = spyLogger()
  const jobs = createAfterJobs({ queue: memoryQueue({ concurrency: 1 }), logger })
  const gate = makeGate()
  const started = makeGate()
  const failed = vi.fn()
  const afterCreateJob = async () => {
    started.open()
    await gate.opened
  }
  const service = attachAfterJobs({ afterCreateJob, afterCreateJobFailed: failed }, { jobs, name: 'rows' })
  const [running = '', waiting = ''] = await service.executeJobs('after', 'create', [1, 2])
  const delayed = (await service.executeJob('after', 'create', 3, { delay: 60_000 })) ?? ''
  await started.opened
  const listener = vi.fn()
  jobs.on('error', listener)
  const watched = jobs.settled(waiting)
  const closing = jobs.close({ grace: 5_000 })
  const again = jobs.close()
  gate.open()
  await Promise.all([closing, again, jobs.close()])
  expect(await jobs.status(running)).toMatchObject({ status: 'done' })
  expect(await watched).toMatchObject({ status: 'error', code: 'cancelled', attempt: 0 })
  expect(await jobs.status(delayed)).toMatchObject({ status: 'error', code: 'cancelled' })
  expect(failed.mock.calls.map(([id, token]) => [id, token])).toEqual([
    [2, waiting],
    [3, delayed],
  ])
  expect(listener.mock.calls).toMatchObject([[{ token: waiting, code: 'cancelled' }], [{ token: delayed }]])
  expect(logger.print()).toMatch(/dropped/)
})

test('a runtime that is closed starts nothing, and says so', async () => {
  const jobs = createAfterJobs()
  const service = makeLoose(jobs as ReturnType<typeof createTestJobs>)
  await jobs.close()
  const expected = anError('CLOSED', /closed/)
  expect(await rejection(service.executeJob('after', 'create', 1))).toEqual(expected)
  expect(await rejection(service.executeJobs('after', 'create', [1]))).toEqual(expected)
  expect(await rejection(jobs.runNext())).toEqual(expected)
  expect(() => jobs.work()).toThrow(expected as Error)
  expect(await service.executeJob('after', 'update', 1)).toBeUndefined()
})

test('await using closes', async () => {
  const jobs = createAfterJobs()
  const service = makeLoose(jobs as ReturnType<typeof createTestJobs>)
  await jobs[Symbol.asyncDispose]()
  expect(await rejection(service.executeJob('after', 'create', 1))).toEqual(anError('CLOSED', /closed/))
})

test.each([0, -1, 1.5, Number.NaN, '2', null])('work({ concurrency: %o }) is refused', (concurrency) => {
  const work = () => createTestJobs().work({ concurrency: concurrency as number })
  expect(work).toThrow(anError('INVALID_OPTION', /concurrency.*integer/) as Error)
})

test('an error is known by its brand, whichever copy of the library made it', () => {
  expect(AfterJobsError.is(new AfterJobsError('CLOSED', 'x'))).toBe(true)
  expect(AfterJobsError.is(Object.assign(new Error('x'), { [Symbol.for('after-jobs.error')]: true }))).toBe(true)
  for (const other of [new Error('x'), undefined, null, 'CLOSED', { code: 'CLOSED' }]) {
    expect(AfterJobsError.is(other)).toBe(false)
  }
})

test('a cache of the application that is down is told as such, be it made of one in memory', async () => {
  const read = () => Promise.reject(new Error('down'))
  const jobs = createAfterJobs({ cache: { ...memoryCache(), read } })
  expect(await rejection(jobs.status(crypto.randomUUID()))).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
})

test('a queue of the application that hangs is waited for no longer than any, be it made of one in memory', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const enqueue = () => new Promise<never>(() => {})
  const jobs = createAfterJobs({ queue: { ...memoryQueue({ autoStart: false }), enqueue }, enqueueTimeout: 200 })
  const onRejection = vi.fn()
  makeLoose(jobs).executeJob('after', 'create', 1).catch(onRejection)
  await vi.advanceTimersByTimeAsync(300)
  expect(onRejection).toHaveBeenCalledWith(anError('ENQUEUE_FAILED', /200 ms/))
})

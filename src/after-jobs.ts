import { AfterJobsError, invalidOption } from './core/errors'
import { type Backoff, checkJobOptions, checkNames, type JobOptions, show, wrongOption } from './core/job'
import { isObject } from './core/json'
import type { AfterJobs, Health, Logger, RecordReader } from './core/runtime'
import { type JobRecord, type JobStatus, unknownStatus } from './core/status'
import { settlesWithin } from './core/timer'
import { Aftermath } from './engine/aftermath'
import { applyToObject, type HooksOf } from './engine/attachment'
import { Bell } from './engine/bell'
import { Cancellation } from './engine/cancellation'
import { Dispatcher } from './engine/dispatcher'
import { ENGINE, type Engine } from './engine/engine'
import { JobEvents } from './engine/events'
import { calmOutages, guardLogger, LOG_METHODS, type Log, processLog, toLogger } from './engine/log'
import {
  type AfterJobsMethods,
  type AfterJobsServiceOptions,
  type AnyClass,
  type AttachOptions,
  applyMixin,
  type WithAfterJobs,
} from './engine/mixin'
import { StatusReader } from './engine/reader'
import { RecordStore } from './engine/record-store'
import { Registry } from './engine/registry'
import { runInRequest } from './engine/request-scope'
import { Runner } from './engine/runner'
import { runInScope } from './engine/token-scope'
import { Heartbeat } from './engine/tracker'
import { Workers } from './engine/workers'
import { memoryCache } from './memory/cache'
import { memoryQueue } from './memory/queue'
import type { JobCache } from './ports/cache'
import type { JobQueue } from './ports/queue'

export { ProgressBar } from './engine/progress'

/** Options of {@link createAfterJobs}. Times are in milliseconds. */
export interface AfterJobsOptions {
  /** Default: `memoryQueue()`. */
  queue?: JobQueue
  /** Default: `memoryCache()`. */
  cache?: JobCache
  /** How long the status of an ended job is kept. Default 3,600,000: an hour. */
  ttl?: number
  /** How long the status of a job that lives is kept; each write renews it. Default 86,400,000: a day. */
  liveTtl?: number
  /** Default for jobs that say nothing else. Default 1. */
  attempts?: number
  /** Default for jobs that say nothing else. Default: none. */
  backoff?: Backoff
  /** Default for jobs that say nothing else. Default: no limit. */
  timeout?: number
  /** Keeps plain data of whoever starts a job (user, tenant, trace) in `job.context`, and for `authorize`. */
  context?: { capture(): unknown }
  /** A logger in the shape of pino's. Default: none. */
  logger?: Logger
  /** The longest that a queue may take to accept a job. Default 5,000. */
  enqueueTimeout?: number
}

const LIMITS = ['ttl', 'liveTtl', 'enqueueTimeout'] as const
const OPTION_NAMES = ['queue', 'cache', 'attempts', 'backoff', 'timeout', 'context', 'logger', ...LIMITS]

/**
 * Makes a runtime: a queue, a cache, and what joins them to your services. With no options everything is in memory.
 *
 * @throws AfterJobsError `INVALID_OPTION`, also for a queue that processes share beside a cache that they do not.
 * @example
 * const jobs = createAfterJobs({ attempts: 3, backoff: { type: 'exponential', delay: 1_000 } })
 */
export function createAfterJobs(options: AfterJobsOptions = {}): AfterJobs {
  return createRuntime(options, false)
}

/** Makes a runtime, in which every service instance may belong to one caller alone, as in unit tests. */
export function createRuntime(options: AfterJobsOptions, hasOwnInstances: boolean): AfterJobs {
  checkOptions(options)
  // Defaults of a destructuring, because those of a spread give way to an option that is there and undefined.
  const { queue = memoryQueue(), cache = memoryCache(), enqueueTimeout = 5_000 } = options
  const { ttl = 3_600_000, liveTtl = 86_400_000 } = options
  const log: Log = options.logger === undefined ? processLog : calmOutages(guardLogger(options.logger))
  checkPair(queue, cache)
  const changes = new Bell<string, JobRecord>()
  const events = new JobEvents(log)
  const store = new RecordStore(cache, { ttl, liveTtl }, (token, record) => changes.ring(token, record))
  const registry = new Registry()
  const aftermath = new Aftermath(events, log)
  // The runner and the workers need each other; neither calls the other before both are there.
  const onIdle = () => workers.onIdle()
  const inBackground = (work: Promise<unknown>) => workers.inBackground(work)
  const heartbeat = new Heartbeat()
  const runner = new Runner({ store, registry, heartbeat, aftermath, events, log, onIdle, inBackground })
  const reader = new StatusReader({ store, queue, changes, log, enqueueTimeout })
  const workers: Workers = new Workers(queue, runner)
  const cancellation = new Cancellation({ queue, store, reader, runner, registry, aftermath, log, inBackground })
  queue.listen({
    onCancelled: (token) => cancellation.abortRun(token),
    onLost: (token) => inBackground(reader.recheck(token)),
    onTrouble: (error) => log.error?.({ err: error }, error.message),
  })
  workers.start()
  const { attempts = 1, backoff = null, timeout = null, context } = options
  const dispatcher = new Dispatcher({
    ...{ queue, store, registry, aftermath, events, log, enqueueTimeout, inBackground },
    defaults: { attempts, backoff, timeout },
    capture: context && (() => context.capture()),
  })
  const engine: Engine = {
    ...{ dispatcher, registry, events, workers, log, hasOwnInstances },
    isShared: queue.isShared,
  }
  return assemble(engine, { queue, cache, reader, cancellation })
}

/** What compensation is given at least when a runtime closes, in milliseconds. */
const MIN_COMPENSATION = 1_000
const DEFAULT_KEY: unique symbol = Symbol.for('after-jobs.default') as never

/**
 * Answers the runtime of services that were given none: in memory, one for the whole process, made on first use.
 *
 * @example
 * const status = await defaultAfterJobs().status(token)
 */
export function defaultAfterJobs(): AfterJobs {
  // On the global object, because a process may load the ESM and the CommonJS build side by side.
  const global = globalThis as { [DEFAULT_KEY]?: AfterJobs }
  global[DEFAULT_KEY] ??= createAfterJobs()
  return global[DEFAULT_KEY]
}

/**
 * Gives a service class `executeJob()`, `executeJobs()` and `getJobToken()`. Its constructor, generics, statics and private
 * members stay as they are; a class that has the mixin already is answered as it is.
 *
 * @throws AfterJobsError `ALREADY_APPLIED` when such a class is given options again.
 * @example
 * class ProjectService extends withAfterJobs(CrudService, { auto: ['create'] }) {
 *   static readonly jobName = 'project'
 *   async afterCreateJob(id: number, token: string, progress: ProgressReporter) { … }
 * }
 */
export function withAfterJobs(options?: AfterJobsServiceOptions): WithAfterJobs<new () => object>
export function withAfterJobs<B extends AnyClass>(Base: B, options?: AfterJobsServiceOptions): WithAfterJobs<B>
export function withAfterJobs(Base?: AnyClass | AfterJobsServiceOptions, options?: AfterJobsServiceOptions): AnyClass {
  if (typeof Base === 'function') return applyMixin(Base, options, defaultAfterJobs)
  // Nothing beside options is what a circular import leaves of a class.
  if (options === undefined && (Base === undefined || isObject(Base)))
    return applyMixin(class {}, { ...Base }, defaultAfterJobs)
  throw new AfterJobsError(
    'INVALID_SERVICE',
    `withAfterJobs needs a class, then options, or options alone; got ${show(Base)}.`,
  )
}

/**
 * Gives a plain object `executeJob()`, `executeJobs()` and `getJobToken()`, and answers that same object. In TypeScript a
 * hook that returns what it reads from `this` declares its return type.
 *
 * @throws AfterJobsError `ALREADY_APPLIED` when the object has them and is given options again.
 * @example
 * const service = attachAfterJobs({ create, afterCreateJob }, { name: 'project', auto: ['create'] })
 */
export function attachAfterJobs<T extends object>(
  service: T & HooksOf<T>,
  options?: AttachOptions,
): T & AfterJobsMethods {
  return applyToObject(service, options, defaultAfterJobs)
}

interface Parts {
  queue: JobQueue
  cache: JobCache
  reader: StatusReader
  cancellation: Cancellation
}

function assemble(engine: Engine, parts: Parts): AfterJobs {
  const { registry, workers, events, log } = engine
  const { reader, cancellation } = parts
  let closing: Promise<void> | undefined
  const jobs: AfterJobs & { [ENGINE]: Engine } = {
    [ENGINE]: engine,
    logger: toLogger(log),
    register: (service: never, factory?: () => object) => registry.register(service, factory),
    work: ({ concurrency = 1 } = {}) => workers.work(concurrency),
    runNext: () => workers.runNext(),
    drain: ({ signal } = {}) => workers.drain(signal),
    status: (token) => reader.status(token),
    record: createRecordReader(reader),
    watch: (token, { signal, interval = 250, seen } = {}) => reader.watch(token, signal, interval, seen),
    settled: async (token, { signal } = {}) => lastOf(reader.watch(token, signal, 250)),
    cancel: (token) => cancellation.cancel(token),
    scope: (run) => runInScope(run),
    transaction: (run, options = {}) => engine.dispatcher.transact(run, options),
    middleware: () => (_request, response, next) => runInRequest(next, response),
    health: () => readHealth(parts),
    on: (event, listener) => events.on(event, listener),
    close(options = {}) {
      closing ??= closeAll(engine, parts, options.grace ?? 10_000)
      return closing
    },
    [Symbol.asyncDispose]: () => jobs.close(),
  }
  return jobs
}

function createRecordReader(reader: StatusReader): RecordReader {
  return Object.assign((token: string) => reader.record(token), { now: (token: string) => reader.recordNow(token) })
}

async function lastOf(statuses: AsyncIterable<JobStatus>): Promise<JobStatus> {
  let last: JobStatus = unknownStatus()
  for await (const status of statuses) last = status
  return last
}

async function readHealth({ queue, reader }: Parts): Promise<Health> {
  // An adapter may throw at once as well.
  const asked = Promise.resolve().then(() => queue.health())
  const [counts, isCacheUp] = await Promise.all([asked.catch(() => undefined), reader.isCacheUp()])
  const figures = counts ?? { waiting: 0, active: 0, workers: 0 }
  return { ...figures, queue: counts === undefined ? 'down' : 'up', cache: isCacheUp ? 'up' : 'down' }
}

async function closeAll(engine: Engine, { queue, cache, cancellation }: Parts, grace: number): Promise<void> {
  const { dispatcher, workers } = engine
  const end = Date.now() + grace
  dispatcher.beginClose()
  // What a transaction commits meanwhile still finds the queue.
  await settlesWithin(dispatcher.endTransactions(), grace)
  await workers.close(Math.max(0, end - Date.now()))
  dispatcher.close()
  try {
    await cancellation.drop(await queue.close())
    await workers.finishBackground(Math.max(MIN_COMPENSATION, end - Date.now()))
  } finally {
    await cache.close()
  }
}

function checkOptions(options: AfterJobsOptions): void {
  checkNames('createAfterJobs', options, OPTION_NAMES)
  const { attempts, backoff, timeout, context, logger } = options
  checkJobOptions({ attempts, backoff, timeout } as JobOptions)
  for (const name of LIMITS) {
    const value = options[name]
    if (value === undefined || (Number.isFinite(value) && value >= 1)) continue
    throw wrongOption(name, value, 'at least 1 millisecond')
  }
  if (context !== undefined && typeof context?.capture !== 'function') {
    throw wrongOption('context', context, '{ capture() { … } }')
  }
  const lacking = logger === undefined ? [] : LOG_METHODS.filter((name) => typeof logger?.[name] !== 'function')
  if (lacking.length > 0)
    throw invalidOption(`logger lacks ${lacking.join(', ')}; expected a logger in the shape of pino's.`)
}

function checkPair(queue: JobQueue, cache: JobCache): void {
  if (typeof queue?.enqueue !== 'function') throw wrongOption('queue', queue, 'a queue, like memoryQueue()')
  if (typeof cache?.write !== 'function') throw wrongOption('cache', cache, 'a cache, like memoryCache()')
  if (!queue.isShared || !cache.isLocal) return
  const message =
    'The queue is shared by processes, but the cache is in the memory of this one: nobody else would see the tokens. Share it, too.'
  throw invalidOption(message)
}

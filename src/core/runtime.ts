import type { JobId } from './job'
import type { JsonValue } from './json'
import type { JobErrorCode, JobStatus } from './status'

/** A logger in the shape of pino's: an object of fields, then a message. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What happens to the jobs of this process. */
export const JOB_EVENTS = ['queued', 'started', 'progress', 'retrying', 'done', 'error'] as const
/** The name of an event, as `jobs.on` takes it. */
export type JobEventName = (typeof JOB_EVENTS)[number]

/** What a listener gets. */
export interface JobEvent {
  readonly event: JobEventName
  /** `null` where no job could be made, as with an id that nothing can carry. */
  readonly token: string | null
  readonly service: string
  readonly hook: string
  readonly id: JobId | null
  readonly attempt: number
  /** The whole percent, with `progress` and `done`. */
  readonly progress?: number
  readonly label?: string | null
  readonly result?: JsonValue | null
  readonly code?: JobErrorCode
  /** What was thrown, with `retrying` and `error`. */
  readonly error?: unknown
}

/** A status with what is for servers, never for answers. */
export type JobStatusRecord = JobStatus & {
  /** The plain data that `context.capture()` kept from whoever started the job. */
  context?: JsonValue | null
  /** When a job that waits may start, where that is later than its creation. Epoch milliseconds. */
  dueAt?: number | null
}

/**
 * `record` of a runtime, with its quick way for a face: a poll without a promise, where the cache answers at once. It hangs
 * on the function, so that who puts another `record` in its place is not passed over.
 */
export interface RecordReader {
  (token: string): Promise<JobStatusRecord>
  /** `undefined` where somebody has to be asked. */
  readonly now?: (token: string) => JobStatusRecord | undefined
}

/** Runs `next()` inside a token scope: for Express, Connect, and Fastify's `onRequest` hook. */
export type ScopeMiddleware = (request: unknown, response: unknown, next: () => void) => void

/** How long to wait for running jobs before their signal aborts and they are handed back. */
export interface CloseOptions {
  /** Milliseconds. Default 10,000. */
  grace?: number
}

/** Options of `transaction`. */
export interface TransactionOptions {
  /** A connection that is in a database transaction, in any shape that the queue knows. */
  db?: object
}

/** A consumer of jobs in this process. */
export interface Worker {
  /** Stops taking jobs, waits, then aborts and hands back what is left. Bounded; may be called twice. */
  close(options?: CloseOptions): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What a runtime has in hand. */
export interface Health {
  waiting: number
  active: number
  workers: number
  queue: 'up' | 'down'
  cache: 'up' | 'down'
}

/** A class that a worker can make services of. */
export interface RegisterableClass {
  new (): object
  readonly jobName?: string
}

/** The runtime: joins a queue, a cache and the services. Made by `createAfterJobs()`. */
export interface AfterJobs {
  /** The logger given at creation; where none was given, only its warnings go anywhere: to `process.emitWarning`. */
  readonly logger: Logger

  /**
   * Tells a worker how to make a service, for a queue that processes share. The factory is called once per job.
   *
   * @throws AfterJobsError `NO_JOB_NAME` or `INVALID_SERVICE`, for a name that is missing, taken or inherited.
   * @example
   * jobs.register(ProjectService, () => new ProjectService(database))
   */
  register(service: abstract new (...args: never[]) => object, factory: () => object | Promise<object>): void
  register(service: RegisterableClass): void
  register(name: string, factory: () => object | Promise<object>): void

  /**
   * Consumes jobs, `concurrency` at once. On `memoryQueue` it replaces the consumer that starts by itself.
   *
   * @example
   * jobs.work({ concurrency: 4 })
   * process.once('SIGTERM', () => jobs.close())
   */
  work(options?: { concurrency?: number }): Worker

  /** Runs one waiting job to its end; `false` when none is due. */
  runNext(): Promise<boolean>

  /**
   * Resolves when nothing waits or runs here; on a queue that processes share, anywhere.
   *
   * @throws AfterJobsError `NO_WORKER` at once if nothing consumes; the signal's reason when it aborts.
   */
  drain(options?: { signal?: AbortSignal }): Promise<void>

  /**
   * Reads the status of a job. A token that is malformed or not known answers `unknown`.
   *
   * @throws AfterJobsError `CACHE_UNAVAILABLE` within 3 s when the cache cannot be reached.
   */
  status(token: string): Promise<JobStatus>

  /** Reads the status with the captured `context`, for servers that decide who may see it, and when it is due. */
  record(token: string): Promise<JobStatusRecord>

  /**
   * Iterates over the statuses of a job until the final one; an unknown token yields once. `interval` is the milliseconds
   * between two looks at what another process writes, default 250. Whoever has `seen` a status already gets only what differs
   * from it, and costs no read at once.
   *
   * @throws the signal's reason when it aborts; AfterJobsError `CACHE_UNAVAILABLE` after 30 s without a cache.
   * @example
   * for await (const { progress, label } of jobs.watch(token)) console.log(progress, label)
   */
  watch(
    token: string,
    options?: { signal?: AbortSignal; interval?: number; seen?: JobStatus },
  ): AsyncIterableIterator<JobStatus>

  /**
   * Resolves with the final status of a job; with `unknown`, at once, for a token that nobody knows.
   *
   * @throws as `watch` does.
   */
  settled(token: string, options?: { signal?: AbortSignal }): Promise<JobStatus>

  /**
   * Ends a job as `error` / `cancelled`: a waiting one never runs, a running one sees its signal abort.
   *
   * @returns whether this call ended it.
   */
  cancel(token: string): Promise<boolean>

  /**
   * Runs a function in a token scope of its own, in which `getJobToken()` sees the jobs started in it and no other. The scope
   * lasts until the promise of the function settles. A function that answers no promise, as in a server of callbacks, keeps
   * it for whatever it started: a connection opened there for everybody calls them all back in it, so open that before.
   */
  scope<T>(run: () => T): T

  /**
   * Runs a function that runs and commits a database transaction. The jobs that it starts have their tokens at once, and are
   * queued after it has resolved; when it rejects they are dropped, and their tokens end as `cancelled`. In a nested one, an
   * inner rejection drops its own jobs, and an inner success passes them outward.
   *
   * What was committed stays: where the queue then refuses a job, nothing rejects, and its token ends as `enqueue_failed`.
   *
   * With `db`, the connection of a transaction in the very database that keeps the jobs (`postgresQueue`), they are a part of that
   * transaction: not even a crash can separate them from what it writes.
   *
   * @throws what the function throws; from `executeJob` inside of it `WRONG_TRANSACTION` for a service of another runtime.
   * @example
   * const order = await jobs.transaction(() => database.transaction((tx) => orders.create(tx, data)))
   */
  transaction<T>(run: () => T | Promise<T>, options?: TransactionOptions): Promise<T>

  /** Makes a middleware that gives each request a token scope, which lasts until the response has closed. */
  middleware(): ScopeMiddleware

  /** Counts what is waiting and active, and tells whether queue and cache answer. Never rejects. */
  health(): Promise<Health>

  /** Listens to the jobs of this process. Answers a function that stops it. */
  on(event: JobEventName, listener: (event: JobEvent) => void): () => void

  /** Closes workers, queue and cache. What waits in memory ends as `cancelled`. Bounded; may be called twice. */
  close(options?: CloseOptions): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

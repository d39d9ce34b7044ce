import {
  type AfterJobs,
  type AfterJobsMethods,
  type AfterJobsOptions,
  attachAfterJobs,
  createAfterJobs,
  type FailureHook,
  type Hook,
  type JobEvent,
} from 'after-jobs'
import { JOB_EVENTS } from '../../../src/core/runtime'
import { type SpyCache, type SpyLogger, spyCache, spyLogger } from './spies'

/** The hooks that a test gives its service. */
export interface Hooks {
  afterCreateJob?: Hook
  afterCreateJobFailed?: FailureHook
  afterUpdateJob?: Hook
  afterUpdateJobFailed?: FailureHook
}

export type Service = Hooks & AfterJobsMethods

/** A runtime with one service, whose records, log lines and events can be read. */
export interface Bench {
  jobs: AfterJobs
  service: Service
  cache: SpyCache
  logger: SpyLogger
  events: JobEvent[]
  /** Starts `afterCreateJob`, and answers its token. */
  start(id?: string | number, options?: Parameters<Service['executeJob']>[3]): Promise<string>
}

export function makeBench(hooks: Hooks, options: AfterJobsOptions = {}): Bench {
  const cache = spyCache(options.cache)
  const logger = spyLogger()
  const jobs = createAfterJobs({ logger, ...options, cache })
  const events: JobEvent[] = []
  for (const name of JOB_EVENTS) jobs.on(name, (event) => events.push(event))
  const service = makeService(jobs, hooks)
  const start: Bench['start'] = async (id = 1, own = {}) => {
    const token = await service.executeJob('after', 'create', id, own)
    if (token === undefined) throw new Error('The service has no afterCreateJob')
    return token
  }
  return { jobs, service, cache, logger, events, start }
}

export function makeService(jobs: AfterJobs, hooks: Hooks, name = 'bench'): Service {
  return attachAfterJobs({ ...hooks }, { jobs, name })
}

/** A promise that a test settles by hand. */
export interface Gate<T = void> {
  opened: Promise<T>
  open(value: T): void
  fail(error: unknown): void
}

export function makeGate<T = void>(): Gate<T> {
  let open: (value: T) => void = () => {}
  let fail: (error: unknown) => void = () => {}
  const opened = new Promise<T>((resolve, reject) => {
    open = resolve
    fail = reject
  })
  opened.catch(() => {})
  return { opened, open: (value) => open(value), fail: (error) => fail(error) }
}

/** Lets the event loop turn so many times; nothing here waits for a time. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Resolves as the promise rejects, so that the error can be looked at. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('The promise was to reject, and resolved')
}

/** Resolves when the signal aborts, and never rejects. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

export function isFinal(status: string): boolean {
  return status === 'done' || status === 'error'
}

// What a runtime answers, and what it takes.
import {
  type AfterJobs,
  AfterJobsError,
  type AfterJobsErrorCode,
  createAfterJobs,
  type DoneStatus,
  defaultAfterJobs,
  type ErrorStatus,
  type Health,
  type JobCache,
  type JobErrorCode,
  type JobEvent,
  type JobQueue,
  type JobState,
  type JobStatus,
  type JobStatusRecord,
  type JsonValue,
  keyvCache,
  type Logger,
  memoryCache,
  memoryQueue,
  type Worker,
} from 'after-jobs'
import { createTestJobs, createTestProgress, type TestJobs, type TestProgress } from 'after-jobs/testing'
import { expectTypeOf } from 'vitest'

const jobs = createAfterJobs()
expectTypeOf(jobs).toEqualTypeOf<AfterJobs>()
expectTypeOf(defaultAfterJobs()).toEqualTypeOf<AfterJobs>()

// A status is told apart by its word.

declare const status: JobStatus
expectTypeOf(status.status).toEqualTypeOf<JobState>()
expectTypeOf<JobState>().toEqualTypeOf<'pending' | 'running' | 'done' | 'error' | 'unknown'>()
expectTypeOf(status.progress).toEqualTypeOf<number>()
expectTypeOf(status.message).toEqualTypeOf<string | null>()
// @ts-expect-error an unknown status has no label
status.label

if (status.status === 'done') {
  expectTypeOf(status).toEqualTypeOf<DoneStatus>()
  expectTypeOf(status.result).toEqualTypeOf<JsonValue | null>()
  expectTypeOf(status.finishedAt).toEqualTypeOf<number>()
}
if (status.status === 'error') {
  expectTypeOf(status).toEqualTypeOf<ErrorStatus>()
  expectTypeOf(status.message).toEqualTypeOf<string>()
  expectTypeOf(status.code).toEqualTypeOf<JobErrorCode>()
  expectTypeOf(status.result).toEqualTypeOf<null>()
}
if (status.status === 'pending' || status.status === 'running') {
  expectTypeOf(status.message).toEqualTypeOf<null>()
  expectTypeOf(status.finishedAt).toEqualTypeOf<null>()
  expectTypeOf(status.hint).toEqualTypeOf<'no_worker' | null>()
  expectTypeOf(status.parent).toEqualTypeOf<string | null>()
}
if (status.status === 'unknown') {
  expectTypeOf(status).toEqualTypeOf<{ status: 'unknown'; progress: 0; message: null }>()
}
if (status.status !== 'unknown') {
  expectTypeOf(status.token).toEqualTypeOf<string>()
  expectTypeOf(status.label).toEqualTypeOf<string | null>()
  expectTypeOf([status.attempt, status.attempts, status.createdAt, status.updatedAt]).toEqualTypeOf<number[]>()
  expectTypeOf(status.startedAt).toEqualTypeOf<number | null>()
}

/** Every word has a case; a sixth one would not compile. */
export function show(each: JobStatus): string {
  switch (each.status) {
    case 'pending':
    case 'running':
      return `${each.progress} % ${each.label ?? ''} ${each.attempt}/${each.attempts}`
    case 'done':
      return JSON.stringify(each.result)
    case 'error':
      return `${each.code}: ${each.message}`
    case 'unknown':
      return 'unknown'
    default:
      return each satisfies never
  }
}
expectTypeOf<JobErrorCode>().toEqualTypeOf<
  'failed' | 'unexpected' | 'timeout' | 'cancelled' | 'worker_lost' | 'enqueue_failed' | 'missing_hook'
>()
// @ts-expect-error not one of the five words
if (status.status === 'failed') show(status)

// The members of a runtime.

expectTypeOf(jobs.status('x')).resolves.toEqualTypeOf<JobStatus>()
expectTypeOf(jobs.record('x')).resolves.toEqualTypeOf<JobStatusRecord>()
expectTypeOf(jobs.settled('x', { signal: AbortSignal.timeout(1) })).resolves.toEqualTypeOf<JobStatus>()
expectTypeOf(jobs.cancel('x')).resolves.toEqualTypeOf<boolean>()
expectTypeOf(jobs.runNext()).resolves.toEqualTypeOf<boolean>()
expectTypeOf(jobs.drain({ signal: AbortSignal.timeout(1) })).resolves.toEqualTypeOf<void>()
expectTypeOf(jobs.health()).resolves.toEqualTypeOf<Health>()
expectTypeOf(jobs.work({ concurrency: 4 })).toEqualTypeOf<Worker>()
expectTypeOf(jobs.close({ grace: 5 })).resolves.toEqualTypeOf<void>()
expectTypeOf(jobs.scope(() => 5)).toEqualTypeOf<number>()
expectTypeOf(jobs.scope(async () => 'x')).resolves.toEqualTypeOf<string>()
expectTypeOf(jobs.logger).toEqualTypeOf<Logger>()
// @ts-expect-error a token is a string
jobs.status(undefined)
// @ts-expect-error also where a service may have none
jobs.status(jobs.scope((): string | undefined => undefined))

const watching = jobs.watch('x', { signal: AbortSignal.timeout(1), interval: 100 })
expectTypeOf(watching).toExtend<AsyncIterable<JobStatus>>()
expectTypeOf(watching).toExtend<AsyncIterator<JobStatus>>()
export async function follow(): Promise<void> {
  for await (const each of jobs.watch('x')) expectTypeOf(each).toEqualTypeOf<JobStatus>()
  await using worker = jobs.work()
  expectTypeOf(worker).toExtend<AsyncDisposable>()
  await using runtime = createAfterJobs()
  expectTypeOf(runtime).toExtend<AsyncDisposable>()
}

const off = jobs.on('error', (event) => {
  expectTypeOf(event).toEqualTypeOf<JobEvent>()
  expectTypeOf(event.token).toEqualTypeOf<string | null>()
  expectTypeOf(event.error).toBeUnknown()
})
expectTypeOf(off).toEqualTypeOf<() => void>()
for (const name of ['queued', 'started', 'progress', 'retrying', 'done', 'error'] as const) jobs.on(name, () => {})
// @ts-expect-error no such event
jobs.on('failed', () => {})

// What makes a service for a worker.

class Ready {
  static readonly jobName = 'ready'
  readonly table = 'rows'
}
class Needy {
  static readonly jobName = 'needy'
  constructor(readonly database: string) {}
}
abstract class Abstract {
  static readonly jobName = 'abstract'
  readonly table = 'rows'
}
jobs.register(Ready)
jobs.register(Ready, () => new Ready())
jobs.register(Needy, () => new Needy('database'))
jobs.register(Needy, async () => new Needy('database'))
jobs.register(Abstract, () => new (class extends Abstract {})())
jobs.register('ready', () => new Ready())
jobs.register('ready', async () => new Ready())
// @ts-expect-error its constructor wants something
jobs.register(Needy)
// @ts-expect-error it cannot be made
jobs.register(Abstract)
// @ts-expect-error a name alone makes nothing
jobs.register('ready')
// @ts-expect-error a service is an object
jobs.register('ready', () => 5)

// Options.

createAfterJobs({
  queue: memoryQueue({ concurrency: 4, autoStart: true, maxWaiting: 10 }),
  cache: memoryCache(),
  ttl: 1,
  liveTtl: 1,
  attempts: 3,
  backoff: { type: 'fixed', delay: 1 },
  timeout: 1,
  context: { capture: () => ({ user: 1 }) },
  logger: console,
  enqueueTimeout: 1,
})
// @ts-expect-error a misspelt option
createAfterJobs({ caches: memoryCache() })
// @ts-expect-error a queue is not a cache
createAfterJobs({ cache: memoryQueue() })
expectTypeOf(memoryQueue()).toExtend<JobQueue>()
expectTypeOf(memoryCache()).toExtend<JobCache>()
expectTypeOf(keyvCache).returns.toExtend<JobCache>()

// Errors.

declare const thrown: unknown
if (AfterJobsError.is(thrown)) {
  expectTypeOf(thrown.code).toEqualTypeOf<AfterJobsErrorCode>()
  expectTypeOf(thrown.accepted).toEqualTypeOf<'unknown' | string[] | undefined>()
  expectTypeOf(thrown.token).toEqualTypeOf<string | undefined>()
  // @ts-expect-error no such code
  if (thrown.code === 'FULL') show(status)
}

// The testing kit.

expectTypeOf(createTestJobs({ attempts: 2 })).toEqualTypeOf<TestJobs>()
expectTypeOf<TestJobs>().toExtend<AfterJobs>()
expectTypeOf(createTestProgress()).toEqualTypeOf<TestProgress>()
// @ts-expect-error its queue is the point of it
createTestJobs({ queue: memoryQueue() })

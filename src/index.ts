// The runtime, and the services that start jobs.

export type { AfterJobsOptions } from './after-jobs'
export { attachAfterJobs, createAfterJobs, defaultAfterJobs, withAfterJobs } from './after-jobs'
export type { Backoff, JobId, JobOptions, When } from './core/job'
export type {
  AfterJobs,
  CloseOptions,
  Health,
  JobEvent,
  JobEventName,
  Logger,
  ScopeMiddleware,
  TransactionOptions,
  Worker,
} from './core/runtime'
export type { Auto, AutoId } from './engine/auto'
export type { OnEnqueueError } from './engine/follower'
export type {
  AfterJobsMethods,
  AfterJobsServiceOptions,
  AttachOptions,
  ExecuteOptions,
  JobSubject,
  WithAfterJobs,
} from './engine/mixin'

// What a hook is given, and what it may return or throw.

export { JobError } from './core/errors'
export type { FailureHook, Hook, HookReturn, JobContext, ProgressReporter } from './core/hook'
export type { JsonValue } from './core/json'

// What the library itself throws.

export { AfterJobsError, type AfterJobsErrorCode, type AfterJobsErrorDetails } from './core/errors'

// What a watcher sees.

export type { JobStatusRecord } from './core/runtime'
export type {
  DoneStatus,
  ErrorStatus,
  JobErrorCode,
  JobOutcome,
  JobState,
  JobStatus,
  PendingStatus,
  RunningStatus,
  UnknownStatus,
} from './core/status'

// The headers of a response whose request started a job.

export { type JobHeadersOptions, jobHeaders } from './http/headers'

// The adapters of one process, and the ports for others.

export type { JobEnvelope } from './core/job'
export type { JobRecord } from './core/status'
export { type KeyvCacheOptions, type KeyvLike, keyvCache } from './keyv/cache'
export type { ErrorEmitter, KeyvLikeEntry } from './keyv/keyv-like'
export { memoryCache } from './memory/cache'
export { type MemoryQueue, type MemoryQueueOptions, memoryQueue } from './memory/queue'
export type { ImmediateCache, JobCache, JobCacheEntry } from './ports/cache'
export type {
  ImmediateQueue,
  JobAnswer,
  JobConsumer,
  JobDelivery,
  JobLookup,
  JobQueue,
  JobRun,
  JobTakenOut,
  QueueHealth,
  QueueListener,
  TransactionalQueue,
} from './ports/queue'

// The runtime, and the services that start jobs.

export type { AfterJobsOptions } from './after-jobs'
export { attachAfterJobs, createAfterJobs, defaultAfterJobs, withAfterJobs } from './after-jobs'
export type { AfterJobsErrorCode } from './core/errors'
// What a hook is given, and what it may return or throw.
// What the library itself throws.
export { AfterJobsError, JobError } from './core/errors'
export type { FailureHook, Hook, HookReturn, JobContext, ProgressReporter } from './core/hook'
export type { Backoff, JobEnvelope, JobId, JobOptions, When } from './core/job'
export type { JsonValue } from './core/json'
export type {
  AfterJobs,
  CloseOptions,
  Health,
  JobEvent,
  JobEventName,
  JobStatusRecord,
  Logger,
  ScopeMiddleware,
  TransactionOptions,
  Worker,
} from './core/runtime'
// What a watcher sees.
export type {
  DoneStatus,
  ErrorStatus,
  JobErrorCode,
  JobOutcome,
  JobRecord,
  JobState,
  JobStatus,
  PendingStatus,
  RunningStatus,
  UnknownStatus,
} from './core/status'
export type {
  AfterJobsMethods,
  AfterJobsServiceOptions,
  AttachOptions,
  ExecuteOptions,
  JobSubject,
  WithAfterJobs,
} from './engine/mixin'
// The headers of a response whose request started a job.
export { jobHeaders } from './http/headers'
export type { KeyvCacheOptions, KeyvLike } from './keyv/cache'
// The adapters of one process, and the ports for others.
export { keyvCache } from './keyv/cache'
export { memoryCache } from './memory/cache'
export type { MemoryQueueOptions } from './memory/queue'
export { memoryQueue } from './memory/queue'
export type { JobCache, JobCacheEntry } from './ports/cache'
export type {
  JobAnswer,
  JobConsumer,
  JobDelivery,
  JobLookup,
  JobQueue,
  JobRun,
  JobTakenOut,
  QueueHealth,
  TransactionalQueue,
} from './ports/queue'

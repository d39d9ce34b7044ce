/** The words in which a status is told. */
export type {
  DoneStatus,
  ErrorStatus,
  JobErrorCode,
  JobStatus,
  PendingStatus,
  RunningStatus,
  UnknownStatus,
} from '../core/status'
/** Shows how long it takes. */
export { formatElapsed } from './elapsed'
/** Says that a job has failed. */
export { JobFailedError } from './job-failed-error'
/** What may stand in for the global `fetch`. */
export type { Fetch } from './requests'
/** What may stand in for the browser's `EventSource`. */
export type { EventStream, OpenEvents } from './stream'
/** Follows a job from 0 to 100 %. */
export { type JobWatch, type WatchJobOptions, watchJob } from './watch-job'

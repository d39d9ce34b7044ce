/** The form of its `fetch`. */
export type { Fetch } from '../client/requests'
/** The words in which a status is told. */
export type { DoneStatus, ErrorStatus, JobStatus, UnknownStatus } from '../core/status'
/** Shows a job in a page. To import this defines `<job-progress>`, where there is a browser. */
export { JobProgressElement, type JobProgressEvents } from './job-progress'
/** The element's own words, to be translated. */
export { type JobProgressWords, jobProgressWords } from './words'

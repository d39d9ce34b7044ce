/** What the element says of its own, where the job has no label and no message. */
export interface JobProgressWords {
  /** The accessible name of the bar, where the element has no `label`. */
  name: string
  pending: string
  /** A job that waits for its next attempt. */
  again: string
  running: string
  done: string
  error: string
  /** Nobody has known the token for 10 s. */
  unknown: string
  /** The server does not let this page read the status. */
  refused: string
}

/**
 * Holds the element's own words, in English. Assign others before the first element is in the page.
 *
 * @example
 * Object.assign(jobProgressWords, { pending: 'Wartet', done: 'Fertig' })
 */
export const jobProgressWords: JobProgressWords = {
  name: 'Progress',
  pending: 'Waiting',
  again: 'Trying again',
  running: 'Running',
  done: 'Done',
  error: 'Failed',
  unknown: 'The job does not exist, or has expired',
  refused: 'The job cannot be read',
}

import type { DoneStatus, JobStatus } from '../core/status'
import { createFeed } from './feed'
import { JobFailedError } from './job-failed-error'
import { type Answer, poll } from './polling'
import { type Fetch, requestStart, requestStatus } from './requests'
import { followStream, type OpenEvents } from './stream'

const UNKNOWN_LIMIT = 10_000

/** How a job is watched. */
export interface WatchJobOptions {
  /** The `basePath` of the server's handler, for a token; in Node with its origin in front. Default `'/jobs'`. */
  basePath?: string | undefined
  /** Milliseconds between an answer and the next request, kept between 500 and 1500. Default 800. */
  interval?: number | undefined
  /** First posts `{basePath}/start`, for development without a worker; no answer to it counts. Default `false`. */
  start?: boolean | undefined
  /** Stops the watch, not the job. */
  signal?: AbortSignal | undefined
  /** Makes the requests, for example with an `Authorization`. Default: the global `fetch`. */
  fetch?: Fetch | undefined
  /** Gets each status that the server answers. What it throws is reported, and the watch goes on. */
  onProgress?: ((status: JobStatus) => unknown) | undefined
  /**
   * Lets the server tell each change at once, by Server-Sent Events, and asks only where that does not work; or opens the
   * stream, for example with `(url) => new EventSource(url, { withCredentials: true })`. Watches of one job share a stream if
   * they were given the same opener, and a page has four at most. Default `false`.
   */
  events?: boolean | OpenEvents | undefined
}

/**
 * A job that is being watched.
 *
 * It can be iterated over by many and late: each iterator yields the newest status at once, then after each answer; one that
 * is slow skips to the newest. It ends after `done` or `error`, and throws whatever else the promise `done` rejects with.
 * To leave an iteration does not end the watch; the option `signal` does.
 */
export interface JobWatch extends AsyncIterable<JobStatus> {
  /**
   * Resolves with the final status.
   *
   * Rejects with a {@link JobFailedError} when the job has failed or was `unknown` for 10 s, with the `Response` of a 4xx
   * other than 429, with `signal.reason` on abort, with a `TypeError` for a URL that `fetch` cannot parse; never as an
   * unhandled rejection.
   */
  readonly done: Promise<DoneStatus>
}

/**
 * Watches a job until it ends. It starts at once.
 *
 * It asks again after network errors, answers of 5xx and 429, after pauses that grow up to 10 s; a longer `Retry-After` is
 * kept, up to 30 s. It slows down while its tab is hidden. A bar that goes back to 0 is the job's next attempt.
 *
 * @param urlOrToken The job's token, or the URL of its status, as the header `Operation-Location` gives it.
 * @example
 * const watch = watchJob(token, { onProgress: ({ progress }) => { bar.value = progress } })
 * const { result } = await watch.done
 */
export function watchJob(urlOrToken: string | URL, options: WatchJobOptions = {}): JobWatch {
  const feed = createFeed<JobStatus>()
  const done = follow(String(urlOrToken), options, feed.publish).finally(feed.close)
  // Marks a rejection as handled, for those who only iterate or only want `onProgress`.
  done.catch(() => {})
  return {
    done,
    async *[Symbol.asyncIterator]() {
      let last: JobStatus | undefined
      for await (last of feed.read()) yield last
      if (last?.status !== 'error') await done
    },
  }
}

async function follow(
  target: string,
  options: WatchJobOptions,
  publish: (status: JobStatus) => void,
): Promise<DoneStatus> {
  const { basePath = '/jobs', interval = 800, fetch = globalThis.fetch, onProgress, events } = options
  const { signal = new AbortController().signal } = options
  // A token holds no slash, and every URL of a status does.
  const url = target.includes('/') ? target : `${basePath.replace(/\/$/, '')}/status/${target}`
  const ended = new AbortController()
  let unknownSince = Infinity

  const ask = (limit: AbortSignal): Promise<Answer<JobStatus>> => requestStatus(url, fetch, limit)
  const notify = async (status: JobStatus): Promise<unknown> => onProgress?.(status)
  const isLast = (status: JobStatus): boolean => {
    publish(status)
    // Reported like a mistake in an event listener. Node has no reportError.
    notify(status).catch(globalThis.reportError ?? console.error)
    unknownSince = status.status === 'unknown' ? Math.min(unknownSince, Date.now()) : Infinity
    return /done|error/.test(status.status) || Date.now() - unknownSince >= UNKNOWN_LIMIT
  }

  const open = typeof events === 'function' ? events : undefined
  const followEvents = events ? () => followStream(url, { open, ask, signal, isLast }) : undefined

  signal.throwIfAborted()
  if (options.start) void requestStart(url, fetch, ended.signal)
  const last = await poll(ask, interval, signal, isLast, followEvents).finally(() => ended.abort())
  if (last.status !== 'done') throw new JobFailedError(last)
  return last
}

import type { JobStatus } from '../core/status'
import { createFeed, type Feed } from './feed'
import { type Answer, findPage, REQUEST_LIMIT, within } from './polling'
import { isStatus } from './requests'

/** The part of the standard `EventSource` that a watch uses. */
export interface EventStream {
  onmessage: ((event: MessageEvent) => unknown) | null
  onerror: ((event: Event) => unknown) | null
  close(): void
}

/** Opens a stream of Server-Sent Events. */
export type OpenEvents = (url: string) => EventStream

/** A stream, who opened it on what, and how many watch it. */
interface SharedStream {
  readonly url: string
  readonly open: OpenEvents | undefined
  readonly feed: Feed<JobStatus>
  readers: number
  close(): void
}

/** The streams of a page: on the global object, because a page may hold copies of this library. */
const STREAMS = Symbol.for('after-jobs.streams')
/** A browser has six connections to a host of HTTP/1.1, and a page has other things to ask for. */
const MAX_STREAMS = 4
/** What holds a stream up holds up its beginning, too. */
const FIRST_LIMIT = 3000
/** A stream that is silent for so long is checked, since a broken one is silent, too. */
const SILENCE = 15_000

/** What a stream works with: how to ask beside it, and who is told. */
export interface StreamParts {
  /** Default: an `EventSource`. */
  readonly open: OpenEvents | undefined
  readonly ask: (limit: AbortSignal) => Promise<Answer<JobStatus>>
  readonly signal: AbortSignal
  readonly isLast: (status: JobStatus) => boolean
}

/**
 * Follows the stream beside the URL of a status until the last status, or until it lets the watch down.
 *
 * @returns the last status, or whether the stream is worth another try; `undefined` where no stream can be had, or none
 * should: in a hidden tab, since all tabs of a browser share their connections to a host.
 */
export function followStream(statusUrl: string, parts: StreamParts): Promise<JobStatus | boolean> | undefined {
  try {
    // A URL of another form has no stream beside it, and a relative one means something only in a page.
    const path = statusUrl.replace(/\/status(\/[^/?]*(\?.*)?)$/, '/events$1')
    const page = findPage()
    if (path === statusUrl || page?.visibilityState === 'hidden') return undefined
    const stream = join(new URL(path, page?.baseURI).href, parts.open)
    return stream && follow(stream, parts)
  } catch {
    return undefined
  }
}

async function follow(stream: SharedStream, { ask, signal, isLast }: StreamParts): Promise<JobStatus | boolean> {
  const statuses = stream.feed.read()
  let next = statuses.next()
  let told: JobStatus | undefined
  try {
    for (;;) {
      const event = await within(told ? SILENCE : FIRST_LIMIT, signal, () => next)
      if (event) {
        if (event.done) return Boolean(told)
        told = event.value
        next = statuses.next()
      } else {
        if (!told) return false
        const [status] = (await within(REQUEST_LIMIT, signal, ask)) ?? []
        if (!status) return true
        // It knew, and did not tell.
        if (isNews(told, status)) return isLast(status) ? status : false
        told = status
      }
      if (isLast(told)) return told
    }
  } finally {
    if (!--stream.readers) stream.close()
  }
}

/**
 * Joins the stream of a URL, or opens it where there is room for one more: that of the same opener, since in a server two of them
 * stand for two users. Throws where there is no `EventSource`.
 */
function join(url: string, open: OpenEvents | undefined): SharedStream | undefined {
  const page = globalThis as { [STREAMS]?: Set<SharedStream> }
  page[STREAMS] ??= new Set()
  const streams = page[STREAMS]
  let stream = [...streams].find((each) => each.url === url && each.open === open)
  if (!stream) {
    if (streams.size >= MAX_STREAMS) return undefined
    stream = share(url, open, streams)
  }
  stream.readers++
  return stream
}

function share(url: string, open: OpenEvents | undefined, streams: Set<SharedStream>): SharedStream {
  const source = open ? open(url) : new EventSource(url)
  const feed = createFeed<JobStatus>()
  const page = findPage()
  const close = (): void => {
    page?.removeEventListener('visibilitychange', close)
    source.onerror = source.onmessage = null
    source.close()
    feed.close()
    streams.delete(stream)
  }
  const stream: SharedStream = { url, open, feed, readers: 0, close }
  streams.add(stream)
  // It was shown before.
  page?.addEventListener('visibilitychange', close)
  // The browser would come back by itself, at a pace of its own, and beside the polling.
  source.onerror = close
  source.onmessage = ({ data }) => {
    try {
      const status: JobStatus = JSON.parse(data)
      if (isStatus(200, status)) return feed.publish(status)
    } catch {}
    close()
  }
  return stream
}

function isNews(told: JobStatus, status: JobStatus): boolean {
  const [a, b] = [told, status].map((each) => [each.status, each.progress, 'label' in each && each.label].join())
  return a !== b
}

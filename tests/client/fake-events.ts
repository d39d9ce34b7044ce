import type { EventStream, OpenEvents } from 'after-jobs/client'
import { statusOf } from './fake-server'

/** A stream that the test plays the server of. */
export interface FakeStream extends EventStream {
  url: string
  isClosed: boolean
  /** Sends a status, as it is or by its word and progress. */
  tell(status: object | string, progress?: number): void
  /** Breaks the connection, as `EventSource` reports it. */
  fail(): void
}

export interface FakeEvents {
  open: OpenEvents
  /** Every stream so far, in the order of their opening. */
  streams: FakeStream[]
  /** How many are open. */
  count(): number
}

export function fakeEvents(onOpen: (stream: FakeStream) => void = () => {}): FakeEvents {
  const streams: FakeStream[] = []
  const open: OpenEvents = (url) => {
    const stream: FakeStream = {
      url,
      isClosed: false,
      onmessage: null,
      onerror: null,
      close() {
        stream.isClosed = true
      },
      tell(status, progress = 0) {
        const data = typeof status === 'string' ? statusOf(status as 'running', { progress }) : status
        if (!stream.isClosed) stream.onmessage?.(new MessageEvent('message', { data: JSON.stringify(data) }))
      },
      fail() {
        if (!stream.isClosed) stream.onerror?.(new Event('error'))
      },
    }
    streams.push(stream)
    // A real one tells nothing before its opener has set its handlers.
    queueMicrotask(() => onOpen(stream))
    return stream
  }
  return { open, streams, count: () => streams.filter(({ isClosed }) => !isClosed).length }
}

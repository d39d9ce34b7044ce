import type { Channel, JobListener, JobNews } from './events'

/** How often a silent stream shows that it lives: proxies give it up after a minute, Bun's own server after ten seconds. */
const HEARTBEAT = 7_200
/** How long a stream lives; then it ends, and its client comes back, perhaps to another process. */
const LIFE = 3_600_000
/** A comment (HTML, server-sent events), which no page ever sees. */
const COMMENT = new TextEncoder().encode(':\n\n')

/** What a browser sends when it comes back: the name of the last event that it got. */
export const LAST_EVENT_ID = 'last-event-id'

/** The headers of a stream: nothing on the way may keep it, change it or hold it back. */
export const STREAM_HEADERS: Readonly<Record<string, string>> = {
  'Content-Type': 'text/event-stream; charset=utf-8',
  // Without no-transform a compressing middleware or proxy would collect events until they are worth compressing.
  'Cache-Control': 'no-cache, no-store, no-transform',
  'X-Content-Type-Options': 'nosniff',
  // So that nginx does not buffer it.
  'X-Accel-Buffering': 'no',
}

/** The way to one client, as its face knows it. */
export interface EventSink {
  /** Sends a chunk. `false`: enough for now; the face calls `resume` when the client has taken it. */
  send(chunk: Uint8Array): boolean
  /** Ends the answer. */
  end(): void
}

/** An answer that goes on: the face opens it once, or discards it where its client is gone. */
export interface StreamAnswer {
  open(sink: EventSink): EventStream
  discard(): void
}

/** The stream of one client. A slow client skips to the newest status, so nothing piles up for it. */
export class EventStream implements JobListener {
  readonly #sink: EventSink
  readonly #exposeErrors: boolean
  readonly #release: () => void
  readonly #heart: ReturnType<typeof setInterval>
  readonly #endsAt = Date.now() + LIFE
  #leave: () => void = () => {}
  #missed: JobNews | undefined
  #isBlocked = false
  #isEnding = false
  #isClosed = false

  /** `release` is called once, when the stream has ended, for whatever reason. */
  constructor(sink: EventSink, exposeErrors: boolean, release: () => void) {
    this.#sink = sink
    this.#exposeErrors = exposeErrors
    this.#release = release
    this.#heart = setInterval(() => this.#beat(), HEARTBEAT)
    this.#heart.unref?.()
  }

  /** Begins with the newest status. */
  follow(channel: Channel): void {
    this.#leave = channel.listen(this)
    // The channel of a job that has ended has already said so.
    if (this.#isClosed) this.#leave()
  }

  onNews(news: JobNews): void {
    if (this.#isBlocked) this.#missed = news
    else this.#send(news.frame(this.#exposeErrors))
  }

  onEnd(): void {
    this.#isEnding = true
    if (this.#missed === undefined) this.#finish()
  }

  /** The client has taken what was sent. */
  resume(): void {
    const missed = this.#missed
    this.#missed = undefined
    this.#isBlocked = false
    if (this.#isClosed) return
    if (missed !== undefined) this.#send(missed.frame(this.#exposeErrors))
    if (this.#isEnding) this.#finish()
  }

  /** The client is gone, or has been told everything. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearInterval(this.#heart)
    this.#leave()
    this.#release()
  }

  #send(chunk: Uint8Array): void {
    try {
      this.#isBlocked = !this.#sink.send(chunk)
    } catch {
      // It has lost its client; the others are still to be told.
      this.close()
    }
  }

  #beat(): void {
    if (Date.now() >= this.#endsAt) this.#finish()
    else if (!this.#isBlocked) this.#send(COMMENT)
  }

  #finish(): void {
    if (this.#isClosed) return
    this.close()
    this.#sink.end()
  }
}

import type { JsonValue } from '../core/json'
import type { AfterJobs, JobStatusRecord } from '../core/runtime'
import { isFinal } from '../core/status'
import { statusBody } from './answers'
import { logError } from './responder'

/** How often the store is asked for a token that is watched, in milliseconds. What this process writes arrives at once. */
const INTERVAL = 250
/** The most streams of one runtime in this process, those included that are still being opened. */
const MAX_STREAMS = 10_000

const encoder = new TextEncoder()

/** One status on its way to many clients, written once for all of them. */
export class JobNews {
  readonly record: JobStatusRecord
  #hidden: Uint8Array | undefined
  #exposed: Uint8Array | undefined

  constructor(record: JobStatusRecord) {
    this.record = record
  }

  /** Whether nothing comes after it: the job has ended, or nobody knows it any more. */
  get isLast(): boolean {
    return this.record.status === 'unknown' || isFinal(this.record.status)
  }

  /**
   * Names the status by when it came about, and by its word: the final one has a name that no earlier one of its job has, in
   * every process. That is all that a stream that comes back is asked for, since the whole status comes first in any case.
   */
  get id(): string {
    return this.record.status === 'unknown' ? 'unknown' : `${this.record.updatedAt}-${this.record.status}`
  }

  /** Writes the event (HTML, server-sent events). JSON has no line break that would have to be split. */
  frame(exposeErrors: boolean): Uint8Array {
    const known = exposeErrors ? this.#exposed : this.#hidden
    if (known !== undefined) return known
    const frame = encoder.encode(`id: ${this.id}\ndata: ${statusBody(this.record, exposeErrors)}\n\n`)
    if (exposeErrors) this.#exposed = frame
    else this.#hidden = frame
    return frame
  }
}

/** Whoever is told of a job's changes. */
export interface JobListener {
  onNews(news: JobNews): void
  /** There will be no more news: after the last one, or because the job cannot be followed any longer. */
  onEnd(): void
}

/** One job that is watched, by one reader of the store, for any number of clients. */
export class Channel {
  /** What `authorize` decides by. It never changes. */
  readonly context: JsonValue
  newest: JobNews
  readonly #listeners = new Set<JobListener>()
  readonly #watching = new AbortController()
  #isOver = false

  constructor(record: JobStatusRecord) {
    this.context = record.context ?? null
    this.newest = new JobNews(record)
  }

  /** Tells of the newest status at once, then of each change, until the answered function is called. */
  listen(listener: JobListener): () => void {
    this.#listeners.add(listener)
    listener.onNews(this.newest)
    if (this.#isOver) listener.onEnd()
    return () => void this.#listeners.delete(listener)
  }

  /** Follows the job to its end. Never rejects. */
  async follow(jobs: AfterJobs, token: string): Promise<void> {
    const { signal } = this.#watching
    const seen = this.newest.record
    try {
      if (!this.newest.isLast) {
        for await (const status of jobs.watch(token, { signal, interval: INTERVAL, seen })) this.#publish(status)
      }
    } catch (error) {
      if (!signal.aborted) logError(jobs, 'after-jobs: a job could not be watched any longer', error, token)
    }
    this.#isOver = true
    for (const listener of [...this.#listeners]) listener.onEnd()
  }

  stop(): void {
    this.#watching.abort()
  }

  #publish(status: JobStatusRecord): void {
    this.newest = new JobNews(status)
    for (const listener of [...this.#listeners]) listener.onNews(this.newest)
  }
}

/** A channel, once its job has been read; `undefined` where nobody knows the job. */
interface Entry {
  readonly channel: Promise<Channel | undefined>
  holders: number
}

/** The jobs of one runtime that are watched over HTTP: one channel each, however many watch, and none when nobody does. */
export class EventHub {
  readonly #jobs: AfterJobs
  readonly #entries = new Map<string, Entry>()
  #streams = 0

  constructor(jobs: AfterJobs) {
    this.#jobs = jobs
  }

  get isFull(): boolean {
    return this.#streams >= MAX_STREAMS
  }

  /**
   * Holds the channel of a job: the one that is there, or else a new one, for which the job is read once. Whoever holds it
   * calls the answered function in the end, whatever became of it; more than once is as once.
   */
  hold(token: string): { channel: Promise<Channel | undefined>; release: () => void } {
    const entry = this.#entries.get(token) ?? this.#enter(token)
    entry.holders++
    this.#streams++
    let isHeld = true
    const release = (): void => {
      if (isHeld) this.#release(token, entry)
      isHeld = false
    }
    return { channel: entry.channel, release }
  }

  #enter(token: string): Entry {
    // Once it is over, whoever comes next is to have a new one, however long a slow client holds this one.
    const entry: Entry = { channel: this.#open(token, () => this.#forget(token, entry)), holders: 0 }
    this.#entries.set(token, entry)
    return entry
  }

  async #open(token: string, onOver: () => void): Promise<Channel | undefined> {
    const record = await this.#jobs.record(token)
    if (record.status === 'unknown') return undefined
    const channel = new Channel(record)
    void channel.follow(this.#jobs, token).then(onOver)
    return channel
  }

  #release(token: string, entry: Entry): void {
    this.#streams--
    entry.holders--
    if (entry.holders > 0) return
    this.#forget(token, entry)
    entry.channel.then(
      (channel) => channel?.stop(),
      () => {},
    )
  }

  #forget(token: string, entry: Entry): void {
    if (this.#entries.get(token) === entry) this.#entries.delete(token)
  }
}

const hubs = new WeakMap<AfterJobs, EventHub>()

/** Answers the hub of a runtime: all its handlers in this process share it. */
export function hubOf(jobs: AfterJobs): EventHub {
  const hub = hubs.get(jobs) ?? new EventHub(jobs)
  hubs.set(jobs, hub)
  return hub
}

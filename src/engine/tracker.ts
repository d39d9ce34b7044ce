import type { JobEnvelope } from '../core/job'
import type { JobChange, JobOutcome, JobRecord, ProgressState } from '../core/status'
import type { Applied, RecordStore } from './record-store'

/** What a tracker needs of its run. */
export interface TrackerHost {
  readonly runId: number
  readonly envelope: JobEnvelope
  readProgress(): ProgressState
  /** Is told of each progress that was stored. */
  onProgress(state: JobRecord): void
  /** Is told when the record no longer belongs to the run: it has ended, or another run took it over. */
  onFenced(record: JobRecord): void
  onTrouble(error: unknown): void
}

/** At most one progress write in so many milliseconds. */
const WRITE_INTERVAL = 250
/** A run that has nothing to tell shows after so many milliseconds that it is alive. */
const BEAT_INTERVAL = 5_000

/** The one writer of a running job's record. */
export class Tracker {
  readonly #store: RecordStore
  readonly #host: TrackerHost
  #record: JobRecord
  /** By a clock that nobody sets; not asked before somebody wants to know, because most small jobs end first. */
  #lastWrite: number | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #writing: Promise<void> | undefined
  #isStopped = false

  constructor(store: RecordStore, host: TrackerHost, record: JobRecord) {
    this.#store = store
    this.#host = host
    this.#record = record
  }

  /** Writes the progress soon: at once when the last write is long ago. A million calls make one timer. */
  touch(): void {
    if (this.#timer !== undefined || this.#isStopped) return
    this.#lastWrite ??= performance.now() - Math.max(0, Date.now() - this.#record.updatedAt)
    const wait = Math.max(0, this.#lastWrite + WRITE_INTERVAL - performance.now())
    this.#timer = setTimeout(() => this.#write(), wait)
    this.#timer.unref?.()
  }

  /** Refreshes the record of a run that has been silent. */
  beat(now: number): void {
    this.#lastWrite ??= now
    if (now - this.#lastWrite >= BEAT_INTERVAL && !this.#isStopped) this.#write(true)
  }

  /** Stores the end of the run. Rejects when the cache cannot be reached; may then be called again. */
  finish(outcome: JobOutcome): Applied | Promise<Applied> {
    const writing = this.stop()
    return writing === undefined ? this.#finish(outcome) : writing.then(() => this.#finish(outcome))
  }

  #finish(outcome: JobOutcome): Applied | Promise<Applied> {
    const { runId, envelope } = this.#host
    const { attempt, startedAt } = this.#record
    const last = { ...this.#host.readProgress(), attempt, startedAt }
    const change: JobChange = { type: 'finished', at: Date.now(), runId, outcome, last, birth: envelope }
    return this.#store.apply(envelope.token, change, this.#record)
  }

  /** Stores that the job waits again: for its next attempt, or for another worker. */
  async giveBack(dueAt: number | null): Promise<Applied> {
    await this.stop()
    return this.#store.giveBack(this.#host, dueAt, this.#record)
  }

  /** Writes no more progress; answers what is still being written. */
  stop(): Promise<void> | undefined {
    this.#isStopped = true
    if (this.#timer !== undefined) clearTimeout(this.#timer)
    return this.#writing
  }

  #write(isBeat = false): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#writing !== undefined) return
    const state = this.#host.readProgress()
    const isNews = this.#isNews(state)
    if (!isNews && !isBeat) return
    this.#lastWrite = performance.now()
    this.#writing = this.#send(this.#progressed(state), isNews)
  }

  async #send(change: JobChange, isNews: boolean): Promise<void> {
    try {
      this.#onApplied(await this.#store.apply(this.#host.envelope.token, change, this.#record), isNews)
    } catch (error) {
      this.#host.onTrouble(error)
    }
    this.#writing = undefined
    // What was reported while the write was under way, or could not be written, is still to come.
    if (!this.#isStopped && this.#isNews(this.#host.readProgress())) this.touch()
  }

  #progressed(state: ProgressState): JobChange {
    return { type: 'progressed', at: Date.now(), runId: this.#host.runId, ...state }
  }

  #onApplied({ isStored, record }: Applied, isNews: boolean): void {
    if (isStored && record !== undefined) {
      this.#record = record
      if (isNews) this.#host.onProgress(record)
      return
    }
    // A record that was evicted is written anew at the end; there is nobody to give way to.
    if (record === undefined) return
    this.#isStopped = true
    this.#host.onFenced(record)
  }

  #isNews({ progress, label }: ProgressState): boolean {
    return Math.min(99, progress) > this.#record.progress || label !== this.#record.label
  }
}

/** Beats for every running job of this process: one timer for all, alive only while there are some. */
export class Heartbeat {
  #timer: ReturnType<typeof setInterval> | undefined

  /** Beats until nothing runs any more. Stopping then, and not when the last job ends, spares a timer for each short job. */
  start(running: Iterable<{ readonly tracker: Tracker | undefined }> & { readonly size: number }): void {
    if (this.#timer !== undefined) return
    this.#timer = setInterval(() => {
      const now = performance.now()
      for (const { tracker } of running) tracker?.beat(now)
      if (running.size === 0) this.#stop()
    }, 1_000)
    this.#timer.unref?.()
  }

  #stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

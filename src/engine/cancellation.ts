import { JobError } from '../core/errors'
import { CANCELLED, isFinal, type JobOutcome, outcomeOf } from '../core/status'
import type { JobQueue, JobTakenOut } from '../ports/queue'
import { type Aftermath, tags } from './aftermath'
import { toError } from './ending'
import type { Log } from './log'
import type { StatusReader } from './reader'
import type { Applied, RecordStore } from './record-store'
import type { Registry } from './registry'
import type { Run } from './run'
import type { Runner } from './runner'

/** What a cancellation works with. */
export interface CancellationParts {
  readonly queue: JobQueue
  readonly store: RecordStore
  readonly reader: StatusReader
  readonly runner: Runner
  readonly registry: Registry
  readonly aftermath: Aftermath
  readonly log: Log
  /** Takes over work that nobody waits for, so that `drain` and `close` do. */
  readonly inBackground: (work: Promise<unknown>) => void
}

/** Ends jobs before their time: on request, and where the queue that held them in memory closes. */
export class Cancellation {
  readonly #parts: CancellationParts

  constructor(parts: CancellationParts) {
    this.#parts = parts
  }

  /** Tells whether this call ended the job. The status is final at once, whoever runs the job, and wherever. */
  async cancel(token: string): Promise<boolean> {
    const { store, reader, queue, log } = this.#parts
    const record = await reader.readRecord(token)
    if (record === undefined || (isFinal(record.status) && record.code !== 'cancelled')) return false
    const outcome = CANCELLED
    const applied = await store.end(token, outcome, { ...record, delay: 0 })
    // Whoever stored a cancellation may have failed to announce it, or never have learnt that it was stored.
    if (!applied.isStored && applied.record?.code !== 'cancelled') return false
    const run = this.#findRun(token)
    // Else a job that was cancelled between two attempts: the next delivery tells of it, and compensates for it.
    const isOfRun = run?.runId === applied.record?.runId
    if (applied.isStored || isOfRun) abort(run)
    if (run !== undefined && isOfRun && !run.isAnnounced) {
      run.isAnnounced = true
      this.#parts.aftermath.announce(run.envelope, run.attempt, outcome, toError(run.signal.reason))
    }
    try {
      const waiting = await queue.cancel(token)
      if (waiting !== undefined) this.#conclude(waiting, applied, outcome)
    } catch (error) {
      log.error?.({ err: error }, 'a cancellation could not be announced; its worker notices later')
    }
    return applied.isStored
  }

  /** Ends the jobs that die with the queue, and says so. */
  async drop(jobs: readonly JobTakenOut[]): Promise<void> {
    await Promise.all(jobs.map((job) => this.#drop(job)))
  }

  async #drop(job: JobTakenOut): Promise<void> {
    const { store, log } = this.#parts
    const { envelope } = job
    const outcome = { ...CANCELLED, message: 'The process closed before the job could run' }
    try {
      const applied = await store.end(envelope.token, outcome, envelope)
      if (!applied.isStored) {
        this.#dropEnded(job, applied)
        return
      }
      log.warn(tags(envelope), `job dropped: ${outcome.message}`)
      this.#conclude(job, applied, outcome)
    } catch (error) {
      log.error?.(tags(envelope, error), 'job dropped, and its end could not be stored')
    }
  }

  /** Takes over what follows an end from a cancellation that came too late to take the job out of the queue. */
  #dropEnded(job: JobTakenOut, applied: Applied): void {
    const outcome = applied.record && outcomeOf(applied.record)
    if (outcome?.status !== 'error' || this.#parts.runner.isLingering(job.envelope.token)) return
    this.#conclude(job, applied, outcome)
  }

  /** Aborts the run of a cancelled job, where it is one of this process. */
  abortRun(token: string): void {
    abort(this.#findRun(token))
  }

  #findRun(token: string): Run | undefined {
    let run: Run | undefined
    // The newest of them, where there are several.
    for (const each of this.#parts.runner.running) if (each.token === token) run = each
    return run
  }

  /** Tells and compensates for a job that no worker will see. */
  #conclude(job: JobTakenOut, { record }: Applied, outcome: JobOutcome & { status: 'error' }): void {
    const { envelope, service: live } = job
    const { aftermath, registry, runner, inBackground } = this.#parts
    const attempt = record?.attempt ?? 0
    const error = new JobError(outcome.message)
    aftermath.announce(envelope, attempt, outcome, error)
    const compensate = async () => {
      // A hook that was handed back without listening may still be at it.
      await runner.takeLingering(envelope.token)
      const service = await registry.find(envelope, live)
      if (service !== undefined) await aftermath.compensateUnrun(envelope, attempt, service, error)
    }
    inBackground(job.runAsCaller === undefined ? compensate() : job.runAsCaller(compensate))
  }
}

function abort(run: Run | undefined): void {
  run?.abort('cancelled', new JobError(CANCELLED.message))
}

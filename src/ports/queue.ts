import type { JobEnvelope } from '../core/job'
import type { JobOutcome } from '../core/status'

/** One delivery of a job to a worker. */
export interface JobDelivery {
  /** The number of this attempt, 1 for the first. A crash and a job handed back are not attempts. */
  readonly attempt: number
  /** Aborts when the queue gave the job to another worker; absent where that cannot happen. */
  readonly signal?: AbortSignal | undefined
  /** How the job has ended already, where the queue keeps that: it never runs, whatever has become of its status. */
  readonly outcome?: JobOutcome | undefined
  /** Is called when the job has been claimed and its hook is about to start, which frees its dedupe key. Never rejects. */
  onStart?(): void | Promise<void>
  /** The live service that was given with the job; absent where the job came through another process's hands. */
  readonly service?: object | undefined
}

/** A job that left its queue without having run. */
export interface JobTakenOut {
  readonly envelope: JobEnvelope
  readonly service?: object | undefined
  /** Runs a function in the asynchronous context of whoever started the job; absent where that is another process. */
  runAsCaller?<T>(run: () => T): T
}

/** What became of a delivery. The queue forgets the job on the first two, and delivers it again on the others. */
export type JobAnswer =
  | { type: 'completed'; outcome: JobOutcome }
  | { type: 'failed'; outcome: JobOutcome }
  /** The attempt failed; the next one is due in `delay` milliseconds. */
  | { type: 'retry'; delay: number }
  /** The job was not harmed; it is due again in `delay` milliseconds, as the same attempt. */
  | { type: 'handed back'; delay: number }

/** Runs one job to its end, or refuses a message that is none. Never rejects. */
export interface JobRun {
  (envelope: JobEnvelope, delivery: JobDelivery): Promise<JobAnswer>
  /** The same, answering at once where nothing had to be waited for: a promise more is a tenth of a small job in memory. */
  readonly immediate?: (envelope: JobEnvelope, delivery: JobDelivery) => JobAnswer | Promise<JobAnswer>
}

/** What a queue knows of a token. `unknown`: it cannot tell, because another process may hold the job. */
export type JobLookup =
  /** With the job itself, where the queue can read it: a status whose record is missing is then told in full. */
  | { state: 'waiting' | 'active' | 'lost'; envelope?: JobEnvelope | undefined }
  | { state: 'absent' | 'unknown' }
  | { state: 'ended'; outcome?: JobOutcome; envelope?: JobEnvelope | undefined }

/** Takes jobs off a queue until it is closed. */
export interface JobConsumer {
  /** Takes no more jobs; resolves when those already taken were answered. May be called twice. */
  close(): Promise<void>
}

/** The figures of {@link JobQueue.health}. Delayed jobs count as waiting. */
export interface QueueHealth {
  waiting: number
  active: number
  workers: number
}

/** Hears what happens to a queue that processes share. */
export interface QueueListener {
  /** Another process cancelled the job. */
  onCancelled(token: string): void
  /** The job has lost its worker, and waits again. */
  onLost(token: string): void
  /** The engine cannot be reached, or a worker met what it cannot mend. May come often. */
  onTrouble(error: Error): void
}

/** Accepting without a promise, for jobs that stay in this process's memory. */
export interface ImmediateQueue {
  /** Accepts a job whose token is new, and so is not looked for. */
  enqueue(envelope: JobEnvelope, service: object): string
}

/** Accepting inside a transaction of the caller's, for jobs that stand in the same database as what the caller writes. */
export interface TransactionalQueue {
  /**
   * Accepts jobs by a connection that is in a transaction: they exist when that commits, and never if it does not. Answers
   * as {@link JobQueue.enqueueMany}; none of them has a dedupe key. `db` is whatever the application has: rejects with
   * `INVALID_OPTION` what it cannot use. Rejects after `limit` milliseconds, and sends nothing by the connection from then on:
   * its transaction may have ended, and another one begun.
   */
  enqueueMany(envelopes: readonly JobEnvelope[], db: unknown, limit: number): Promise<string[]>

  /**
   * Takes jobs out again that were accepted by this connection and have not started, within `limit` milliseconds. Rejects where
   * the transaction has failed.
   */
  withdraw(tokens: readonly string[], db: unknown, limit: number): Promise<void>
}

/**
 * Carries jobs from those who start them to those who run them, at least once each, higher priorities first, equal ones in
 * order. Every call but `consume` is bounded by the adapter's own time limit and rejects when the engine cannot be reached.
 */
export interface JobQueue {
  /** Whether other processes can take the jobs: then a service must be registered by name, and `close` leaves them. */
  readonly isShared: boolean

  /** Whether a runtime consumes as soon as it exists, without `work()`. */
  readonly autoStart: boolean

  /** Declared by a queue that accepts or refuses at once. */
  readonly immediate?: ImmediateQueue

  /** Declared by a queue that keeps its jobs in a database. */
  readonly transactional?: TransactionalQueue

  /**
   * Accepts a job, due after `envelope.delay`. Answers its token, or that of the job that already stands for its `dedupe`
   * key. Accepting the same token twice is accepting it once. A job never starts in the tick that enqueued it. A queue in
   * this process's memory keeps the live `service` and hands it out with the job; the others cannot.
   */
  enqueue(envelope: JobEnvelope, service?: object): Promise<string>

  /** Accepts many jobs in one round trip, in order. A queue that is not shared accepts all or none. */
  enqueueMany(envelopes: readonly JobEnvelope[], service?: object): Promise<string[]>

  /** Delivers due jobs to `run`, `concurrency` at once (default: the queue's own). */
  consume(run: JobRun, options?: { concurrency?: number | undefined }): JobConsumer

  /** Delivers one due job to `run` and resolves when it was answered; `false` when none is due. */
  runOne(run: JobRun): Promise<boolean>

  /** Looks a token up, without changing anything. */
  find(token: string): Promise<JobLookup>

  /**
   * Takes note that a token was cancelled: frees its dedupe key at once and tells the process that runs it. Answers the
   * job if it was waiting and has been taken out, so that the caller compensates; otherwise its worker does, to which a queue
   * that may keep a job for longer than its status says so with the delivery.
   */
  cancel(token: string): Promise<JobTakenOut | undefined>

  /** Tells the runtime what nobody asked for. Called once, before anything else. */
  listen(listener: QueueListener): void

  /** Counts; rejects when the engine is away. */
  health(): Promise<QueueHealth>

  /**
   * Accepts and delivers nothing more, and closes the connections that the adapter opened itself. Answers the jobs that die
   * with it: none where the queue is shared. May be called twice.
   */
  close(): Promise<JobTakenOut[]>
}

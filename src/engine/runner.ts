import { Chain } from '../core/chain'
import { findFlaw } from '../core/envelope'
import { JobError } from '../core/errors'
import type { Hook } from '../core/hook'
import { backoffDelay, ENVELOPE_VERSION, type JobEnvelope } from '../core/job'
import { CANCELLED, isFinal, type JobOutcome, type JobRecord, outcomeOf, randomNumber } from '../core/status'
import { isThenable } from '../core/timer'
import type { JobAnswer, JobDelivery, JobRun } from '../ports/queue'
import { type Aftermath, tags } from './aftermath'
import { type Ending, fail, readReturn, readThrown } from './ending'
import type { JobEvents } from './events'
import type { Log } from './log'
import { Memo } from './memo'
import type { Applied, RecordStore } from './record-store'
import type { Registry } from './registry'
import { Run, type RunObserver } from './run'
import { Strangers } from './strangers'
import { enterScope } from './token-scope'
import { type Heartbeat, Tracker } from './tracker'

/** So many runs of a job may crash before it is given up. */
const MAX_CRASHES = 3
/** The pause before a job that could not be claimed is due again. */
const CLAIM_DELAY = 1_000
/** The pause before a store that was away is asked again: doubled each time, up to the last. */
const FIRST_PAUSE = 100
const LAST_PAUSE = 5_000
const HANDED_BACK: JobAnswer = { type: 'handed back', delay: 0 }

/** What the runner works with. */
export interface RunnerParts {
  readonly store: RecordStore
  readonly registry: Registry
  readonly heartbeat: Heartbeat
  readonly aftermath: Aftermath
  readonly events: JobEvents
  readonly log: Log
  /** Is called whenever nothing runs any more. */
  readonly onIdle: () => void
  /** Takes over work that no answer waits for, so that `drain` and `close` do. */
  readonly inBackground: (work: Promise<unknown>) => void
}

/** Runs envelopes: claim, hook, outcome, end. The only place that calls a hook, and so the only one that catches its errors. */
export class Runner implements RunObserver {
  readonly #parts: RunnerParts
  readonly #strangers: Strangers
  /** What goes on of runs that were abandoned; each tells whether it compensated. */
  readonly #lingering = new Map<string, Promise<boolean>>()
  /** What compensates, or has, for the last of them: a job whose lock was lost after its end comes again, and waits for it. */
  readonly #compensations = new Memo<string, boolean>(1_000)
  /** The runs of this process whose queue waits for an answer. */
  readonly running: Chain<Run> = new Chain()

  constructor(parts: RunnerParts) {
    this.#parts = parts
    this.#strangers = new Strangers(parts)
  }

  /** Makes what runs one delivery to its answer, and never rejects; its runs name their owner. */
  runFor(owner?: object): JobRun {
    const immediate: Required<JobRun>['immediate'] = (envelope, delivery) => this.#deliver(envelope, delivery, owner)
    return Object.assign(async (...delivered: Parameters<JobRun>) => immediate(...delivered), { immediate })
  }

  /** Finds the service, then runs. Here and below, what need not be waited for goes on at once: a promise costs as much as a small hook. */
  #deliver(envelope: JobEnvelope, delivery: JobDelivery, owner: object | undefined): JobAnswer | Promise<JobAnswer> {
    try {
      // What came with a live service was made here.
      const flaw = delivery.service === undefined ? findFlaw(envelope) : undefined
      if (flaw !== undefined) return this.#finishLater(envelope, undefined, this.#strangers.refuse(envelope, flaw))
      const service = this.#parts.registry.find(envelope, delivery.service)
      if (!(service instanceof Promise)) return this.#runOn(service, envelope, delivery, owner)
      const answer = service.then((made) => this.#runOn(made, envelope, delivery, owner))
      return answer.catch((error) => this.#giveUp(envelope, undefined, error))
    } catch (error) {
      return this.#giveUp(envelope, undefined, error)
    }
  }

  #runOn(
    service: object | undefined,
    envelope: JobEnvelope,
    delivery: JobDelivery,
    owner: object | undefined,
  ): JobAnswer | Promise<JobAnswer> {
    if (service === undefined || envelope.version !== ENVELOPE_VERSION) {
      return this.#finishLater(envelope, undefined, this.#strangers.strand(envelope))
    }
    const run = new Run(envelope, delivery, service, randomNumber(), this, owner)
    const { outcome } = delivery
    // The record of an end that the queue has kept may have expired.
    const claim = outcome === undefined ? this.#claim(run) : this.#parts.store.end(run.token, outcome, envelope)
    const answer =
      claim instanceof Promise
        ? claim.then((claimed) => this.#onClaimed(run, delivery, claimed))
        : this.#onClaimed(run, delivery, claim)
    if (answer instanceof Promise) return this.#finishLater(envelope, run, answer)
    this.#finish(run)
    return answer
  }

  #onClaimed(run: Run, delivery: JobDelivery, claim: Applied): JobAnswer | Promise<JobAnswer> {
    const record = claim.record as JobRecord
    if (!claim.isStored || delivery.outcome !== undefined) return this.#repeatEnd(run, record)
    const freed = run.envelope.dedupe === null ? undefined : delivery.onStart?.()
    if (freed === undefined) return this.#runHook(run, record)
    return Promise.resolve(freed).then(() => this.#runHook(run, record))
  }

  #runHook(run: Run, record: JobRecord): JobAnswer | Promise<JobAnswer> {
    const tracker = this.#begin(run, record)
    const ending = this.#callHook(run, record.crashes)
    return ending instanceof Promise
      ? ending.then((ended) => this.#conclude(run, tracker, ended))
      : this.#conclude(run, tracker, ending)
  }

  /** Only now the run can be found by others: one that answers at once is over before anyone could look for it. */
  #finishLater(envelope: JobEnvelope, run: Run | undefined, answer: Promise<JobAnswer>): Promise<JobAnswer> {
    if (run !== undefined) {
      this.running.push(run)
      this.#parts.heartbeat.start(this.running)
    }
    return answer.then(
      (answered) => {
        this.#finish(run)
        return answered
      },
      (error) => this.#giveUp(envelope, run, error),
    )
  }

  /** The cache is away, or a factory failed. The job waits, unharmed. */
  async #giveUp(envelope: JobEnvelope, run: Run | undefined, error: unknown): Promise<JobAnswer> {
    this.#parts.log.error?.(tags(envelope, error), 'job could not be started')
    // A start that was not answered may be stored all the same, and would count as a crash.
    if (run !== undefined) await run.waitFor(this.#parts.store.giveBack(run, null).catch(() => {}))
    this.#finish(run)
    return { type: 'handed back', delay: CLAIM_DELAY }
  }

  #finish(run: Run | undefined): void {
    if (run?.chain !== undefined) this.running.delete(run)
    if (this.running.size === 0) this.#parts.onIdle()
  }

  /** Tells whether an abandoned run of this job goes on, or has seen to what follows its end. */
  isLingering(token: string): boolean {
    return this.#lingering.has(token)
  }

  /** Answers what still goes on of an abandoned run of this job, and leaves it to the caller to wait for it. */
  takeLingering(token: string): Promise<boolean> | undefined {
    if (this.#lingering.size === 0) return undefined
    const lingering = this.#lingering.get(token)
    this.#lingering.delete(token)
    return lingering
  }

  onProgress(run: Run, { progress, label }: JobRecord): void {
    this.#parts.events.emit('progress', run.envelope, run.attempt, { progress, label })
  }

  onFenced(run: Run, record: JobRecord): void {
    const wasCancelled = record.code === 'cancelled'
    const message = wasCancelled ? CANCELLED.message : 'The job was taken over by another worker'
    run.abort(wasCancelled ? 'cancelled' : 'fenced', new JobError(message))
  }

  onTrouble(run: Run, error: unknown): void {
    this.#parts.log.error?.(tags(run.envelope, error), 'progress could not be stored')
  }

  #claim({ envelope, runId, attempt }: Run): Applied | Promise<Applied> {
    return this.#parts.store.claim(envelope, { type: 'started', at: Date.now(), runId, attempt, birth: envelope })
  }

  /** A job whose end is stored is not run again; only what follows the end may have been missed. */
  async #repeatEnd(run: Run, record: JobRecord): Promise<JobAnswer> {
    const outcome = outcomeOf(record)
    if (outcome.status === 'done') return { type: 'completed', outcome }
    // Whoever saw the enqueue fail told its caller, or compensated there.
    if (outcome.code === 'enqueue_failed') return { type: 'failed', outcome }
    const lingering = this.takeLingering(run.token)
    const wasCompensated = lingering && (await run.waitFor(lingering))
    if (run.isAbandoned) return this.#linger(run, lingering)
    if (wasCompensated) return { type: 'failed', outcome }
    const error = new JobError(outcome.message)
    if (outcome.code === 'cancelled') this.#announceEnd(run, record.attempt, outcome, error)
    return this.#compensate(run, outcome, error)
  }

  #begin(run: Run, record: JobRecord): Tracker {
    const tracker = new Tracker(this.#parts.store, run, record)
    run.tracker = tracker
    this.#announceStart(run)
    return tracker
  }

  #announceStart({ envelope, attempt }: Run): void {
    this.#parts.log.info?.({ ...tags(envelope), attempt }, 'job started')
    this.#parts.events.emit('started', envelope, attempt)
  }

  /** Answers how the hook ended, or `undefined` when the run was abandoned before. */
  #callHook(run: Run, crashes: number): Ending | undefined | Promise<Ending | undefined> {
    if (crashes >= MAX_CRASHES) return lostTooOften(crashes)
    // Aborted while it was being claimed: then the hook need not begin.
    if (run.isAborted) return readThrown(run.signal.reason, run.envelope.hook)
    const { timeout, hook } = run.envelope
    const startedAt = timeout === null ? 0 : performance.now()
    const ending = startHook(run)
    const ended =
      ending ??
      run.waitForBody(
        (value) => readReturn(value, hook),
        (thrown) => readThrown(thrown, hook),
      )
    if (timeout === null) return ended
    // What the hook did before it answered is part of its time, and no timer could strike in it.
    const left = timeout - Math.floor(performance.now() - startedAt)
    const makeEnding = () => fail('timeout', `The job took longer than ${timeout} ms`)
    if (left <= 0) return run.expire(makeEnding())
    if (ending === undefined) run.expireAfter(left, makeEnding)
    return ended
  }

  /** Decides what an ending means for the job. */
  #conclude(run: Run, tracker: Tracker, ending: Ending | undefined): JobAnswer | Promise<JobAnswer> {
    const { abortCause, attempt, envelope } = run
    if (ending === undefined) return this.#handBack(run, tracker)
    if (abortCause === 'fenced') return this.#leave(tracker)
    if (abortCause === 'closing' && mayRunAgain(ending)) return this.#handBack(run, tracker)
    if (ending.isRetryable && attempt < envelope.attempts && abortCause === undefined) {
      return this.#retry(run, tracker, ending)
    }
    const applied = tracker.finish(ending.outcome)
    if (applied instanceof Promise || !applied.isStored || ending.outcome.status === 'error') {
      return this.#end(run, tracker, ending, applied)
    }
    this.#announceEnd(run, attempt, ending.outcome)
    return { type: 'completed', outcome: ending.outcome }
  }

  /** Sees that the end is stored, and compensates for a failure. */
  async #end(run: Run, tracker: Tracker, ending: Ending, first: Applied | Promise<Applied>): Promise<JobAnswer> {
    const applied = await this.#untilStored(run, first, () => tracker.finish(ending.outcome))
    if (applied === undefined) return this.#handBack(run, tracker)
    if (!isEndOf(run, applied)) return this.#leave(tracker)
    const outcome = outcomeOf(applied.record)
    const reason: unknown = applied.isStored ? ending.error : run.signal.reason
    const error = reason instanceof Error ? reason : undefined
    this.#announceEnd(run, run.attempt, outcome, error)
    if (outcome.status === 'done') return { type: 'completed', outcome }
    return this.#compensate(run, outcome, error ?? new JobError(outcome.message))
  }

  /** Compensates after the body, which may go on after its time. The queue is answered before where the worker must close. */
  async #compensate(run: Run, outcome: JobOutcome, error: Error): Promise<JobAnswer> {
    const compensate = async () => {
      await run.bodyEnd()
      await this.#parts.aftermath.compensate(run, error)
      return true
    }
    const compensated = this.#compensations.get(run.token, Number.POSITIVE_INFINITY, compensate)
    await run.waitFor(compensated)
    return run.isAbandoned ? this.#linger(run, compensated) : { type: 'failed', outcome }
  }

  /** Whoever stored an end tells it; a cancellation in this process has told its own. */
  #announceEnd(run: Run, attempt: number, outcome: JobOutcome, error?: Error): void {
    if (run.isAnnounced) return
    run.isAnnounced = true
    this.#parts.aftermath.announce(run.envelope, attempt, outcome, error)
  }

  /** Lets a run go on after the queue was answered. What compensates for the job in this process waits for it. */
  #linger(run: Run, work: Promise<boolean> | undefined): JobAnswer {
    if (work !== undefined) {
      this.#lingering.set(run.token, work)
      // That it compensated must be remembered until the next delivery; that it only ended need not.
      void work.then(
        (hasCompensated) => hasCompensated || this.#lingering.get(run.token) !== work || this.takeLingering(run.token),
      )
      this.#parts.inBackground(work)
    }
    return HANDED_BACK
  }

  async #retry(run: Run, tracker: Tracker, ending: Ending): Promise<JobAnswer> {
    const { events, log } = this.#parts
    const { envelope, attempt } = run
    const delay = backoffDelay(envelope.backoff, attempt)
    const giveBack = () => tracker.giveBack(delay > 0 ? Date.now() + delay : null)
    const applied = await this.#untilStored(run, giveBack(), giveBack)
    if (applied === undefined) return this.#handBack(run, tracker)
    // A record that is gone has not ended: the next start creates it anew.
    if (!applied.isStored && applied.record) return this.#end(run, tracker, ending, tracker.finish(ending.outcome))
    log.info?.({ ...tags(envelope), attempt, err: ending.error }, 'attempt failed, the job will be tried again')
    events.emit('retrying', envelope, attempt, { error: ending.error })
    return { type: 'retry', delay }
  }

  /** Gives the job back to the queue, neither failed nor an attempt, whether or not the hook has ended. */
  async #handBack(run: Run, tracker: Tracker): Promise<JobAnswer> {
    const applied = await tracker.giveBack(null).catch((error) => this.onTrouble(run, error))
    if (applied && !applied.isStored && isEndOf(run, applied)) {
      // It had ended already: what follows the end goes on behind the answer.
      const outcome = outcomeOf(applied.record)
      if (outcome.status === 'error') {
        const error = new JobError(outcome.message)
        this.#announceEnd(run, run.attempt, outcome, error)
        return this.#compensate(run, outcome, error)
      }
    }
    return this.#linger(run, run.isBodyRunning ? run.bodyEnd().then(() => false) : undefined)
  }

  /** Goes without a word: another run has the job. */
  async #leave(tracker: Tracker): Promise<JobAnswer> {
    await tracker.stop()
    return HANDED_BACK
  }

  /** Repeats a write until the store takes it; `undefined` when the run was abandoned meanwhile. */
  async #untilStored(
    run: Run,
    first: Applied | Promise<Applied>,
    write: () => Applied | Promise<Applied>,
  ): Promise<Applied | undefined> {
    let attempt = first
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LAST_PAUSE)) {
      try {
        return await attempt
      } catch (error) {
        this.#parts.log.error?.(tags(run.envelope, error), 'the end of the job could not be stored yet')
      }
      await run.pause(pause)
      if (run.isAbandoned) return undefined
      attempt = write()
    }
  }
}

/** Calls the hook; answers `undefined` where it has promised something, which is the body of the run. */
function startHook(run: Run): Ending | undefined {
  const { token, hook: name, id } = run.envelope
  const hook = (run.service as Record<string, unknown>)[name] as Hook
  try {
    const value: unknown = enterScope(run.openScope(), () =>
      hook.call(run.service, id, token, run.reporter, run.context),
    )
    if (isThenable(value)) {
      run.body = Promise.resolve(value)
      return undefined
    }
    run.closeScope()
    return readReturn(value, name)
  } catch (thrown) {
    run.closeScope()
    return readThrown(thrown, name)
  }
}

function lostTooOften(crashes: number): Ending {
  return fail('worker_lost', `The worker of the job was lost ${crashes} times`)
}

/** What a hook throws while its worker closes may come of the close; a time-out does not. */
function mayRunAgain({ outcome }: Ending): boolean {
  return outcome.status === 'error' && outcome.code !== 'timeout'
}

/** Tells whether the record is the end of this run: by the run itself, or by a cancellation while it ran. */
function isEndOf(run: Run, applied: Applied): applied is Applied & { record: JobRecord } {
  const { record, isStored } = applied
  return record !== undefined && (isStored || (isFinal(record.status) && record.runId === run.runId))
}

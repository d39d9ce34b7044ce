import { AfterJobsError } from '../core/errors'
import { checkCount } from '../core/job'
import type { Worker } from '../core/runtime'
import { nextTurn, settlesWithin } from '../core/timer'
import type { JobConsumer, JobQueue } from '../ports/queue'
import { Bell } from './bell'
import type { Run } from './run'
import type { Runner } from './runner'

const DEFAULT_GRACE = 10_000
/** How long a hook whose signal was aborted may take to end by itself before its job is handed back without it. */
const ABORT_GRACE = 500
/** The shortest and the longest pause between two questions whether a queue that processes share is empty. */
const DRAIN_LEAST = 25
const DRAIN_MOST = 500
const BUSY = { waiting: 0, active: 1 }
/** How long the end of what was handed back may take to be stored. */
const HAND_BACK_LIMIT = 3_000

/** The consumers of this process: what starts and stops them, and what waits for them. */
export class Workers {
  readonly #queue: JobQueue
  readonly #runner: Runner
  readonly #workers = new Set<Worker>()
  readonly #idle = new Bell<'idle'>()
  readonly #background = new Set<Promise<unknown>>()
  /** What `runNext` runs. */
  readonly #singles = new Set<Promise<boolean>>()
  #automatic: JobConsumer | undefined
  /** The end of what the automatic one was running when it was replaced. */
  #replaced: Promise<void> | undefined
  #isClosed = false

  constructor(queue: JobQueue, runner: Runner) {
    this.#queue = queue
    this.#runner = runner
  }

  /** Runs what comes, where the queue does not wait for `work()`. */
  start(): void {
    if (this.#queue.autoStart) this.#automatic = this.#queue.consume(this.#runner.runFor())
  }

  work(concurrency: number): Worker {
    this.#checkOpen('work()')
    checkCount('work({ concurrency })', concurrency)
    this.#replaced ??= this.#automatic?.close()
    this.#automatic = undefined
    const owner = {}
    const worker = this.#makeWorker(this.#queue.consume(this.#runner.runFor(owner), { concurrency }), owner)
    this.#workers.add(worker)
    return worker
  }

  async runNext(): Promise<boolean> {
    this.#checkOpen('runNext()')
    const single = this.#queue.runOne(this.#runner.runFor())
    this.#singles.add(single)
    return single.finally(() => this.#singles.delete(single))
  }

  /** Is told when nothing runs any more. */
  onIdle(): void {
    this.#idle.ring('idle')
  }

  /** Keeps work that nobody waits for, until `drain` or `close` does. What it throws is its own to tell. */
  inBackground(work: Promise<unknown>): void {
    const end = () => {
      this.#background.delete(work)
      this.#idle.ring('idle')
    }
    this.#background.add(work)
    work.then(end, end)
  }

  async drain(signal: AbortSignal | undefined): Promise<void> {
    const { isShared } = this.#queue
    let wake: () => void = () => {}
    const onAbort = () => wake()
    signal?.addEventListener('abort', onAbort)
    try {
      for (;;) {
        signal?.throwIfAborted()
        const rung = new Promise<void>((resolve) => {
          // Once, because the bell may ring for each of a million jobs; and not for a queue that takes its time to count.
          const stopListening = isShared ? undefined : this.#idle.listen('idle', () => wake())
          wake = () => {
            stopListening?.()
            resolve()
          }
        })
        if (this.#workers.size === 0 && this.#automatic === undefined) throw nobodyWorks()
        // The queue hears of an end one step after it was rung.
        await nextTurn()
        const askedAt = performance.now()
        // A database takes its time to count a million jobs: it is not asked while the answer is known.
        const isBusy = isShared && this.#runner.running.size + this.#background.size > 0
        const { waiting, active } = isBusy ? BUSY : await this.#queue.health()
        if (waiting + active + this.#background.size === 0) return
        // And it is kept busy a tenth of the time, where that can be waited for.
        await (isShared
          ? settlesWithin(rung, Math.min(DRAIN_MOST, DRAIN_LEAST + 9 * (performance.now() - askedAt)))
          : rung)
      }
    } finally {
      wake()
      signal?.removeEventListener('abort', onAbort)
    }
  }

  /** Closes every consumer; then nothing of this process runs any more. */
  async close(grace: number): Promise<void> {
    this.#isClosed = true
    const stopped: unknown[] = [this.#replaced, ...this.#singles]
    for (const worker of this.#workers) stopped.push(worker.close({ grace }))
    if (this.#automatic !== undefined) stopped.push(this.#automatic.close())
    this.#automatic = undefined
    await this.#stop(Promise.allSettled(stopped), () => [...this.#runner.running], grace)
    this.#idle.ring('idle')
  }

  /** Waits for what nobody waited for; it is bounded like everything that closes. */
  async finishBackground(ms: number): Promise<void> {
    await settlesWithin(Promise.allSettled(this.#background), ms)
  }

  #makeWorker(consumer: JobConsumer, owner: object): Worker {
    let closing: Promise<void> | undefined
    const runs = () => [...this.#runner.running].filter((run) => run.owner === owner)
    const close = async (grace: number) => {
      await this.#stop(consumer.close(), runs, grace)
      this.#workers.delete(worker)
      this.#idle.ring('idle')
    }
    const worker: Worker = {
      close({ grace = DEFAULT_GRACE } = {}) {
        closing ??= close(grace)
        return closing
      },
      [Symbol.asyncDispose]: () => worker.close(),
    }
    return worker
  }

  /** Waits for running jobs, then aborts them, then hands back those that do not listen. */
  async #stop(stopped: Promise<unknown>, runs: () => Run[], grace: number): Promise<void> {
    if (await settlesWithin(stopped, grace)) return
    const reason = new AfterJobsError('CLOSED', 'The worker closes; the job goes back to the queue')
    for (const run of runs()) run.abort('closing', reason)
    await settlesWithin(stopped, ABORT_GRACE)
    for (const run of runs()) run.abandon()
    await settlesWithin(stopped, HAND_BACK_LIMIT)
  }

  #checkOpen(what: string): void {
    if (this.#isClosed) throw new AfterJobsError('CLOSED', `${what} was called on a closed runtime.`)
  }
}

function nobodyWorks(): AfterJobsError {
  const message = 'drain() would wait for ever: this process runs no jobs. Call work() first.'
  return new AfterJobsError('NO_WORKER', message)
}

import type { Chain, Link } from '../core/chain'
import type { JobContext } from '../core/hook'
import type { JobEnvelope } from '../core/job'
import { copyData } from '../core/json'
import type { JobRecord, ProgressState } from '../core/status'
import { startTimer, type Timer } from '../core/timer'
import type { JobDelivery } from '../ports/queue'
import type { Ending } from './ending'
import { ProgressBar, type ProgressHost } from './progress'
import { closeScope, createScope, type TokenScope } from './token-scope'
import type { Tracker, TrackerHost } from './tracker'

/** Why a run was aborted. `fenced`: its record ended or belongs to another run by now. */
export type AbortCause = 'cancelled' | 'timeout' | 'fenced' | 'closing'

const NOTHING = (): void => {}

/** One delivery of a job in this process: its signal, its progress, and what stops it. */
export class Run implements ProgressHost, TrackerHost, Link<Run> {
  readonly envelope: JobEnvelope
  readonly service: object
  readonly runId: number
  readonly attempt: number
  readonly reporter: ProgressBar
  readonly #observer: RunObserver | undefined
  /** The worker whose run it is. */
  readonly owner: object | undefined
  readonly #delivery: JobDelivery
  #controller: AbortController | undefined
  #reason: unknown
  #context: JobContext | undefined
  abortCause: AbortCause | undefined
  tracker: Tracker | undefined
  /** Where it stands while it runs. */
  chain: Chain<Run> | undefined
  before: Run | undefined
  after: Run | undefined
  /** What the hook promised. */
  body: Promise<unknown> | undefined
  isBodyRunning = false
  /** Whether the end was told to listeners and log. */
  isAnnounced = false
  /** Whether the queue is to be answered although the hook, or what follows it, has not ended. */
  isAbandoned = false
  #endWait: () => void = NOTHING
  #timer: Timer | undefined
  #scope: TokenScope | undefined
  #onExpiry: ((ending: Ending) => void) | undefined

  constructor(
    envelope: JobEnvelope,
    delivery: JobDelivery,
    service: object,
    runId: number,
    observer?: RunObserver,
    owner?: object,
  ) {
    this.envelope = envelope
    this.service = service
    this.runId = runId
    this.attempt = delivery.attempt
    this.reporter = new ProgressBar(this)
    this.#observer = observer
    this.owner = owner
    this.#delivery = delivery
  }

  get token(): string {
    return this.envelope.token
  }

  /** Made on demand: an AbortController costs more than the rest of a small job. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      this.#hearLoss()
      if (this.isAborted) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  get isAborted(): boolean {
    return this.abortCause !== undefined
  }

  abort(cause: AbortCause, reason: unknown): void {
    if (this.isAborted) return
    this.abortCause = cause
    this.#reason = reason
    this.#controller?.abort(reason)
  }

  /** Opens the token scope of the hook, which lasts until its body has ended. */
  openScope(): TokenScope {
    const { token, context } = this.envelope
    this.#scope = createScope({ token, context, host: this })
    return this.#scope
  }

  closeScope(): void {
    if (this.#scope !== undefined) closeScope(this.#scope)
  }

  /** Ends whatever the runner waits for. */
  abandon(): void {
    this.isAbandoned = true
    this.#timer?.stop()
    this.#endWait()
  }

  /** Lets the run expire in so many milliseconds. */
  expireAfter(ms: number, makeEnding: () => Ending): void {
    this.#timer = startTimer(ms, () => this.expire(makeEnding()))
  }

  /** Aborts the run, whose time is over, and ends the wait for the body. */
  expire(ending: Ending): Ending {
    this.abort('timeout', ending.error)
    this.#onExpiry?.(ending)
    return ending
  }

  /** Waits until the body has ended or expired; `undefined` when the run is abandoned first. */
  waitForBody(
    readValue: (value: unknown) => Ending,
    readError: (error: unknown) => Ending,
  ): Promise<Ending | undefined> {
    this.isBodyRunning = true
    return new Promise((resolve) => {
      this.#endWait = () => resolve(undefined)
      this.#onExpiry = resolve
      const end = (ending: Ending) => {
        this.closeScope()
        this.isBodyRunning = false
        this.#timer?.stop()
        resolve(ending)
      }
      this.body?.then(
        (value) => end(readValue(value)),
        (error) => end(readError(error)),
      )
    })
  }

  /** Only for a hook that looks at its signal: what the others write is fenced off by the record. */
  #hearLoss(): void {
    const { signal } = this.#delivery
    const onLoss = () => this.abort('fenced', signal?.reason)
    if (signal?.aborted) onLoss()
    else signal?.addEventListener('abort', onLoss, { once: true })
  }

  /** Resolves when the body has ended, however late and however it ends. */
  async bodyEnd(): Promise<void> {
    await this.body?.catch(() => {})
  }

  /** Waits for what never rejects; `undefined` when the run is abandoned first. */
  waitFor<T>(work: Promise<T>): Promise<T | undefined> {
    return new Promise((resolve) => {
      if (this.isAbandoned) return resolve(undefined)
      this.#endWait = () => resolve(undefined)
      void work.then(resolve)
    })
  }

  /** Waits so many milliseconds, or until the run is abandoned. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.isAbandoned) return resolve()
      const timer = setTimeout(resolve, ms)
      this.#endWait = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  touch(): void {
    this.tracker?.touch()
  }

  readProgress(): ProgressState {
    return ProgressBar.read(this.reporter)
  }

  onProgress(record: JobRecord): void {
    this.#observer?.onProgress(this, record)
  }

  onFenced(record: JobRecord): void {
    this.#observer?.onFenced(this, record)
  }

  onTrouble(error: unknown): void {
    this.#observer?.onTrouble(this, error)
  }

  get context(): JobContext {
    this.#context ??= new RunContext(this.envelope, this)
    return this.#context
  }
}

/** Hears what a run's tracker hears. */
export interface RunObserver {
  onProgress(run: Run, record: JobRecord): void
  onFenced(run: Run, record: JobRecord): void
  onTrouble(run: Run, error: unknown): void
}

/** What the hook sees of its run. A class, so that `signal` is made only for those who read it. */
export class RunContext implements JobContext {
  readonly #host: Pick<Run, 'attempt' | 'signal'>
  readonly token: string
  readonly id: string | number
  readonly service: string
  readonly hook: string
  readonly payload: unknown
  readonly context: JobContext['context']
  readonly attempt: number
  readonly attempts: number
  readonly parent: string | null

  constructor(envelope: JobEnvelope, host: Pick<Run, 'attempt' | 'signal'>) {
    this.#host = host
    this.token = envelope.token
    this.id = envelope.id
    this.service = envelope.service
    this.hook = envelope.hook
    // A hook may change what it was given; the next attempt, and other jobs, start from what was sent.
    this.payload = copyData(envelope.payload)
    this.context = copyData(envelope.context)
    this.attempt = host.attempt
    this.attempts = envelope.attempts
    this.parent = envelope.parent
  }

  get signal(): AbortSignal {
    return this.#host.signal
  }
}

import { formatElapsed } from '../client/elapsed'
import { JobFailedError } from '../client/job-failed-error'
import type { Fetch } from '../client/requests'
import { watchJob } from '../client/watch-job'
import type { DoneStatus, ErrorStatus, JobStatus, UnknownStatus } from '../core/status'
import { describe, type JobProgressState } from './description'
import { drawFace, type Face, type View } from './face'
import { createStopwatch } from './stopwatch'
import { jobProgressWords as words } from './words'

const TAG = 'job-progress'
/** How often the time is looked at, in milliseconds: twice for each second that it shows. */
const TICK = 500
const PROPERTIES = ['token', 'basePath', 'events'] as const

/** What to tell when it is over. */
type End = [type: 'job-done' | 'job-error', status: JobStatus]

// A server that renders the page loads this file too, and has no HTMLElement.
const Base: typeof HTMLElement = globalThis.HTMLElement ?? class {}

/**
 * Shows a job as a bar, with its label, its time and its end, and speaks to screen readers.
 *
 * Attributes: `token`, or the URL of a status; `base-path`; `events`, for Server-Sent Events; `label`, the accessible name of
 * the bar. `state` is set by the element: pending, running, done, error. Parts: bar, fill, label, message, percent, time.
 * Custom properties: `--job-progress-color`, `-track`, `-done`, `-error`, `-height`, `-radius`.
 *
 * Events, whose detail is the status: `job-progress` with each status, then `job-done` or `job-error`. They bubble.
 *
 * @example
 * <job-progress token="3f0c2d1e-8a4b-4c6d-9e2f-0a1b2c3d4e5f" label="Import of the cities"></job-progress>
 */
export class JobProgressElement extends Base {
  static readonly observedAttributes: readonly string[] = ['token', 'base-path', 'label', 'events']

  /** Makes the requests, for example with an `Authorization`. Set it before the element is in the page. */
  declare fetch: Fetch | undefined
  readonly #face: Face = drawFace(this.attachShadow({ mode: 'open' }))
  #stop = new AbortController()
  /** What was watched to its end: it is not asked for again when the element is moved. */
  #ended = ''

  get token(): string | null {
    return this.getAttribute('token')
  }
  set token(value: string | null | undefined) {
    this.#reflect('token', value)
  }

  get basePath(): string | null {
    return this.getAttribute('base-path')
  }
  set basePath(value: string | null | undefined) {
    this.#reflect('base-path', value)
  }

  get events(): boolean {
    return this.hasAttribute('events')
  }
  set events(value: boolean) {
    this.toggleAttribute('events', Boolean(value))
  }

  connectedCallback(): void {
    for (const name of PROPERTIES) this.#upgrade(name)
    this.#face.name(this.getAttribute('label') || words.name)
    void this.#renew()
  }

  disconnectedCallback(): void {
    this.#stop.abort()
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (name === 'label') this.#face.name(after || words.name)
    else if (before !== after) void this.#renew()
  }

  #reflect(name: string, value: string | null | undefined): void {
    if (value == null) this.removeAttribute(name)
    else this.setAttribute(name, value)
  }

  /** Takes over a property that was set before there was a class, and hides its accessor. */
  #upgrade(name: (typeof PROPERTIES)[number]): void {
    if (!Object.hasOwn(this, name)) return
    const { [name]: value } = this
    delete this[name]
    Object.assign(this, { [name]: value })
  }

  /** Ends the watch and begins another, once for all that changes in one turn. */
  async #renew(): Promise<void> {
    this.#stop.abort()
    this.#stop = new AbortController()
    const { signal } = this.#stop
    await undefined
    const subject = [this.token, this.basePath, this.events].join(' ')
    if (signal.aborted || !this.isConnected || subject === this.#ended) return
    this.#ended = ''
    const end = await this.#watch(signal)
    if (!end || signal.aborted) return
    // First: whoever hears of the end may move the element, which must not begin anew and be moved again, for ever.
    this.#ended = subject
    this.#emit(...end)
  }

  /** Watches until there is an end to tell, or until the signal aborts. */
  async #watch(signal: AbortSignal): Promise<End | undefined> {
    const { token, basePath, events, fetch } = this
    const stopwatch = createStopwatch()
    const showTime = (): void => this.#face.time(formatElapsed(stopwatch.elapsed()))
    const onProgress = (status: JobStatus): void => {
      if (signal.aborted) return
      stopwatch.heed(status)
      this.#show(...describe(status))
      showTime()
      this.#emit('job-progress', status)
    }
    this.#face.time('')
    this.#show(token ? 'pending' : '', { label: token ? words.pending : '' })
    if (!token) return undefined
    const ticking = setInterval(showTime, TICK)
    try {
      const watch = watchJob(token, { basePath: basePath ?? undefined, events, fetch, signal, onProgress })
      return ['job-done', await watch.done]
    } catch (error) {
      return signal.aborted ? undefined : this.#fail(error)
    } finally {
      clearInterval(ticking)
    }
  }

  /** Tells that the job has failed, or that there is no hearing of it: its token is unknown, or the page is refused. */
  #fail(error: unknown): End {
    const isJob = JobFailedError.is(error)
    const status: JobStatus = isJob ? error.status : { status: 'unknown', progress: 0, message: null }
    if (status.status === 'unknown') {
      this.#face.time('')
      this.#show('error', { message: isJob ? words.unknown : words.refused })
    }
    return ['job-error', status]
  }

  #show(state: JobProgressState | '', view: View): void {
    this.#reflect('state', state || null)
    this.#face.show(view)
  }

  #emit(type: keyof JobProgressEvents, detail: JobStatus): void {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true }))
  }
}

/** The events of the element. */
export interface JobProgressEvents {
  'job-progress': CustomEvent<JobStatus>
  'job-done': CustomEvent<DoneStatus>
  'job-error': CustomEvent<ErrorStatus | UnknownStatus>
}

declare global {
  interface HTMLElementTagNameMap {
    'job-progress': JobProgressElement
  }
  // They bubble, so whatever is around the element can hear them.
  interface GlobalEventHandlersEventMap extends JobProgressEvents {}
}

// Two copies of this file may meet in a page: the first one stays.
if (globalThis.customElements && !customElements.get(TAG)) customElements.define(TAG, JobProgressElement)

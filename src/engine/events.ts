import { checkChoice } from '../core/job'
import { JOB_EVENTS, type JobEvent, type JobEventName } from '../core/runtime'
import type { Log } from './log'

/** The job that an event is about. */
type EventSubject = Pick<JobEvent, 'token' | 'service' | 'hook' | 'id'>
/** What only some events tell. */
type EventDetails = Pick<JobEvent, 'progress' | 'label' | 'result' | 'code' | 'error'>

/** Tells listeners of this process what happens to its jobs. */
export class JobEvents {
  readonly #listeners = new Map<JobEventName, Set<(event: JobEvent) => void>>()
  readonly #log: Log

  constructor(log: Log) {
    this.#log = log
  }

  on(name: JobEventName, listener: (event: JobEvent) => void): () => void {
    checkChoice('The event', name, JOB_EVENTS)
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners)
    // A wrapper of its own, so that the same function can listen twice and each be taken off alone.
    const entry = (event: JobEvent) => listener(event)
    listeners.add(entry)
    return () => void listeners.delete(entry)
  }

  /** Costs next to nothing where nobody listens. */
  emit(name: JobEventName, subject: EventSubject, attempt: number, details?: EventDetails): void {
    const listeners = this.#listeners.get(name)
    if (listeners === undefined || listeners.size === 0) return
    const { token, service, hook, id } = subject
    const event: JobEvent = { event: name, token, service, hook, id, attempt, ...details }
    for (const listener of [...listeners]) this.#call(listener, event)
  }

  #call(listener: (event: JobEvent) => void, event: JobEvent): void {
    const onThrow = (error: unknown) =>
      this.#log.error?.({ err: error, event: event.event }, 'after-jobs: an event listener threw')
    try {
      const answer: unknown = listener(event)
      if (answer instanceof Promise) answer.catch(onThrow)
    } catch (error) {
      onThrow(error)
    }
  }
}

/** Wakes those who wait for something under a key, and brings them the news: a token's next record, or the end of work. */
export class Bell<K, V = void> {
  readonly #waiting = new Map<K, Set<(news: V) => void>>()

  ring(key: K, news: V): void {
    if (this.#waiting.size === 0) return
    for (const wake of this.#waiting.get(key) ?? []) wake(news)
  }

  /** Listens until the answered function is called. */
  listen(key: K, wake: (news: V) => void): () => void {
    const waiting = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, waiting)
    waiting.add(wake)
    return () => {
      waiting.delete(wake)
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key)
    }
  }
}

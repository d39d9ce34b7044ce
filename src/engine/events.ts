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

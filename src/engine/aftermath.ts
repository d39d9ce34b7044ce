import { JobError } from '../core/errors'
import type { FailureHook } from '../core/hook'
import { failureHookName } from '../core/hook-name'
import type { JobEnvelope } from '../core/job'
import type { JobOutcome } from '../core/status'
import { shortToken } from '../core/token'
import type { JobEvents } from './events'
import type { Log } from './log'
import { Run } from './run'
import { runInScope } from './token-scope'

/** What follows the end of a job: listeners and log are told, and the service compensates for a failure. */
export class Aftermath {
  readonly #events: JobEvents
  readonly #log: Log

  constructor(events: JobEvents, log: Log) {
    this.#events = events
    this.#log = log
  }

  /** Tells that a job ended. Whoever stored the end calls it, once. */
  announce(envelope: JobEnvelope, attempt: number, outcome: JobOutcome, error?: Error): void {
    if (outcome.status === 'done') {
      this.#log.info?.(tags(envelope), 'job done')
      this.#events.emit('done', envelope, attempt, { progress: 100, result: outcome.result })
      return
    }
    const { code, message } = outcome
    this.#log.error?.({ ...tags(envelope), code, err: error }, `job failed: ${message}`)
    this.#events.emit('error', envelope, attempt, { code, error: error ?? new JobError(message) })
  }

  /** Calls `after<Action>JobFailed`, where the service has it. Never rejects: what it throws changes no status. */
  async compensate(run: Run, error: Error): Promise<void> {
    const { envelope, service } = run
    const name = failureHookName(envelope.hook)
    try {
      const method: unknown = Reflect.get(service, name)
      if (typeof method !== 'function') return
      const call = async () => (method as FailureHook).call(service, envelope.id, envelope.token, error, run.context)
      await runInScope(call, { token: envelope.token, context: envelope.context })
    } catch (thrown) {
      this.#log.error?.(tags(envelope, thrown), `${name} threw`)
    }
  }

  /** Compensates for a job that ended outside of a run: cancelled while it waited, or never accepted. */
  compensateUnrun(envelope: JobEnvelope, attempt: number, service: object, error: Error): Promise<void> {
    return this.compensate(new Run(envelope, { attempt }, service, 0), error)
  }
}

/** Names a job in a log line, and what went wrong with it: a whole token would let the reader of a log follow the job. */
export function tags({ token, service, hook, id }: JobEnvelope, err?: unknown): object {
  return { token: shortToken(token), service, hook, id, ...(err !== undefined && { err }) }
}

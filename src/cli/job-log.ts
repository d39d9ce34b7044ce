import type { AfterJobs, JobEvent } from '../core/runtime'
import { describeThrown } from './command-error'
import { printLine } from './output'

interface Start {
  readonly event: JobEvent
  readonly at: number
}

/** Prints a line for the start and the end of each job of a runtime. */
export class JobLog {
  /** A job whose lock was lost ends elsewhere, unseen: it stays here until the worker closes. */
  readonly #starts = new Map<string | null, Start>()

  constructor(jobs: AfterJobs) {
    jobs.on('started', (event) => this.#onStart(event))
    for (const end of ['done', 'retrying', 'error'] as const) jobs.on(end, (event) => this.#onEnd(event))
  }

  /** Tells which jobs have not ended here. */
  close(): void {
    for (const { event, at } of this.#starts.values()) {
      printLine(`${nameJob(event, 'left to another worker')}${elapsed(at)}`)
    }
    this.#starts.clear()
  }

  #onStart(event: JobEvent): void {
    this.#starts.set(event.token, { event, at: performance.now() })
    printLine(`${nameJob(event, event.event)}${event.attempt > 1 ? `, attempt ${event.attempt}` : ''}`)
  }

  #onEnd(event: JobEvent): void {
    // Nothing is known of a job that ended before it started: cancelled, or refused by the queue.
    const start = this.#starts.get(event.token)
    this.#starts.delete(event.token)
    printLine(`${nameJob(event, event.event)}${start ? elapsed(start.at) : ''}${describeFailure(event)}`)
  }
}

function nameJob({ token, service, hook, id }: JobEvent, what: string): string {
  // Quoted, so that a text as an id cannot pass for what follows it.
  return `${token === null ? 'no token' : shorten(token)} ${what} ${service}.${hook} ${JSON.stringify(id)}`
}

function elapsed(since: number): string {
  return ` after ${Math.round(performance.now() - since)} ms`
}

function describeFailure({ event, token, code, error }: JobEvent): string {
  if (event === 'done') return ''
  const message = describeThrown(error)
  const text = token === null ? message : message.replaceAll(token, shorten(token))
  return code === undefined ? `: ${text}` : `: ${code}: ${text}`
}

/** Whoever reads a whole token in a log can follow the job. */
function shorten(token: string): string {
  return token.slice(0, 8)
}

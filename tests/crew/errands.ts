import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import {
  type AfterJobs,
  type AfterJobsMethods,
  attachAfterJobs,
  type JobContext,
  JobError,
  type ProgressReporter,
} from 'after-jobs'
import { type Entry, Journal } from './journal'

/** When a step is left out: after so many starts of the job, crashes and attempts alike, or after so many attempts. */
interface Condition {
  readonly starts?: number
  readonly attempts?: number
}

/** One thing to do. */
export type Step = Condition &
  (
    | { readonly do: 'tick'; readonly count: number; readonly ms: number }
    | { readonly do: 'set'; readonly percent: number }
    /** Waits until a test opens the gate, or the job is aborted. */
    | { readonly do: 'wait'; readonly gate: string }
    /** Stops the event loop. */
    | { readonly do: 'block'; readonly ms: number }
    | { readonly do: 'die' }
    | { readonly do: 'throw'; readonly message: string }
    /** Throws a JobError. */
    | { readonly do: 'refuse'; readonly message: string }
    /** Starts another errand under a dedupe key. */
    | { readonly do: 'order'; readonly steps: readonly Step[]; readonly dedupe: string }
    | { readonly do: 'return'; readonly result: string }
  )

/** What a job is told to do. */
export interface Errand {
  readonly steps: readonly Step[]
}

/** One start of a job, as its steps see it. */
interface Start {
  /** 1 for the first. */
  readonly number: number
  readonly progress: ProgressReporter
  readonly job: JobContext<Errand>
}

/** The folder through which a test and the workers, which share nothing else, know of each other. */
export class Playground {
  readonly journal: Journal
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
    this.journal = new Journal(join(folder, 'journal'))
  }

  openGate(name: string): void {
    writeFileSync(join(this.#folder, `${name}.gate`), '')
  }

  isGateOpen(name: string): boolean {
    return existsSync(join(this.#folder, `${name}.gate`))
  }
}

/** A service whose hook does what its payload says, and notes in the journal how it went. */
class ErrandRunner {
  readonly #playground: Playground

  constructor(playground: Playground) {
    this.#playground = playground
  }

  async afterRunJob(id: string | number, token: string, progress: ProgressReporter, job: JobContext<Errand>) {
    const { journal } = this.#playground
    const note = (event: Entry['event'], reason?: unknown) => {
      journal.note({ token, id, attempt: job.attempt, event, ...(reason !== undefined && { reason: String(reason) }) })
    }
    note('started')
    progress.signal.addEventListener('abort', () => note('aborted', progress.signal.reason))
    try {
      const result = await this.#follow({ number: this.#countStarts(job), progress, job })
      note('ended')
      return { result }
    } catch (error) {
      note('threw', error)
      throw error
    }
  }

  async afterRunJobFailed(id: string | number, token: string, error: Error, { attempt }: JobContext) {
    this.#playground.journal.note({ token, id, attempt, event: 'compensated', reason: error.message })
  }

  /** The journal is read only where it matters, because it may be long. */
  #countStarts({ token, payload }: JobContext<Errand>): number {
    const matters = payload.steps.some(({ starts }) => starts !== undefined)
    return matters ? this.#playground.journal.find(token, 'started').length : 1
  }

  async #follow(start: Start): Promise<string | null> {
    const { attempt, payload } = start.job
    let result: string | null = null
    for (const step of payload.steps) {
      if (start.number > (step.starts ?? start.number) || attempt > (step.attempts ?? attempt)) continue
      result = (await this.#take(step, start)) ?? result
    }
    return result
  }

  async #take(step: Step, { progress }: Start): Promise<string | undefined> {
    switch (step.do) {
      case 'tick':
        return tickAlong(progress, step.count, step.ms)
      case 'set':
        return void progress.set(step.percent)
      case 'wait':
        return this.#waitFor(step.gate, progress.signal)
      case 'block':
        return block(step.ms)
      case 'die':
        return die()
      case 'throw':
        throw new Error(step.message)
      case 'refuse':
        throw new JobError(step.message)
      case 'order':
        return this.#order(step.steps, step.dedupe)
      case 'return':
        return step.result
      default:
        return step satisfies never
    }
  }

  async #waitFor(gate: string, signal: AbortSignal): Promise<undefined> {
    while (!this.#playground.isGateOpen(gate)) {
      signal.throwIfAborted()
      await pause(10)
    }
  }

  /** As the mixin gave it the method. */
  async #order(steps: readonly Step[], dedupe: string): Promise<string | undefined> {
    const self = this as this & AfterJobsMethods
    return self.executeJob('after', 'run', 'ordered', { payload: { steps }, dedupe })
  }
}

async function tickAlong(progress: ProgressReporter, count: number, ms: number): Promise<undefined> {
  for await (const _ of progress.each(Array.from({ length: count }))) await pause(ms)
}

function die(): undefined {
  process.kill(process.pid, 'SIGKILL')
  // The signal comes from the system, which may take a moment.
  return block(1_000)
}

/** Stops the event loop without keeping a processor busy, which the other processes need. */
function block(ms: number): undefined {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** Makes the service: in the process that starts errands, and in those that run them. */
export function makeErrands(jobs: AfterJobs, playground: Playground) {
  return attachAfterJobs(new ErrandRunner(playground), { jobs, name: ERRANDS })
}

/** The name of the service in the queue. */
export const ERRANDS = 'errands'

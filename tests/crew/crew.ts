import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import type { AfterJobs, JobOptions, JobStatus } from 'after-jobs'
import { type SpyLogger, spyLogger } from '../engine/support/spies'
import { type Errand, makeErrands, Playground, type Step } from './errands'
import type { Entry, Journal } from './journal'
import { makeRuntime, type Setting } from './runtime'
import { until } from './until'
import { WorkerProcess } from './worker-process'

/** A process that starts jobs and reads their statuses (this one), and the workers that run them. */
export class Crew {
  readonly setting: Setting
  readonly logger: SpyLogger = spyLogger()
  readonly jobs: AfterJobs
  readonly workers: WorkerProcess[] = []
  readonly #folder = mkdtempSync(join(tmpdir(), 'after-jobs-crew-'))
  readonly #playground = new Playground(this.#folder)
  readonly #errands: ReturnType<typeof makeErrands>

  constructor(setting: Omit<Setting, 'prefix'>) {
    this.setting = { prefix: `crew-${randomUUID().slice(0, 8)}`, ...setting }
    this.jobs = makeRuntime(this.setting, this.logger)
    this.#errands = makeErrands(this.jobs, this.#playground)
  }

  get journal(): Journal {
    return this.#playground.journal
  }

  /** Adds a worker, and resolves when it works. */
  addWorker(concurrency = 1): Promise<WorkerProcess> {
    return this.launchWorker(concurrency).ready()
  }

  /** Adds a worker without waiting for it. */
  launchWorker(concurrency: number): WorkerProcess {
    const worker = new WorkerProcess({ ...this.setting, folder: this.#folder, concurrency })
    this.workers.push(worker)
    return worker
  }

  /** Starts a job that takes these steps. */
  async start(steps: readonly Step[], options: JobOptions & { id?: string | number } = {}): Promise<string> {
    const { id = 1, ...own } = options
    const payload: Errand = { steps }
    return (await this.#errands.executeJob('after', 'run', id, { payload, ...own })) as string
  }

  /** Starts so many jobs in one call. */
  startMany(steps: readonly Step[], count: number, options: JobOptions = {}): Promise<string[]> {
    const ids = Array.from({ length: count }, (_, id) => id)
    return this.#errands.executeJobs('after', 'run', ids, { payload: { steps }, ...options })
  }

  openGate(name: string): void {
    this.#playground.openGate(name)
  }

  /** Resolves when the journal tells so many of these events. */
  async happened(token: string, event: Entry['event'], count = 1, limit?: number): Promise<Entry[]> {
    return until(
      `${count} × ${event}`,
      () => {
        const entries = this.journal.find(token, event)
        return entries.length >= count && entries
      },
      limit,
    )
  }

  /** Resolves with the first status that is as wanted; a cache that is away meanwhile is borne. */
  async sees(token: string, isWanted: (status: JobStatus) => boolean, limit?: number): Promise<JobStatus> {
    let last: unknown
    const look = async (): Promise<JobStatus | undefined> => {
      try {
        const status = await this.jobs.status(token)
        last = status
        return isWanted(status) ? status : undefined
      } catch (error) {
        last = error
        return undefined
      }
    }
    return until('such status', look, limit).catch((error) => {
      throw new Error(`${error.message} The last one: ${inspect(last)}`)
    })
  }

  /** Resolves with the final status. */
  ended(token: string, limit?: number): Promise<JobStatus> {
    return this.sees(token, ({ status }) => status === 'done' || status === 'error', limit)
  }

  /** Resolves when nothing waits in the queue, and nothing runs. */
  async isIdle(): Promise<void> {
    await until('idle queue', async () => {
      const { waiting, active, queue } = await this.jobs.health()
      return queue === 'up' && waiting + active === 0
    })
  }

  /** Ends everything. */
  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.kill()))
    await this.jobs.close({ grace: 0 })
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

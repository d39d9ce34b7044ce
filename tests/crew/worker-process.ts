import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import type { Logger } from 'after-jobs'
import { until } from './until'
import type { WorkerSetting } from './worker'

/** What a worker has logged. */
export interface WorkerLine {
  readonly at: number
  readonly level: keyof Logger
  readonly message: string
  readonly error?: string
}

const ROOT = resolve(import.meta.dirname, '../..')
const SCRIPT = join(import.meta.dirname, 'worker.ts')

/** The parent's hold on a worker. */
export class WorkerProcess {
  readonly lines: WorkerLine[] = []
  readonly #child: ChildProcess
  #stderr = ''

  constructor(setting: WorkerSetting) {
    this.#child = fork(SCRIPT, [JSON.stringify(setting)], {
      cwd: ROOT,
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json') },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    this.#child.on('message', (line) => this.lines.push(line as WorkerLine))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** What it complained of past its logger, such as an uncaught error. */
  get stderr(): string {
    return this.#stderr
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Resolves when it has begun to work. */
  async ready(): Promise<this> {
    await until('worker that is ready', () => {
      if (!this.isAlive) throw new Error(`The worker ended before it was ready:\n${this.stderr}`)
      return this.lines.some(({ message }) => message === 'worker ready')
    })
    return this
  }

  /** Ends it without a last word. */
  kill(): Promise<void> {
    return this.#end('SIGKILL')
  }

  /** Asks it to end. */
  stop(): Promise<void> {
    return this.#end('SIGTERM')
  }

  /** Resolves when it has ended. */
  async exited(): Promise<void> {
    if (this.isAlive) await once(this.#child, 'exit')
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const exited = this.exited()
    this.#child.kill(signal)
    await exited
  }
}

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import type { JobRecord } from '../../../src/core/status'
import type { Finisher } from '../../crew/shared-engine'
import type { Answer, CacheSetting, Errand } from './cache-runner'

const ROOT = resolve(import.meta.dirname, '../../..')
const SCRIPT = join(import.meta.dirname, 'cache-runner.ts')

/** A cache in a process of its own. */
export class CacheProcess {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  #stderr = ''

  constructor({ onTestFinished }: Finisher, setting: CacheSetting) {
    this.#child = fork(SCRIPT, [JSON.stringify(setting)], {
      execArgv: ['--import', 'tsx'],
      env: { ...process.env, TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json') },
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.#exited = once(this.#child, 'exit')
    onTestFinished(() => this.kill())
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  get stderr(): string {
    return this.#stderr
  }

  /** Resolves when it has loaded what it needs, and has used nothing. */
  async ready(): Promise<this> {
    await this.#heard()
    return this
  }

  read(token: string): Promise<Answer> {
    return this.#ask({ do: 'read', token })
  }

  write(token: string, record: JobRecord): Promise<Answer> {
    return this.#ask({ do: 'write', token, record })
  }

  /** Writes one record after the other until it dies, and tells each token when it is written. */
  async writeOn(onWritten: (token: string) => void): Promise<void> {
    this.#child.on('message', (answer: Answer) => onWritten(String(answer.value)))
    this.#child.send({ do: 'write on' } satisfies Errand)
    await once(this.#child, 'message')
  }

  /** Closes the cache and ends. */
  async close(): Promise<void> {
    if (!this.#isAlive) return
    this.#child.send({ do: 'close' } satisfies Errand)
    await this.#exited
  }

  /** Ends it without a last word. */
  async kill(): Promise<void> {
    if (!this.#isAlive) return
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  get #isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  async #ask(errand: Errand): Promise<Answer> {
    this.#child.send(errand)
    return this.#heard()
  }

  async #heard(): Promise<Answer> {
    const [answer] = (await Promise.race([
      once(this.#child, 'message'),
      this.#exited.then(() => {
        throw new Error(`The process ended:\n${this.#stderr}`)
      }),
    ])) as [Answer]
    return answer
  }
}

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { findFreePort } from '../../crew/free-port'

/** What a server is started with. It keeps nothing on disk unless told. */
export interface RedisOptions {
  /** Writes each change to the disk before it is answered, so that not even SIGKILL loses one. */
  appendonly?: boolean
  /** The only user that may log in; needs a password. */
  user?: string
  password?: string
  /** Further directives of a redis.conf, by name: `{ maxmemory: '5mb' }`. */
  directives?: Readonly<Record<string, string>>
}

const BINARY = 'redis-server'
const READY = 'Ready to accept connections'
/** The longest that a server may take to load its file and to listen. */
const START_LIMIT = 10_000

/** Servers that have a process or a folder. */
const servers = new Set<RedisServer>()

/** Tells whether a server can be started here. */
export function isRedisInstalled(): boolean {
  return spawnSync(BINARY, ['--version'], { stdio: 'ignore' }).status === 0
}

/** A Redis of our own, on a free port and in a temporary folder, which can be stopped, killed and frozen. */
export class RedisServer {
  readonly name = 'Redis'
  readonly #options: RedisOptions
  #folder: string | undefined
  #port = 0
  #process: ChildProcess | undefined

  constructor(options: RedisOptions = {}) {
    this.#options = options
  }

  get port(): number {
    if (this.#port === 0) throw new Error('The Redis server was not started.')
    return this.#port
  }

  /** With user and password, where it has them. */
  get url(): string {
    const { user = '', password } = this.#options
    const login = password === undefined ? '' : `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`
    return `redis://${login}127.0.0.1:${this.port}`
  }

  get isUp(): boolean {
    return this.#process !== undefined
  }

  /** Starts it on a free port; resolves when it accepts connections. */
  async start(): Promise<this> {
    if (this.#folder !== undefined) throw new Error('The Redis server was started already; restart() keeps its data.')
    this.#folder = mkdtempSync(join(tmpdir(), 'after-jobs-redis-'))
    servers.add(this)
    this.#port = await findFreePort()
    await this.#launch()
    return this
  }

  /** Asks it to end, as an administrator would. */
  async stop(): Promise<void> {
    this.thaw()
    await this.#end('SIGTERM')
  }

  /** Ends it without a last word. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  /** Starts it again on the same port, with what it has on disk; one that still runs is killed first. */
  async restart(): Promise<void> {
    await this.kill()
    await this.#launch()
  }

  /** Stops its process: connections stay open, and nothing is answered. */
  freeze(): void {
    this.#process?.kill('SIGSTOP')
  }

  /** Lets a frozen one go on; it then answers what it was asked meanwhile. */
  thaw(): void {
    this.#process?.kill('SIGCONT')
  }

  /** Empties it. */
  async flush(): Promise<void> {
    await this.ask((client) => client.flushall())
  }

  /** Opens a connection for one question. */
  async ask<T>(question: (client: Redis) => Promise<T>): Promise<T> {
    const client = new Redis(this.url)
    try {
      return await question(client)
    } finally {
      client.disconnect()
    }
  }

  /** Ends it and removes its folder. May be called twice. */
  async close(): Promise<void> {
    await this.kill()
    this.discard()
  }

  /** Does at once what can be done at once: for the end of this process. */
  discard(): void {
    this.#process?.kill('SIGKILL')
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true })
    servers.delete(this)
  }

  async #launch(): Promise<void> {
    const process = spawn(BINARY, this.#arguments(), { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#process = process
    process.once('exit', () => {
      if (this.#process === process) this.#process = undefined
    })
    await becomesReady(process)
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const process = this.#process
    if (process === undefined) return
    const exited = once(process, 'exit')
    process.kill(signal)
    await exited
  }

  #arguments(): string[] {
    const { appendonly = false, user, password, directives = {} } = this.#options
    const log = appendonly ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no']
    const own = Object.entries(directives).flatMap(([name, value]) => [`--${name}`, value])
    const place = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.#folder ?? '']
    return [...place, '--save', '', ...log, ...login(user, password), ...own]
  }
}

// A test run that is broken off leaves neither a process nor a folder.
process.once('exit', () => {
  for (const server of servers) server.discard()
})

function login(user: string | undefined, password: string | undefined): string[] {
  if (password === undefined) return []
  if (user === undefined) return ['--requirepass', password]
  return ['--user', 'default', 'off', '--user', user, 'on', `>${password}`, '~*', '&*', '+@all']
}

/** Resolves when the server says so; what it says is read to the end, because a full pipe would block it. */
function becomesReady(process: ChildProcess): Promise<void> {
  let output = ''
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => reject(new Error(`The Redis server ${reason}:\n${output}`))
    const timer = setTimeout(() => fail('did not become ready'), START_LIMIT)
    process.once('error', reject)
    process.once('exit', () => fail('ended before it was ready'))
    process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      if (output.includes(READY)) return
      output += text
      if (!output.includes(READY)) return
      clearTimeout(timer)
      resolve()
    })
  })
}

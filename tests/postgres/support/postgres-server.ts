import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { findFreePort } from '../../crew/free-port'

/** What a server is started with. Its disk is not waited for unless told. */
export interface PostgresOptions {
  /** Waits for the disk at each commit, as a server of users does. */
  durable?: boolean
  /** Further lines of a postgresql.conf, by name: `{ max_connections: '20' }`. */
  directives?: Readonly<Record<string, string>>
}

const READY = 'database system is ready to accept connections'
/** Where Debian and its kin keep the programs, which are not on the PATH there. */
const USUAL_PLACE = '/usr/lib/postgresql'
/** Who may run a server where we are root, which may not. */
const SERVANTS = ['postgres', 'nobody']
/** The longest that a server may take to recover and to listen. */
const START_LIMIT = 30_000

/** Processes of the server may still be at it when its folder is removed. */
const REMOVAL = { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }

/** Servers that have a process or a folder. */
const servers = new Set<PostgresServer>()

const binaries = findBinaries()

/** Tells whether a server can be started here. */
export function isPostgresInstalled(): boolean {
  return binaries !== undefined
}

/** A PostgreSQL of our own, on a free port and in a temporary folder, which can be stopped, killed and frozen. */
export class PostgresServer {
  readonly #options: PostgresOptions
  readonly #identity = findIdentity()
  #folder: string | undefined
  #port = 0
  #process: ChildProcess | undefined

  constructor(options: PostgresOptions = {}) {
    this.#options = options
  }

  get port(): number {
    if (this.#port === 0) throw new Error('The PostgreSQL server was not started.')
    return this.#port
  }

  get url(): string {
    return this.urlOf('postgres')
  }

  /** The URL for a user, who may log in without a password. */
  urlOf(user: string): string {
    return `postgres://${user}@127.0.0.1:${this.port}/postgres`
  }

  get isUp(): boolean {
    return this.#process !== undefined
  }

  /** Makes its database and starts it on a free port; resolves when it accepts connections. */
  async start(): Promise<this> {
    if (this.#folder !== undefined) throw new Error('The server was started already; restart() keeps its data.')
    this.#folder = mkdtempSync(join(tmpdir(), 'after-jobs-postgres-'))
    servers.add(this)
    const { uid, gid } = this.#identity
    if (uid !== undefined && gid !== undefined) chownSync(this.#folder, uid, gid)
    const form = ['-D', this.#data, '-U', 'postgres', '--auth=trust', '-N', '-E', 'UTF8', '--locale=C']
    await promisify(execFile)(join(binaries ?? '', 'initdb'), form, { ...this.#identity, cwd: this.#folder })
    this.#port = await findFreePort()
    await this.#launch()
    return this
  }

  /** Asks it to end, as an administrator would: connections are cut, and what was committed is on its disk. */
  async stop(): Promise<void> {
    this.thaw()
    await this.#end('SIGINT')
  }

  /** Ends it in the mode `immediate`: without a last word, so that it must recover when it starts again. */
  async crash(): Promise<void> {
    this.thaw()
    await this.#end('SIGQUIT')
  }

  /** Ends it as the system would, with all its processes. */
  async kill(): Promise<void> {
    const children = this.#children()
    const ended = this.#end('SIGKILL')
    for (const child of children) signal(child, 'SIGKILL')
    await ended
  }

  /** Starts it again on the same port, with what it has on disk; one that still runs is killed first. */
  async restart(): Promise<void> {
    await this.kill()
    await this.#launch()
  }

  /** Stops its processes: connections stay open, and nothing is answered. */
  freeze(): void {
    this.#process?.kill('SIGSTOP')
    for (const child of this.#children()) signal(child, 'SIGSTOP')
  }

  /** Lets a frozen one go on; it then answers what it was asked meanwhile. */
  thaw(): void {
    for (const child of this.#children()) signal(child, 'SIGCONT')
    this.#process?.kill('SIGCONT')
  }

  /** Opens a connection for one question. */
  async ask<T>(question: (client: Client) => Promise<T>): Promise<T> {
    const client = new Client({ connectionString: this.url })
    await client.connect()
    try {
      return await question(client)
    } finally {
      await client.end()
    }
  }

  /** Ends it and removes its folder. May be called twice. */
  async close(): Promise<void> {
    await this.kill()
    // Not at once: a neighbour in this process may be measuring time.
    if (this.#folder !== undefined) await rm(this.#folder, REMOVAL)
    servers.delete(this)
  }

  /** Does at once what can be done at once: for the end of this process. */
  discard(): void {
    const children = this.#children()
    this.#process?.kill('SIGKILL')
    for (const child of children) signal(child, 'SIGKILL')
    if (this.#folder !== undefined) rmSync(this.#folder, REMOVAL)
    servers.delete(this)
  }

  get #data(): string {
    return join(this.#folder ?? '', 'data')
  }

  async #launch(): Promise<void> {
    const end = Date.now() + START_LIMIT
    for (;;) {
      const process = spawn(join(binaries ?? '', 'postgres'), this.#arguments(), {
        ...this.#identity,
        cwd: this.#folder,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      this.#process = process
      process.once('exit', () => {
        if (this.#process === process) this.#process = undefined
      })
      const trouble = await becomesReady(process)
      if (trouble === undefined) return
      // Processes of the one that was killed take a moment to find out.
      if (!/shared memory/.test(trouble) || Date.now() > end) throw new Error(`The PostgreSQL server ${trouble}`)
      await pause(100)
    }
  }

  async #end(name: NodeJS.Signals): Promise<void> {
    const process = this.#process
    if (process === undefined) return
    const exited = once(process, 'exit')
    process.kill(name)
    await exited
  }

  #children(): number[] {
    const pid = this.#process?.pid
    if (pid === undefined) return []
    const table = execFileSync('ps', ['-A', '-o', 'pid=,ppid=']).toString().trim().split('\n')
    return table.flatMap((line) => {
      const [child, parent] = line.trim().split(/\s+/).map(Number)
      return child !== undefined && parent === pid ? child : []
    })
  }

  #arguments(): string[] {
    const { durable = false, directives = {} } = this.#options
    // What was committed outlives the server in any case, as long as the machine lives.
    const disk = durable ? {} : { fsync: 'off', full_page_writes: 'off' }
    const lines = Object.entries({ listen_addresses: '127.0.0.1', ...disk, ...directives })
    const own = lines.flatMap(([name, value]) => ['-c', `${name}=${value}`])
    return ['-D', this.#data, '-p', String(this.port), '-k', this.#folder ?? '', ...own]
  }
}

// A test run that is broken off leaves neither a process nor a folder.
process.once('exit', () => {
  for (const server of servers) server.discard()
})

function findBinaries(): string | undefined {
  const versions = existsSync(USUAL_PLACE) ? readdirSync(USUAL_PLACE) : []
  const newest = versions.toSorted((a, b) => Number(b) - Number(a)).map((version) => join(USUAL_PLACE, version, 'bin'))
  const works = (folder: string) =>
    ['postgres', 'initdb'].every((name) => spawnSync(join(folder, name), ['--version']).status === 0)
  return ['', ...newest].find(works)
}

function findIdentity(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  for (const name of SERVANTS) {
    const [uid, gid] = ['-u', '-g'].map((flag) => spawnSync('id', [flag, name]).stdout?.toString().trim())
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) }
  }
  return {}
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}

/** Resolves when the server says so, or to why not; what it says is read to the end, because a full pipe would block it. */
function becomesReady(process: ChildProcess): Promise<string | undefined> {
  let output = ''
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(`did not become ready:\n${output}`), START_LIMIT)
    process.once('error', reject)
    process.once('close', () => {
      clearTimeout(timer)
      resolve(`ended before it was ready:\n${output}`)
    })
    process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      if (output.includes(READY)) return
      output += text
      if (!output.includes(READY)) return
      clearTimeout(timer)
      resolve(undefined)
    })
  })
}

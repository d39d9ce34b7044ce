import { AfterJobsError, reasonOf } from '../core/errors'
import { withTimeLimit } from '../core/timer'
import { borrow, CALL_LIMIT, type Connection, isReady as isConnectionReady, type Lease } from './connections'
import { loadPeer } from './peer'
import { createReadiness } from './readiness'

/** The commands of a record, on whatever connection. */
export interface RecordClient {
  readonly isOpen: boolean
  /** A cluster does not say. */
  readonly isReady?: boolean
  hGetAll(key: string): Promise<Record<string, string>>
  /** Takes the words of a command as a list; a cluster wants to be told more before. Absent where it would be no quicker. */
  sendCommand?(words: never, ...rest: never[]): Promise<unknown>
  evalSha(sha: string, options: ScriptOptions): Promise<unknown>
  eval(script: string, options: ScriptOptions): Promise<unknown>
}

/** What `redisCache` needs of a node-redis client, single or cluster, as `@keyv/redis` brings it. */
export interface RedisClientLike extends RecordClient {
  connect(): Promise<unknown>
  on(event: 'error', listener: (error: Error) => void): unknown
  once(event: 'ready', listener: () => void): unknown
  destroy(): void
}

interface OpenClient {
  readonly client: RecordClient
  /** Whether it ends a call by itself that takes too long. */
  readonly isBounded: boolean
  nextReady(): Promise<void>
}

/** The keys of a script, and its arguments. */
export interface ScriptOptions {
  keys: string[]
  arguments: string[]
}

/** What each client last complained of. */
const troubles = new WeakMap<RedisClientLike, { last: Error | undefined }>()

/**
 * Calls to a Redis, each with its time limit: at a URL, or through a client that is there already, which stays open. Where a
 * queue of this process has a connection to the URL, that one is used, so that a job and its record share their writes.
 */
export class RedisCalls {
  readonly #url: string | undefined
  readonly #given: RedisClientLike
  #own: RedisClientLike | undefined
  #lease: Lease | undefined
  #opened: Promise<OpenClient> | undefined
  /** What is open: most calls need no step more than their own. */
  #current: OpenClient | undefined
  /** Tells what the client last complained of. */
  #readTrouble: () => Error | undefined = () => undefined
  #isClosed = false

  constructor(url: string | undefined, given: RedisClientLike) {
    this.#url = url
    this.#given = given
  }

  /** @throws AfterJobsError `CACHE_UNAVAILABLE`, saying what could not be done. */
  call<T>(what: () => string, run: (client: RecordClient) => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(unavailable(what, new Error('it is closed')))
    return this.#runInTime(run).catch((error) => {
      throw AfterJobsError.is(error) ? error : unavailable(what, error)
    })
  }

  /** Closes the client that was opened here. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#lease?.giveBack()
    if (this.#own?.isOpen) this.#own.destroy()
  }

  #runInTime<T>(run: (client: RecordClient) => Promise<T>): Promise<T> {
    const current = this.#current
    const client = current !== undefined && isReady(current.client) ? current.client : undefined
    if (client !== undefined && current?.isBounded) return run(client)
    let isOver = false
    const late = () => {
      isOver = true
      return this.#makeLateError()
    }
    const answer = client === undefined ? this.#openAndRun(run, () => isOver) : run(client)
    return withTimeLimit(answer, CALL_LIMIT, late)
  }

  async #openAndRun<T>(run: (client: RecordClient) => Promise<T>, isOver: () => boolean): Promise<T> {
    this.#opened ??= this.#open().catch((error) => {
      this.#opened = undefined
      throw error
    })
    this.#current = await this.#opened
    const { client, nextReady } = this.#current
    if (!isReady(client)) await nextReady()
    // Its caller was told that it failed.
    if (isOver()) throw new Error('it came too late')
    return run(client)
  }

  async #open(): Promise<OpenClient> {
    if (this.#url === undefined) return this.#connect(this.#given)
    const shared = await this.#share(this.#url)
    if (shared !== undefined) return shared
    this.#own ??= await createOwnClient(this.#url)
    // Closed while the package was being loaded.
    if (this.#isClosed) throw new Error('it is closed')
    return this.#connect(this.#own)
  }

  async #share(url: string): Promise<OpenClient | undefined> {
    this.#lease ??= borrow(url)
    // Without the package its queue says so.
    const opened = await this.#lease?.open().catch(() => undefined)
    if (opened === undefined) return undefined
    this.#readTrouble = () => opened.trouble
    const { connection, nextReady } = opened
    // Of a cluster, only the nodes have a limit.
    return { client: adapt(connection), isBounded: connection.isCluster !== true, nextReady }
  }

  async #connect(client: RedisClientLike): Promise<OpenClient> {
    this.#readTrouble = hearTrouble(client)
    if (!client.isOpen) await client.connect()
    return { client, isBounded: false, nextReady: createReadiness(client) }
  }

  #makeLateError(): Error {
    const isOut = this.#current === undefined || !isReady(this.#current.client)
    const trouble = this.#readTrouble()
    const reason = isOut && trouble !== undefined ? ` (${reasonOf(trouble)})` : ''
    return new Error(`Redis gave no answer within ${CALL_LIMIT} ms${reason}`, { cause: trouble })
  }
}

/** Answers what tells the last trouble of a client, which has one listener, however often it is tried. */
function hearTrouble(client: RedisClientLike): () => Error | undefined {
  const known = troubles.get(client)
  if (known !== undefined) return () => known.last
  const trouble: { last: Error | undefined } = { last: undefined }
  troubles.set(client, trouble)
  // Without a listener an outage would end the process.
  client.on('error', (error) => {
    trouble.last = error
  })
  return () => trouble.last
}

async function createOwnClient(url: string): Promise<RedisClientLike> {
  const { createClient } = await loadPeer('@keyv/redis', () => import('@keyv/redis'))
  const reconnectStrategy = (retries: number) => Math.min(50 * 2 ** retries, 1_000)
  const socket = { connectTimeout: 1_000, reconnectStrategy }
  // What it kept for later would be carried out long after its caller was told that it failed.
  const client = createClient({ url, socket, disableOfflineQueue: true })
  return client as unknown as RedisClientLike
}

/** Shows a connection of ioredis as a client of node-redis. */
function adapt(connection: Connection): RecordClient {
  const scriptOf = (script: string, { keys, arguments: words }: ScriptOptions) => [
    script,
    `${keys.length}`,
    ...keys,
    ...words,
  ]
  return {
    get isOpen() {
      return connection.status !== 'end'
    },
    get isReady() {
      return isConnectionReady(connection)
    },
    hGetAll: (key) => connection.hgetall(key),
    evalSha: (sha, options) => connection.evalsha(scriptOf(sha, options)),
    eval: (script, options) => connection.eval(scriptOf(script, options)),
  }
}

function isReady(client: RecordClient): boolean {
  return client.isReady ?? client.isOpen
}

function unavailable(what: () => string, cause: unknown): AfterJobsError {
  const message = `redisCache could not ${what()}: ${reasonOf(cause)}. Check that Redis is up.`
  return new AfterJobsError('CACHE_UNAVAILABLE', message, { cause })
}

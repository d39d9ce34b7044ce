import { AfterJobsError, reasonOf } from '../core/errors'
import { withTimeLimit } from '../core/timer'
import { type CorkableStream, joinWrites } from './joined-writes'
import { loadPeer } from './peer'
import { createReadiness } from './readiness'

/** What {@link redisQueue} needs of an ioredis connection, single or cluster: a pattern from which it makes its own. */
export interface RedisLike {
  readonly status: string
  readonly isCluster?: boolean
  duplicate(...options: never[]): unknown
}

/** A connection of ioredis, as far as it is used here. */
export interface Connection extends RedisLike {
  /** Of a cluster, `redisOptions` holds those of its nodes: user, password, TLS. */
  readonly options: { readonly redisOptions?: object }
  duplicate(options: object): Connection
  duplicate(nodes: undefined, options: object): Connection
  publish(channel: string, message: string): Promise<number>
  subscribe(channel: string): Promise<unknown>
  exists(key: string): Promise<number>
  hgetall(key: string): Promise<Record<string, string>>
  evalsha(words: readonly string[]): Promise<unknown>
  eval(words: readonly string[]): Promise<unknown>
  on(event: 'error', listener: (error: Error) => void): unknown
  on(event: 'message', listener: (channel: string, message: string) => void): unknown
  on(event: 'connect', listener: () => void): unknown
  once(event: 'ready', listener: () => void): unknown
  /** A cluster has none of its own. */
  readonly stream?: CorkableStream
  disconnect(): void
}

/** A connection with what it tells of itself. */
export interface OpenConnection {
  readonly connection: Connection
  nextReady(): Promise<void>
  /** What the connection last complained of. */
  trouble: Error | undefined
}

/** What a connection is for. `ask`: calls that must end soon. `work`: those that outlast any outage. `hear`: announcements. */
export type Purpose = 'ask' | 'work' | 'hear'

// Said although most are ioredis's defaults, because a connection that is there already may have others.
const COMMON = {
  enableOfflineQueue: true,
  autoResubscribe: true,
  retryStrategy: (times: number) => Math.min(50 * 2 ** times, 1_000),
}
/** Milliseconds that a call may take which somebody waits for: less than the 3 s in which a status must be told. */
export const CALL_LIMIT = 2_500
// Without these limits a call would wait for Redis for ever, and be carried out long after its caller was told that it failed.
const ASKING = { ...COMMON, maxRetriesPerRequest: 1, commandTimeout: CALL_LIMIT, connectTimeout: 2_000 }
// A worker waits for its next job in a command without an end.
const WORKING = { ...COMMON, maxRetriesPerRequest: null, commandTimeout: undefined }
const OPTIONS: Record<Purpose, object> = { ask: ASKING, work: WORKING, hear: WORKING }

/** How long a call waits for a connection, in milliseconds. */
const READY_LIMIT = 2_000

/** The connections of one queue: each is made when it is first needed, and kept. */
export interface Connections {
  get(purpose: Purpose): Promise<Connection>
  /** Resolves once the connection that asks can take a command. @throws AfterJobsError `QUEUE_UNAVAILABLE` after 2 s. */
  ready(): Promise<void>
  /** Lends the connection that asks; it then stays open until it was given back, too. */
  lend(): Lease
  close(): void
}

/** The use of a queue's connection by its neighbour. */
export interface Lease {
  open(): Promise<OpenConnection>
  /** May be called twice. */
  giveBack(): void
}

/** Those of the newest queue at each URL. */
const offered = new Map<string, Connections>()

/** Finds a connection to this URL that a queue of this process has, or will have: what both send in one turn leaves in one write. */
export function borrow(url: string): Lease | undefined {
  return offered.get(url)?.lend()
}

/** Makes connections to a URL, or like one that is there already, which stays as it is. */
export function openConnections(target: string | RedisLike, onError: (error: Error) => void): Connections {
  const opened = new Map<Purpose, Promise<OpenConnection>>()
  const leases = new Set<Lease>()
  let isClosed = false

  function openOnce(purpose: Purpose): Promise<OpenConnection> {
    const known = opened.get(purpose) ?? openConnection(target, OPTIONS[purpose], onError)
    opened.set(purpose, known)
    if (isClosed) disconnectUnused()
    return known
  }

  function disconnectUnused(): void {
    for (const [purpose, opening] of opened) {
      if (purpose !== 'ask' || leases.size === 0) disconnect(opening)
    }
  }

  const connections: Connections = {
    get: async (purpose) => (await openOnce(purpose)).connection,
    async ready() {
      const opened = await openOnce('ask')
      if (!isReady(opened.connection)) await withTimeLimit(opened.nextReady(), READY_LIMIT, () => tooLate(opened))
    },
    lend() {
      const lease: Lease = {
        open: () => openOnce('ask'),
        giveBack() {
          leases.delete(lease)
          if (isClosed) disconnectUnused()
        },
      }
      leases.add(lease)
      return lease
    },
    close() {
      isClosed = true
      if (typeof target === 'string' && offered.get(target) === connections) offered.delete(target)
      disconnectUnused()
    },
  }
  if (typeof target === 'string') offered.set(target, connections)
  return connections
}

function disconnect(opening: Promise<OpenConnection>): void {
  opening.then(
    ({ connection }) => connection.disconnect(),
    () => {},
  )
}

async function openConnection(
  target: string | RedisLike,
  options: object,
  onError: (error: Error) => void,
): Promise<OpenConnection> {
  const connection = typeof target === 'string' ? await connect(target, options) : copy(target as Connection, options)
  const opened: OpenConnection = { connection, nextReady: createReadiness(connection), trouble: undefined }
  connection.on('error', (error) => {
    opened.trouble = error
    onError(error)
  })
  joinWrites(connection)
  return opened
}

async function connect(url: string, options: object): Promise<Connection> {
  const { Redis } = await loadPeer('ioredis', () => import('ioredis'))
  const Maker = Redis as unknown as new (...words: readonly unknown[]) => Connection
  // Options first, which is how they win: a limit in the URL would be a text, of which ioredis makes no clock.
  return new Maker(options, url)
}

function copy(connection: Connection, options: object): Connection {
  if (connection.isCluster !== true) return connection.duplicate(options)
  return connection.duplicate(undefined, { redisOptions: { ...connection.options.redisOptions, ...options } })
}

function tooLate({ trouble }: OpenConnection): AfterJobsError {
  const reason = trouble === undefined ? '' : ` (${reasonOf(trouble)})`
  return unavailable(new Error(`there was no connection within ${READY_LIMIT} ms${reason}`, { cause: trouble }))
}

/** Tells whether a connection takes commands; a cluster is never more than connected. */
export function isReady({ status, isCluster }: Connection): boolean {
  return status === 'ready' || (isCluster === true && status === 'connect')
}

/** Makes the error of a queue that cannot be reached. */
export function unavailable(cause: unknown): AfterJobsError {
  if (AfterJobsError.is(cause)) return cause
  return new AfterJobsError('QUEUE_UNAVAILABLE', `The queue in Redis cannot be reached: ${reasonOf(cause)}`, { cause })
}

import { settlesWithin } from '../core/timer'
import { loadPeer } from './peer'

/** What is used of a `pg.Pool`. */
export interface PoolLike {
  connect(callback: (error: Error | undefined, client: PoolClientLike | undefined) => void): void
  query(text: string, values?: unknown[]): Promise<unknown>
  end(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** What is used of a connection out of a `pg.Pool`. */
export interface PoolClientLike {
  query(text: string | NamedQuery, values?: unknown[]): Promise<unknown>
  release(isBroken?: boolean): void
  on(event: 'error', listener: (error: Error) => void): unknown
}

/** A statement that its connection keeps prepared. */
export interface NamedQuery {
  name: string
  text: string
  values: unknown[]
}

/** A pool of this process, and how many use it. */
export interface SharedPool {
  readonly pool: Promise<PoolLike>
  users: number
}

/** How long closing waits for the server, in milliseconds. */
const CLOSE_LIMIT = 1_000
/** Of a pool that we make. */
const OPTIONS = {
  max: 10,
  connectionTimeoutMillis: 4_000,
  idleTimeoutMillis: 30_000,
  keepAlive: true,
  // What holds a process open is its work, not a connection that nobody uses.
  allowExitOnIdle: true,
  fallback_application_name: 'after-jobs',
}

/** The pools of this process by their URL. */
const shared = new Map<string, SharedPool>()
/** What has a listener for its errors. */
const guarded = new WeakSet<object>()

/** Without a listener a lost connection would end the process. */
export function guard<T extends Pick<PoolLike, 'on'>>(emitter: T): T {
  if (guarded.has(emitter)) return emitter
  guarded.add(emitter)
  emitter.on('error', () => {})
  return emitter
}

/** Takes a connection. Not by a promise: one that is lost in the moment it is made would have no listener yet. */
export function takeClient(pool: PoolLike): Promise<PoolClientLike> {
  return new Promise((resolve, reject) => {
    pool.connect((error, client) => (client === undefined ? reject(error) : resolve(guard(client))))
  })
}

/** Joins those who use the pool of a URL. */
export function joinPool(url: string): SharedPool {
  const known = shared.get(url) ?? { pool: makePool(url), users: 0 }
  // Where the package is missing, the next call is to look again.
  known.pool.catch(() => shared.delete(url))
  known.users++
  shared.set(url, known)
  return known
}

/** Leaves a pool, which is closed with the last of its users. */
export async function leavePool(url: string, pool: SharedPool): Promise<void> {
  if (--pool.users > 0) return
  if (shared.get(url) === pool) shared.delete(url)
  const made = await pool.pool.catch(() => undefined)
  if (made !== undefined) await settlesWithin(made.end(), CLOSE_LIMIT)
}

async function makePool(url: string): Promise<PoolLike> {
  const { Pool } = await loadPeer('pg', () => import('pg'))
  return guard(new Pool({ connectionString: url, ...OPTIONS }))
}

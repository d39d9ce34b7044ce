import { sleep, withTimeLimit } from '../core/timer'
import type { Database } from './database-port'
import { noAnswer } from './deadline'
import { Listener } from './listener'
import { guard, joinPool, leavePool, type PoolLike, type SharedPool, takeClient } from './pool'
import { isRefusal, sqlStateOf } from './sql-state'

interface Result<R> {
  rows: R[]
}

/** A statement that may outlast the patience of its caller. */
interface Call {
  readonly text: string
  readonly values: readonly unknown[] | undefined
  readonly limit: number
  name: string | undefined
  isOver: boolean
  /** Takes the connection of the statement out of the pool. */
  drop?: () => void
}

const DEFAULT_LIMIT = 30_000
/** How long a connection may stay silent after its caller has given up: then it is not frozen but lost, in milliseconds. */
const SILENCE_LIMIT = 10_000
/** PostgreSQL's code for what was prepared, and does not fit its table any more. */
const STALE_PLAN = '0A000'
/** How long closing waits for statements under way, in milliseconds. */
const CLOSE_LIMIT = 1_000

/** Opens a database of a server: at a URL, or by a pool that is there already. */
export function openServer(target: string | PoolLike): Database {
  return new Server(target)
}

class Server implements Database {
  readonly #target: string | PoolLike
  #shared: SharedPool | undefined
  readonly #calls = new Set<Call>()
  #listeners: Listener[] = []
  /** Whether the next statement of a connection goes where the one before went: a pooler between us may think otherwise. */
  #keepsPrepared = true
  #isClosed = false
  /** The pool once it is there: most calls need no step more than their own. */
  #known: PoolLike | undefined

  constructor(target: string | PoolLike) {
    this.#target = target
  }

  async ready(): Promise<void> {}

  query<R>(text: string, values?: readonly unknown[], limit = DEFAULT_LIMIT, name?: string): Promise<Result<R>> {
    const call: Call = { text, values, limit, name: this.#keepsPrepared ? name : undefined, isOver: false }
    return withTimeLimit(this.#run<R>(call), limit, () => giveUp(call))
  }

  listen(channel: string, onNotice: (payload: string) => void, onTrouble: (error: Error) => void): Listener {
    const listener = new Listener(() => this.#pool(), channel, { onNotice, onTrouble })
    this.#listeners.push(listener)
    return listener
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#known = undefined
    await Promise.all(this.#listeners.map((listener) => listener.close()))
    const end = Date.now() + CLOSE_LIMIT
    while (this.#calls.size > 0 && Date.now() < end) await sleep(10)
    for (const { drop } of this.#calls) drop?.()
    if (this.#shared !== undefined) await leavePool(this.#target as string, this.#shared)
  }

  async #pool(): Promise<PoolLike> {
    if (this.#isClosed) throw new Error('It is closed')
    this.#known = typeof this.#target === 'string' ? await this.#join(this.#target) : guard(this.#target)
    return this.#known
  }

  async #join(url: string): Promise<PoolLike> {
    this.#shared ??= joinPool(url)
    try {
      return await this.#shared.pool
    } catch (error) {
      this.#shared = undefined
      throw error
    }
  }

  async #run<R>(call: Call): Promise<Result<R>> {
    try {
      return await this.#runOnce<R>(call)
    } catch (error) {
      const isStale = sqlStateOf(error) === STALE_PLAN
      if (call.name === undefined || !(isStale || isUnprepared(error))) throw error
      this.#keepsPrepared &&= isStale
      call.name = undefined
      return this.#runOnce<R>(call)
    }
  }

  async #runOnce<R>(call: Call): Promise<Result<R>> {
    const { text, values, name } = call
    const client = await takeClient(this.#known ?? (await this.#pool()))
    if (call.isOver) {
      client.release()
      throw new Error('It came too late')
    }
    this.#calls.add(call)
    const release = once((isBroken?: boolean) => client.release(isBroken))
    call.drop = () => release(true)
    try {
      const isNamed = name !== undefined && values !== undefined
      const query = isNamed
        ? client.query({ name, text, values: [...values] })
        : client.query(text, values as unknown[])
      const result = await query
      release()
      return toResult<R>(result)
    } catch (error) {
      release(isBroken(error, values))
      throw error
    } finally {
      this.#calls.delete(call)
    }
  }
}

function giveUp(call: Call): Error {
  call.isOver = true
  // A frozen server may yet answer. Until then the connection counts, so that no crowd of them waits for a lock.
  setTimeout(() => call.drop?.(), SILENCE_LIMIT).unref()
  return noAnswer(call.limit)
}

/** Tells whether a statement was not run, because a pooler gave it to a connection that has not prepared it, or has already. */
function isUnprepared(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return code === '26000' || code === '42P05'
}

/** Several statements may have left a transaction open; and a plan that is stale stays with its connection. */
function isBroken(error: unknown, values: readonly unknown[] | undefined): boolean {
  return values === undefined || !isRefusal(error) || sqlStateOf(error) === STALE_PLAN
}

function toResult<R>(result: unknown): Result<R> {
  if (!Array.isArray(result)) return result as Result<R>
  return { rows: result.flatMap(({ rows }: Result<R>) => rows) }
}

function once(run: (isBroken?: boolean) => void): (isBroken?: boolean) => void {
  let isDone = false
  return (isBroken) => {
    if (isDone) return
    isDone = true
    run(isBroken)
  }
}

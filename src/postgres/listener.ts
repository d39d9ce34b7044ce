import { sleep, withTimeLimit } from '../core/timer'
import type { Listening } from './database-port'
import { noAnswer } from './deadline'
import type { PoolLike } from './pool'

/** What is used of a connection of its own. */
interface ClientLike {
  connect(): Promise<unknown>
  query(text: string, values?: unknown[]): Promise<unknown>
  end(): Promise<void>
  on(event: 'notification', listener: (notice: { payload?: string | undefined }) => void): unknown
  on(event: 'error' | 'end', listener: (error?: Error) => void): unknown
}

/** What a pool of pg tells of the connections that it makes. */
interface ClientMaker {
  readonly Client?: new (options: object) => ClientLike
  readonly options?: { readonly password?: unknown }
}

interface Ears {
  onNotice(payload: string): void
  onTrouble(error: Error): void
}

/** How long a connection may take to be made, and to answer that it lives, in milliseconds. */
const LIMIT = 4_000
/** How often it is asked whether it lives: a connection that only listens would not find out. */
const PULSE = 10_000
const LONGEST_PAUSE = 1_000

const late = () => noAnswer(LIMIT)

/** Listens on a connection of its own, because a pool may have no other. */
export class Listener implements Listening {
  readonly #getPool: () => Promise<PoolLike>
  readonly #channel: string
  readonly #ears: Ears
  readonly #closing = new AbortController()
  readonly #running: Promise<void>
  /** The connection, as long as it hears. */
  #client: ClientLike | undefined
  /** What was asked last on this connection. */
  #turn: Promise<unknown> = Promise.resolve()
  #failures = 0

  constructor(getPool: () => Promise<PoolLike>, channel: string, ears: Ears) {
    this.#getPool = getPool
    this.#channel = channel
    this.#ears = ears
    this.#running = this.#run()
  }

  query<R>(text: string, values: readonly unknown[] = []): Promise<R[]> | undefined {
    const client = this.#client
    if (client === undefined) return undefined
    // One after the other: pg is about to refuse what is asked while it answers.
    const answer = this.#turn.then(() => client.query(text, [...values])) as Promise<{ rows: R[] }>
    this.#turn = answer.catch(() => {})
    return withTimeLimit(answer, LIMIT, late).then(({ rows }) => rows)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    while (!signal.aborted) {
      await this.#hear().catch((error) => this.#fail(error))
      // Not at once, because all who listen come back at the same time.
      await sleep(Math.min(50 * 2 ** this.#failures, LONGEST_PAUSE), signal).catch(() => {})
    }
  }

  #fail(error: Error): void {
    if (this.#failures++ === 0 && !this.#closing.signal.aborted) this.#ears.onTrouble(error)
  }

  /** Rejects when the connection is lost, and resolves when it is to be closed. */
  async #hear(): Promise<void> {
    const { signal } = this.#closing
    const client = makeClient(await this.#getPool())
    const { lost, stop, lose } = watch(client)
    signal.addEventListener('abort', stop)
    let pulse: NodeJS.Timeout | undefined
    try {
      await Promise.race([lost, this.#begin(client)])
      pulse = setInterval(() => void this.query('SELECT 1')?.catch(lose), PULSE)
      if (!signal.aborted) await lost
    } finally {
      this.#client = undefined
      clearInterval(pulse)
      signal.removeEventListener('abort', stop)
      client.end().catch(() => {})
    }
  }

  async #begin(client: ClientLike): Promise<void> {
    client.on('notification', ({ payload = '' }) => this.#tell(payload))
    await client.connect()
    await withTimeLimit(client.query(`LISTEN "${this.#channel}"`), LIMIT, late)
    this.#failures = 0
    this.#turn = Promise.resolve()
    this.#client = client
    this.#tell('')
  }

  /** A connection that is being closed may still hear something. */
  #tell(payload: string): void {
    if (!this.#closing.signal.aborted) this.#ears.onNotice(payload)
  }
}

function makeClient(pool: PoolLike & ClientMaker): ClientLike {
  const { Client, options } = pool
  if (Client === undefined || options === undefined) throw new Error('The pool is none of pg, which LISTEN needs')
  // The password is hidden from whoever copies the options.
  return new Client({ connectionTimeoutMillis: LIMIT, ...options, password: options.password })
}

/** Makes a promise that rejects when the connection is lost, and resolves when nobody needs it any more. */
function watch(client: ClientLike) {
  let stop = () => {}
  let lose: (error: Error) => void = () => {}
  const lost = new Promise<void>((resolve, reject) => {
    stop = resolve
    lose = reject
  })
  client.on('error', (error) => lose(error ?? new Error('The connection failed')))
  client.on('end', () => lose(new Error('The connection ended')))
  return { lost, stop, lose }
}

import { AsyncLocalStorage } from 'node:async_hooks'
import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'

/** A job that waits for the commit, and the live service that started it. */
export interface HeldJob {
  readonly envelope: JobEnvelope
  readonly service: object
}

/** What becomes of held jobs. */
export interface TransactionOwner {
  /** Shows that they live. */
  refresh(jobs: readonly HeldJob[]): Promise<void>
  /** Hands them to the queue. Never rejects. */
  release(jobs: readonly HeldJob[]): Promise<void>
  /** Ends them, because what they were for was rolled back. Never rejects. */
  drop(jobs: readonly HeldJob[]): Promise<void>
  /** Takes jobs back that were put into the caller's own transaction. Never rejects. */
  withdraw(jobs: readonly JobEnvelope[], db: unknown): Promise<void>
}

// One for all runtimes, so that a job that is started inside another runtime's transaction is noticed.
let storage: AsyncLocalStorage<Transaction> | undefined

/**
 * Holds the jobs that are started while a function runs, until it is known whether what it wrote stays. With a connection of
 * the caller's they are put into its database transaction at once, which knows it best.
 */
export class Transaction {
  readonly #owner: TransactionOwner
  readonly #outer: Transaction | undefined
  /** The connection whose transaction decides over the jobs; `undefined` where they are held here. */
  readonly db: unknown
  #jobs: HeldJob[] = []
  #joined: JobEnvelope[] = []
  #state: 'open' | 'committed' | 'rolled back' = 'open'

  private constructor(owner: TransactionOwner, outer: Transaction | undefined, db: unknown) {
    this.#owner = owner
    this.#outer = outer
    this.db = db
  }

  /** Runs a function whose jobs wait for its end. `interval` is the time between two signs of life, in milliseconds. */
  static async run<T>(owner: TransactionOwner, interval: number, run: () => T, db?: unknown): Promise<Awaited<T>> {
    storage ??= new AsyncLocalStorage()
    const outer = storage.getStore()
    const transaction = new Transaction(owner, outer, db ?? outer?.dbFor(owner))
    const beat = setInterval(() => owner.refresh(transaction.#jobs), interval)
    beat.unref()
    try {
      // Awaited inside, so that a function that throws at once rolls back like one that rejects.
      const result = await storage.run(transaction, async () => run())
      await transaction.#end('committed')
      return result
    } catch (error) {
      await transaction.#end('rolled back')
      throw error
    } finally {
      clearInterval(beat)
    }
  }

  /**
   * Finds the transaction that a job of this owner waits for; `undefined` outside of any.
   *
   * @throws AfterJobsError `WRONG_TRANSACTION` inside another runtime's, or after a rollback.
   */
  static find(owner: TransactionOwner, hook: string): Transaction | undefined {
    const innermost = storage?.getStore()
    let isForeign = false
    for (let found = innermost; found !== undefined; found = found.#outer) {
      if (found.#owner === owner) return found.#check(hook)
      isForeign ||= found.#state === 'open'
    }
    if (!isForeign) return undefined
    const message = `${hook} was started inside the transaction of another runtime. Give the service that runtime, or open one of its own.`
    throw new AfterJobsError('WRONG_TRANSACTION', message)
  }

  /** Tells whether a job of this owner would be put into a database transaction of the caller's. */
  static isJoined(owner: TransactionOwner): boolean {
    return storage?.getStore()?.dbFor(owner) !== undefined
  }

  /** The connection of the innermost transaction of an owner that has not ended, from here outward. */
  dbFor(owner: TransactionOwner): unknown {
    return this.#owner === owner && this.#state === 'open' ? this.db : this.#outer?.dbFor(owner)
  }

  hold(job: HeldJob): void {
    this.#jobs.push(job)
  }

  /** Remembers jobs that are in the caller's transaction, in case this function rejects and that goes on. */
  join(envelopes: readonly JobEnvelope[]): void {
    for (const envelope of envelopes) this.#joined.push(envelope)
  }

  /** What was not awaited may come when all is over: then it goes by what became of the transactions around it. */
  #check(hook: string): Transaction | undefined {
    const outer = this.#state === 'open' ? this : this.#outward()
    if (outer === undefined || outer.#state === 'open') return outer
    const message = `${hook} was started after its transaction had been rolled back. Await everything inside of it.`
    throw new AfterJobsError('WRONG_TRANSACTION', message)
  }

  /** An inner success passes its jobs outward, because the outer rollback takes its rows with it. */
  async #end(state: 'committed' | 'rolled back'): Promise<void> {
    this.#state = state
    if (this.#joined.length > 0) await this.#endJoined()
    if (this.#jobs.length === 0) return
    const outer = this.#outward()
    if (outer === undefined) await storage?.exit(() => this.#owner.release(this.#jobs))
    else if (outer.#state === 'open') for (const job of this.#jobs) outer.hold(job)
    else await this.#owner.drop(this.#jobs)
    // Only now: until then they are shown to be alive.
    this.#jobs = []
  }

  /** The commit decides over them; but a function that rejects inside of one that goes on takes its own along. */
  async #endJoined(): Promise<void> {
    const decisive = this.#outward()
    if (decisive === undefined || decisive.db !== this.db) return
    if (decisive.#state === 'open') decisive.join(this.#joined)
    else await this.#owner.withdraw(this.#joined, this.db)
  }

  /** Finds the transaction that decides over this one's jobs; `undefined` where everything has been committed. */
  #outward(): Transaction | undefined {
    let found: Transaction | undefined = this
    while (found !== undefined && (found.#owner !== this.#owner || found.#state === 'committed')) found = found.#outer
    return found
  }
}

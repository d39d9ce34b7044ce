import { AfterJobsError, reasonOf } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import { withTimeLimit } from '../core/timer'
import type { TransactionalQueue } from '../ports/queue'
import { toCaller } from './caller'
import { noAnswer } from './deadline'
import { type Engine, QUERY_LIMIT } from './engine'
import { type Ask, addJobs } from './insertion'
import { sqlStateOf } from './sql-state'

/** What jobs are put into transactions of the caller's with. */
export interface JoinedParts {
  /** Answers the engine, which may have to be opened: the caller may hold what that waits for. @throws AfterJobsError */
  readonly getEngine: () => Promise<Engine>
  readonly pollInterval: number
  /** Is told what the database refused. */
  readonly onRefused: (error: unknown) => void
}

/** Serialization failures and deadlocks: the same transaction may succeed when it is repeated. */
const PASSING = /^40/

/** Says why a job cannot be put into a transaction that may stand in the way of the opening. */
export function notOpen(): AfterJobsError {
  const message =
    'The queue has not been opened yet, and cannot be while transactions hold every connection. Await jobs.health() once before the first transaction'
  return new AfterJobsError('QUEUE_UNAVAILABLE', message)
}

/** Puts jobs into transactions of the caller's, over whose connection nothing is sent for a call that nobody waits for. */
export class JoinedJobs implements TransactionalQueue {
  readonly #parts: JoinedParts

  constructor(parts: JoinedParts) {
    this.#parts = parts
  }

  enqueueMany(envelopes: readonly JobEnvelope[], db: unknown, limit: number): Promise<string[]> {
    const { pollInterval } = this.#parts
    return this.#join(db, limit, (engine, ask) => addJobs(engine, ask, envelopes, pollInterval))
  }

  async withdraw(tokens: readonly string[], db: unknown, limit: number): Promise<void> {
    await this.#join(db, limit, ({ statements }, ask) => ask(statements.withdraw, [JSON.stringify(tokens)]))
  }

  #join<T>(db: unknown, limit: number, work: (engine: Engine, ask: Ask) => Promise<T>): Promise<T> {
    const time = Math.min(limit, QUERY_LIMIT)
    let isOver = false
    let engine: Engine | undefined
    const join = async () => {
      const caller = await toCaller(db)
      engine = await this.#parts.getEngine()
      return work(engine, async <R>(text: string, values: readonly unknown[]) => {
        if (isOver) throw new Error('It came too late')
        return caller<R>(text, values).catch((error) => this.#refuse(error))
      })
    }
    return withTimeLimit(join(), time, () => {
      isOver = true
      const silent = new AfterJobsError('QUEUE_UNAVAILABLE', noAnswer(time).message)
      return engine === undefined ? notOpen() : silent
    })
  }

  #refuse(cause: unknown): never {
    if (AfterJobsError.is(cause)) throw cause
    this.#parts.onRefused(cause)
    const advice = PASSING.test(sqlStateOf(cause) ?? '') ? 'Roll it back, and repeat it' : 'Roll it back'
    const message = `The transaction did not take the job: ${reasonOf(cause)}. ${advice}.`
    throw new AfterJobsError('ENQUEUE_FAILED', message, { cause })
  }
}

import { Chain } from '../core/chain'
import type { JobAnswer, JobConsumer, JobRun } from '../ports/queue'
import { Delivery, type TakenRow } from './delivery'
import { QUERY_LIMIT } from './engine'
import { type AnswerRow, Outbox } from './outbox'
import { type ConsumerParts, Upkeep } from './upkeep'

/** The pause before a database that was away is asked for jobs again, in milliseconds. */
const RETRY_PAUSE = 1_000
/** How long a look for jobs may take at the most, in milliseconds: on a dead connection the worker stands still as long. */
const TAKE_LIMIT = 10_000
/** A timer may be so early, in milliseconds, and the database would say that nothing is due. */
const JITTER = 1
/** The answer for a job that came when nobody took any more. */
const UNTOUCHED: JobAnswer = { type: 'handed back', delay: 0 }

/** Takes jobs, as many as it has room for, runs them, and answers for them. */
export class Consumer implements JobConsumer {
  readonly #parts: ConsumerParts
  readonly #run: JobRun
  readonly #concurrency: number
  readonly #held = new Chain<Delivery>()
  readonly #outbox: Outbox
  readonly #upkeep: Upkeep
  /** The bodies that run. A job is held for longer: until its answer was stored. */
  #running = 0
  #isTaking = false
  /** Whether something has happened since the last look into the queue. */
  #isWoken = false
  #pause: NodeJS.Timeout | undefined
  #isClosing = false
  #closing: Promise<void> | undefined
  #onEmpty: () => void = () => {}

  constructor(parts: ConsumerParts, run: JobRun, concurrency: number) {
    this.#parts = parts
    this.#run = run
    this.#concurrency = concurrency
    this.#outbox = new Outbox((rows) => this.#send(rows), parts.onTrouble)
    this.#upkeep = new Upkeep(parts, this.#held)
  }

  /** Begins to take jobs. */
  start(): void {
    this.#upkeep.start(this.#concurrency)
    this.wake()
  }

  /** Looks for jobs now. */
  wake(): void {
    this.#isWoken = true
    if (!this.#isTaking && !this.#isClosing) void this.#take()
  }

  /** Takes one job and runs it to its answer; `false` when none is due. */
  async takeOne(): Promise<boolean> {
    // Whatever wakes it: it takes no other.
    this.#isClosing = true
    await Promise.all([this.#upkeep.recover(), this.#upkeep.sweep()])
    const { deliveries } = await this.#fetch(1, QUERY_LIMIT)
    const [delivery] = deliveries
    if (delivery === undefined) return false
    this.#upkeep.renew()
    await this.#deliver(delivery).finally(() => this.#upkeep.stop())
    return true
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Answers for nothing any more. */
  abandon(): void {
    this.#outbox.abandon()
    this.#upkeep.stop()
    clearTimeout(this.#pause)
  }

  async #close(): Promise<void> {
    this.#isClosing = true
    clearTimeout(this.#pause)
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve
    })
    this.#checkEmpty()
    await empty
    await this.#upkeep.leave()
  }

  #checkEmpty(): void {
    if (this.#isClosing && !this.#isTaking && this.#held.size === 0) this.#onEmpty()
  }

  /** One look after the other, as long as there is room and something to take. */
  async #take(): Promise<void> {
    this.#isTaking = true
    clearTimeout(this.#pause)
    let wait = 0
    while (wait === 0 && !this.#isClosing && this.#running < this.#concurrency) wait = await this.#takeSome()
    this.#isTaking = false
    // Where there is no room, the end of a job is what wakes it.
    if (wait > 0 && !this.#isClosing) this.#pause = setTimeout(() => this.wake(), wait)
    this.#checkEmpty()
  }

  /** Answers how long to wait before the next look. */
  async #takeSome(): Promise<number> {
    this.#isWoken = false
    try {
      // The jobs of a look that is given up and carried out all the same are stranded until their locks end.
      const limit = Math.max(QUERY_LIMIT, Math.min(TAKE_LIMIT, this.#parts.settings.lockDuration / 2))
      const { deliveries, wait } = await this.#fetch(this.#concurrency - this.#running, limit)
      for (const delivery of deliveries) {
        void (this.#isClosing ? this.#answer(delivery, UNTOUCHED) : this.#deliver(delivery))
      }
      if (deliveries.length > 0 || this.#isWoken) return 0
      return Math.min(wait + JITTER, this.#parts.settings.pollInterval)
    } catch (error) {
      this.#parts.onTrouble(error)
      return RETRY_PAUSE
    }
  }

  async #fetch(count: number, limit: number): Promise<{ deliveries: Delivery[]; wait: number }> {
    const { engine, settings } = this.#parts
    const { statements, query } = engine
    const rows = await query<TakenRow & { wait: number | null }>(statements.take, [count, settings.lockDuration], limit)
    const free = async (delivery: Delivery) => {
      const [row] = await query<{ place: string }>(statements.start, [delivery.token, delivery.number])
      if (row !== undefined) delivery.place = row.place
    }
    const deliveries = rows.flatMap((row) => (row.token === null ? [] : new Delivery(row, free)))
    for (const delivery of deliveries) this.#held.push(delivery)
    return { deliveries, wait: Math.max(0, rows[0]?.wait ?? Number.POSITIVE_INFINITY) }
  }

  /** Runs a job; there is room for the next one when its body has ended, and before its answer is stored. */
  async #deliver(delivery: Delivery): Promise<void> {
    this.#running++
    const answer = await this.#run(delivery.envelope, delivery)
    this.#running--
    // In the turn in which the answers are sent, so that the jobs that end together make room together.
    setImmediate(() => this.wake())
    await this.#answer(delivery, answer)
  }

  async #answer(delivery: Delivery, answer: JobAnswer): Promise<void> {
    await this.#outbox.answer(delivery, answer)
    this.#held.delete(delivery)
    this.#checkEmpty()
  }

  async #send(rows: readonly AnswerRow[]): Promise<void> {
    const { engine, settings } = this.#parts
    const { statements, query } = engine
    const isNear = rows.some(({ delay = Number.POSITIVE_INFINITY }) => delay <= settings.pollInterval)
    const ask = async (statement: string, open: readonly AnswerRow[]) => {
      const answered = await query<{ token: string }>(statement, [JSON.stringify(open), isNear ? 'tell' : ''])
      const tokens = new Set(answered.map(({ token }) => token))
      return open.filter(({ token }) => !tokens.has(token))
    }
    const moved = await ask(statements.answer, rows)
    if (moved.length > 0) await ask(statements.answerMoved, moved)
  }
}

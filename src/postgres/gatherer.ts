import { noAnswer, timeLeft } from './deadline'
import { isRefusal } from './sql-state'

/** The most that goes into one statement. */
const MOST = 1_000
/** So many statements are under way at once: with more of them, none would carry more than one call. */
const LANES = 2
/** A call that ends so soon before its statement does hears from it what was wrong, in milliseconds. */
const NEAR = 50

/** How calls are gathered. */
export interface GathererOptions {
  /** Whether a statement can be for one token twice. Default `false`. */
  mayRepeat?: boolean
  /** How many statements are under way at once. Calls keep their order in a single one. Default 2. */
  lanes?: number
}

interface Waiting<I, O> {
  readonly input: I
  /** When it is told that it came too late, by a clock that nobody sets. */
  readonly end: number
  readonly resolve: (output: O) => void
  readonly reject: (error: unknown) => void
}

/** Runs a statement for all inputs, within so many milliseconds, and answers in their order. */
type Carry<I, O> = (inputs: readonly I[], limit: number) => Promise<readonly O[]>

/**
 * Carries calls that come in the same turn, or while others are under way, in one statement: jobs that start together cost
 * one round trip. Two writes of one token never meet in a statement. A call that must wait for longer than the limit is
 * rejected, and not carried out.
 */
export class Gatherer<I extends { readonly token: string }, O> {
  readonly #carry: Carry<I, O>
  readonly #limit: number
  readonly #mayRepeat: boolean
  readonly #lanes: number
  #waiting: Waiting<I, O>[] = []
  #underWay = 0
  #timer: NodeJS.Timeout | undefined

  constructor(limit: number, carry: Carry<I, O>, { mayRepeat = false, lanes = LANES }: GathererOptions = {}) {
    this.#limit = limit
    this.#carry = carry
    this.#mayRepeat = mayRepeat
    this.#lanes = lanes
  }

  add(input: I): Promise<O> {
    return new Promise<O>((resolve, reject) => {
      this.#waiting.push({ input, end: performance.now() + this.#limit, resolve, reject })
      // After all microtasks of this turn, in which the others of the turn come.
      if (this.#waiting.length === 1) process.nextTick(() => this.#send())
    })
  }

  #send(): void {
    while (this.#underWay < this.#lanes && this.#waiting.length > 0) {
      this.#underWay++
      void this.#run(this.#takeBatch()).finally(() => {
        this.#underWay--
        this.#send()
      })
    }
    const [first] = this.#waiting
    // What keeps the process alive is the statement that it waits for.
    if (first !== undefined) this.#timer ??= setTimeout(() => this.#expel(), first.end - performance.now()).unref()
  }

  #takeBatch(): Waiting<I, O>[] {
    if (this.#mayRepeat || this.#waiting.length === 1) return this.#waiting.splice(0, MOST)
    const batch = new Map<string, Waiting<I, O>>()
    const rest: Waiting<I, O>[] = []
    for (const waiting of this.#waiting) {
      const { token } = waiting.input
      if (batch.size < MOST && !batch.has(token)) batch.set(token, waiting)
      else rest.push(waiting)
    }
    this.#waiting = rest
    return [...batch.values()]
  }

  #expel(): void {
    this.#timer = undefined
    this.#rejectLate(this.#waiting)
    this.#send()
  }

  /** Rejects those whose time is over, and takes them out: those who have waited for longest are the first. */
  #rejectLate(calls: Waiting<I, O>[]): void {
    const now = performance.now()
    const first = calls.findIndex(({ end }) => end > now)
    for (const { reject } of calls.splice(0, first < 0 ? calls.length : first)) reject(noAnswer(this.#limit))
  }

  /** A statement has the time of its youngest call: the oldest may have waited for so long that it has hardly any left. */
  async #run(batch: readonly Waiting<I, O>[]): Promise<void> {
    const end = batch.at(-1)?.end ?? 0
    const stop = this.#expelBefore(end - NEAR, batch)
    try {
      const outputs = await this.#carry(
        batch.map(({ input }) => input),
        timeLeft(end),
      )
      for (const [index, { resolve }] of batch.entries()) resolve(outputs[index] as O)
    } catch (error) {
      if (batch.length > 1 && isRefusal(error)) await this.#runApart(batch)
      else for (const { reject } of batch) reject(error)
    } finally {
      stop()
    }
  }

  /** Rejects each call of a statement that ends before a time when its own is over, until the answered function is called. */
  #expelBefore(time: number, batch: readonly Waiting<I, O>[]): () => void {
    const older = batch.filter(({ end }) => end < time)
    let timer: NodeJS.Timeout | undefined
    const wait = () => {
      const [first] = older
      if (first !== undefined) timer = setTimeout(expel, first.end - performance.now()).unref()
    }
    const expel = () => {
      this.#rejectLate(older)
      wait()
    }
    wait()
    return () => clearTimeout(timer)
  }

  /** What the database refuses must not take others with it. */
  async #runApart(batch: readonly Waiting<I, O>[]): Promise<void> {
    const open = [...batch]
    this.#rejectLate(open)
    // By halves, because one after the other would take too long, and all at once would take every connection.
    const middle = Math.ceil(open.length / 2)
    for (const half of [open.slice(0, middle), open.slice(middle)]) {
      this.#rejectLate(half)
      if (half.length > 0) await this.#run(half)
    }
  }
}

import { isRefusal } from './sql-state'

/** The most that goes into one statement. */
const MOST = 1_000
/** So many statements are under way at once: with more of them, none would carry more than one call. */
const LANES = 2

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
  #waiting: Waiting<I, O>[] = []
  #lanes = 0
  #timer: NodeJS.Timeout | undefined

  /** @param mayRepeat whether a statement can be for one token twice. */
  constructor(limit: number, carry: Carry<I, O>, { mayRepeat = false }: { mayRepeat?: boolean } = {}) {
    this.#limit = limit
    this.#carry = carry
    this.#mayRepeat = mayRepeat
  }

  add(input: I): Promise<O> {
    return new Promise<O>((resolve, reject) => {
      this.#waiting.push({ input, end: performance.now() + this.#limit, resolve, reject })
      // After all microtasks of this turn, in which the others of the turn come.
      if (this.#waiting.length === 1) process.nextTick(() => this.#send())
    })
  }

  #send(): void {
    while (this.#lanes < LANES && this.#waiting.length > 0) {
      this.#lanes++
      void this.#run(this.#takeBatch()).finally(() => {
        this.#lanes--
        this.#send()
      })
    }
    const [first] = this.#waiting
    if (first !== undefined) this.#timer ??= setTimeout(() => this.#expel(), first.end - performance.now())
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

  /** Those who have waited for longest are the first. */
  #expel(): void {
    this.#timer = undefined
    const now = performance.now()
    while (this.#waiting[0] !== undefined && this.#waiting[0].end <= now) {
      this.#waiting.shift()?.reject(new Error(`PostgreSQL gave no answer within ${this.#limit} ms`))
    }
    this.#send()
  }

  async #run(batch: readonly Waiting<I, O>[]): Promise<void> {
    try {
      const limit = Math.max(1, Math.ceil((batch[0]?.end ?? 0) - performance.now()))
      const outputs = await this.#carry(
        batch.map(({ input }) => input),
        limit,
      )
      for (const [index, { resolve }] of batch.entries()) resolve(outputs[index] as O)
    } catch (error) {
      // What the database refuses must not take others with it.
      if (batch.length > 1 && isRefusal(error)) return void (await Promise.all(batch.map((one) => this.#run([one]))))
      for (const { reject } of batch) reject(error)
    }
  }
}

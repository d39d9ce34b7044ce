/** So many rows are deleted in one statement, so that nobody waits for it. */
const SLICE = 1_000
/** A sweep rests for so many times as long as a slice took, so that the server has time for others. */
const REST = 4

/** Removes expired rows, some at a time, by a timer that holds no process open. */
export class Sweeper {
  readonly #sweep: (most: number) => Promise<number>
  readonly #interval: number
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(sweep: (most: number) => Promise<number>, interval: number) {
    this.#sweep = sweep
    this.#interval = interval
  }

  /** Begins, unless it has begun. */
  start(): void {
    // Soon, because some processes do not live for long; at random, because many start together.
    if (this.#timer === undefined) this.#arm(Math.random() * Math.min(this.#interval, 5_000))
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  #arm(ms: number): void {
    if (this.#isStopped) return
    this.#timer = setTimeout(() => void this.#run(), ms)
    this.#timer.unref()
  }

  async #run(): Promise<void> {
    const start = performance.now()
    // An outage is told by those who read and write.
    const swept = await this.#sweep(SLICE).catch(() => 0)
    const ms = performance.now() - start
    this.#arm(swept === SLICE ? ms * REST : this.#interval * (0.75 + 0.5 * Math.random()))
  }
}

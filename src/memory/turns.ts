import { nextTurn } from '../core/timer'

/** The longest that jobs without a pause of their own keep timers and sockets waiting, in milliseconds. */
const TURN = 10

/** Divides the time between jobs and the rest of the process: one clock for all slots, however many there are. */
export class Turns {
  #start = 0
  #next: Promise<void> | undefined

  /** Begins a turn, unless the last one has just been used up. */
  begin(): void {
    if (this.#next === undefined) this.#start = performance.now()
  }

  /** What to wait for when the turn is used up. */
  get pause(): Promise<void> | undefined {
    if (this.#next === undefined && performance.now() - this.#start >= TURN) this.#next = this.#giveTurn()
    return this.#next
  }

  async #giveTurn(): Promise<void> {
    await nextTurn()
    this.#next = undefined
    this.begin()
  }
}

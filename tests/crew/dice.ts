/** Random choices that can be made again from the same seed. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** From 0 up to, but without, 1: the generator known as mulberry32. */
  roll(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  /** An integer between the two, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.roll() * (high - low + 1))
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.roll() * items.length)]
  }
}

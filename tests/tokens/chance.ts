/** Makes a random function that gives the same numbers for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Stands in for a database: answers those who wait in random order, some turns of the event loop later. */
export class SlowDatabase {
  readonly #random: () => number
  #waiting: (() => void)[] = []

  constructor(random: () => number) {
    this.#random = random
  }

  /** Takes no turn at all, a few microtasks, or some turns of the event loop. */
  async query(): Promise<void> {
    const kind = this.#random()
    if (kind < 0.2) return
    if (kind < 0.4) for (let hops = this.#random() * 5; hops > 0; hops--) await null
    else await new Promise<void>((resolve) => this.#enter(resolve))
  }

  #enter(resolve: () => void): void {
    if (this.#waiting.push(resolve) === 1) setImmediate(() => this.#answerSome())
  }

  #answerSome(): void {
    const [later, now]: [(() => void)[], (() => void)[]] = [[], []]
    for (const resolve of this.#waiting) (this.#random() < 0.5 ? later : now).push(resolve)
    this.#waiting = later
    if (later.length > 0) setImmediate(() => this.#answerSome())
    for (const resolve of shuffle(now, this.#random)) resolve()
  }
}

export function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .toSorted((a, b) => a.rank - b.rank)
    .map(({ item }) => item)
}

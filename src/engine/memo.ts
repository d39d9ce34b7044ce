/** Remembers answers for a while, so that many who ask the same thing cost one question. Holds so many at most. */
export class Memo<K, V> {
  readonly #answers = new Map<K, { until: number; value: Promise<V> }>()
  readonly #capacity: number

  constructor(capacity = 10_000) {
    this.#capacity = capacity
  }

  get(key: K, ms: number, ask: () => Promise<V>): Promise<V> {
    const known = this.#answers.get(key)
    if (known !== undefined && Date.now() < known.until) return known.value
    const value = ask()
    // Taken out first, so that the order of the Map is the order of asking, and the first is the oldest.
    this.#answers.delete(key)
    this.#answers.set(key, { until: Date.now() + ms, value })
    if (this.#answers.size > this.#capacity) this.#answers.delete(this.#answers.keys().next().value as K)
    return value
  }

  delete(key: K): void {
    this.#answers.delete(key)
  }
}

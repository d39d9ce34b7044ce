/** Wakes those who wait for something under a key, and brings them the news: a token's next record, or the end of work. */
export class Bell<K, V = void> {
  readonly #waiting = new Map<K, Set<(news: V) => void>>()

  ring(key: K, news: V): void {
    if (this.#waiting.size === 0) return
    for (const wake of this.#waiting.get(key) ?? []) wake(news)
  }

  /** Listens until the answered function is called. */
  listen(key: K, wake: (news: V) => void): () => void {
    const waiting = this.#waiting.get(key) ?? new Set()
    this.#waiting.set(key, waiting)
    waiting.add(wake)
    return () => {
      waiting.delete(wake)
      if (waiting.size === 0 && this.#waiting.get(key) === waiting) this.#waiting.delete(key)
    }
  }
}

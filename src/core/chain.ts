/** What stands in a chain: it knows its neighbours, so that it can leave from the middle at once, and takes no room of its own. */
export interface Link<T extends Link<T>> {
  chain: Chain<T> | undefined
  before: T | undefined
  after: T | undefined
}

/**
 * A list that each of its members can leave in constant time. A member stands in one chain at most. For what comes and goes with
 * each job it is cheaper than a Map, whose old tables keep what they once held until V8's next major collection.
 */
export class Chain<T extends Link<T>> {
  #first: T | undefined
  #last: T | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T): void {
    item.chain = this
    item.before = this.#last
    if (this.#last === undefined) this.#first = item
    else this.#last.after = item
    this.#last = item
    this.#size++
  }

  shift(): T | undefined {
    const item = this.#first
    if (item !== undefined) this.delete(item)
    return item
  }

  delete(item: T): void {
    const { before, after } = item
    if (before === undefined) this.#first = after
    else before.after = after
    if (after === undefined) this.#last = before
    else after.before = before
    item.chain = undefined
    item.before = undefined
    item.after = undefined
    this.#size--
  }

  *[Symbol.iterator](): Generator<T, void, void> {
    for (let item = this.#first; item !== undefined; item = item.after) yield item
  }
}

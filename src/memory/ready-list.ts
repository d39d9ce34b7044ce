import { Chain, type Link } from '../core/chain'

/** Orders what may start now: higher priorities first, equal ones in order of arrival. Each call takes constant time. */
export class ReadyList<T extends Link<T>> {
  readonly #lanes = new Map<number, Chain<T>>()
  /** The priorities that have a lane, highest first. */
  #priorities: number[] = []
  #size = 0

  get size(): number {
    return this.#size
  }

  push(item: T, priority: number): void {
    const lane = this.#lanes.get(priority) ?? this.#openLane(priority)
    lane.push(item)
    this.#size++
  }

  shift(): T | undefined {
    for (const priority of this.#priorities) {
      const lane = this.#lanes.get(priority)
      const item = lane?.shift()
      if (lane?.size === 0 && priority !== 0) this.#closeLane(priority)
      if (item === undefined) continue
      this.#size--
      return item
    }
    return undefined
  }

  /** Takes an item out; answers whether it stood here. */
  delete(item: T, priority: number): boolean {
    const lane = this.#lanes.get(priority)
    if (lane === undefined || item.chain !== lane) return false
    lane.delete(item)
    if (lane.size === 0 && priority !== 0) this.#closeLane(priority)
    this.#size--
    return true
  }

  *[Symbol.iterator](): Generator<T, void, void> {
    for (const lane of this.#lanes.values()) yield* lane
  }

  #openLane(priority: number): Chain<T> {
    const lane = new Chain<T>()
    this.#lanes.set(priority, lane)
    this.#priorities = [...this.#lanes.keys()].sort((a, b) => b - a)
    return lane
  }

  #closeLane(priority: number): void {
    this.#lanes.delete(priority)
    this.#priorities = this.#priorities.filter((other) => other !== priority)
  }
}

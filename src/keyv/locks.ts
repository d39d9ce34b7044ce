/** Runs a function while no other one runs for any of the same keys, in the order of the calls. */
export type Locks = <T>(keys: readonly string[], run: () => Promise<T>) => Promise<T>

// By store, because two caches of one process may share one, as a test's web server and worker do.
const LOCKS = new WeakMap<object, Locks>()

/**
 * Finds the mutexes of a store, one per key, for this process. A run that has not ended after `limit` milliseconds no longer
 * keeps the others waiting: its store may never answer.
 */
export function locksOf(store: object, limit: number): Locks {
  const locks = LOCKS.get(store) ?? createLocks(limit)
  LOCKS.set(store, locks)
  return locks
}

function createLocks(limit: number): Locks {
  const tails = new Map<string, Promise<void>>()

  return async (keys, run) => {
    // All turns are taken in this one tick, so that two calls for the same keys cannot wait for each other.
    const ahead = keys.map((key) => tails.get(key))
    const turn = openTurn()
    for (const key of keys) tails.set(key, turn.ended)
    const release = () => {
      turn.end()
      for (const key of keys) if (tails.get(key) === turn.ended) tails.delete(key)
    }
    await Promise.all(ahead)
    const timer = setTimeout(release, limit)
    timer.unref()
    try {
      return await run()
    } finally {
      clearTimeout(timer)
      release()
    }
  }
}

function openTurn(): { ended: Promise<void>; end: () => void } {
  let end = () => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return { ended, end }
}

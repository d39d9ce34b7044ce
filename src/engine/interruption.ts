import { isThenable, unlessAborted } from '../core/timer'

/** Tells whether a loop is to go on. */
interface Interruption {
  /** Made with the first look: most loops never wait for anything. */
  readonly signal: AbortSignal
}

/** Answers what can be iterated over like the items, and throws the signal's reason also while it waits for one of them. */
export function interruptible<T>(
  items: Iterable<T> | AsyncIterable<T>,
  host: Interruption,
): Iterable<T> | AsyncIterable<T> {
  return isAsync(items) ? untilAborted(items, host.signal) : eachUntilAborted(items, host)
}

function isAsync<T>(items: Iterable<T> | AsyncIterable<T>): items is AsyncIterable<T> {
  return Symbol.asyncIterator in Object(items)
}

/** Counts what can be counted without iterating. */
export function countOf(items: object): unknown {
  const { length, size } = items as { length?: unknown; size?: unknown }
  return typeof length === 'number' ? length : size
}

/** Iterates over what may be promises, for which a loop that awaits would wait also when the job is aborted. */
function* eachUntilAborted<T>(items: Iterable<T>, host: Interruption): Generator<T, void, void> {
  for (const item of items) yield (isThenable(item) ? unlessAborted(item, host.signal) : item) as T
}

/** Iterates over a source, and throws the signal's reason also while the source is thinking. */
async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, void> {
  const iterator = items[Symbol.asyncIterator]()
  try {
    for (;;) {
      // Before it is asked for the next item, which would be lost.
      signal.throwIfAborted()
      const next = await unlessAborted(iterator.next(), signal)
      if (next.done) return
      yield next.value
    }
  } finally {
    // Not awaited: a source that hangs would hang here again.
    iterator.return?.()?.then(undefined, () => {})
  }
}

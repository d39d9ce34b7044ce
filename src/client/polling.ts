const MIN_INTERVAL = 500
const MAX_INTERVAL = 1500
/** The least pause in a hidden tab: nobody is looking. */
const HIDDEN_PAUSE = 5000
const BACKOFF_FACTOR = 1.5
const MAX_BACKOFF = 10_000
/** The longest that one request may take. */
export const REQUEST_LIMIT = 10_000

/**
 * What one request brought: a value, or none, which is a reason to ask again after a growing pause; and the pause that the
 * server asked for, in milliseconds, 0 for one that leaves the pace alone.
 */
export type Answer<T> = [value?: T | undefined, retryAfter?: number]

/**
 * Asks until it has the last value: one request at a time, each for 10 s at most, then a pause. Where it can follow something
 * that tells by itself, it asks only when that is in trouble.
 *
 * @param interval The pause in milliseconds, kept between 500 and 1500.
 * @param isLast Gets each value.
 * @param follow Resolves with the last value, or with whether it is worth another try; `undefined`: not now.
 * @throws `signal.reason` when the signal aborts; what `ask` or `isLast` throws.
 */
export async function poll<T extends object>(
  ask: (limit: AbortSignal) => Promise<Answer<T>>,
  interval: number,
  signal: AbortSignal,
  isLast: (value: T) => boolean,
  follow?: () => Promise<T | boolean> | undefined,
): Promise<T> {
  // Not Math.max, which would keep NaN and so poll without a pause.
  const pace = interval > MIN_INTERVAL ? Math.min(interval, MAX_INTERVAL) : MIN_INTERVAL
  let pause = pace
  let isWorthIt = true
  let isReachable = true
  for (;;) {
    let retryAfter = 0
    const following: Promise<T | boolean> | undefined = isWorthIt && isReachable ? follow?.() : undefined
    if (following) {
      const end: T | boolean = await following
      if (typeof end === 'object') return end
      isWorthIt = end
      // Until an answer shows that the server is there again.
      isReachable = false
      pause = pace
    } else {
      const [value, wait] = (await within(REQUEST_LIMIT, signal, ask)) ?? []
      if (value && isLast(value)) return value
      isReachable ||= Boolean(value)
      pause = value ? pace : Math.min(pause * BACKOFF_FACTOR, MAX_BACKOFF)
      retryAfter = wait ?? 0
    }
    await rest(pause, retryAfter, signal)
  }
}

/** Finds the page. Outside browsers there is none, whatever the DOM's types say. */
export function findPage(): Document | undefined {
  return globalThis.document
}

/**
 * Rests for `ms` milliseconds, longer in a hidden tab, but then only until the tab is shown again. A pause that the server
 * asked for is kept in any case.
 */
function rest(ms: number, retryAfter: number, signal: AbortSignal): Promise<undefined> {
  const page = findPage()
  const isHidden = page?.visibilityState === 'hidden'
  return within(Math.max(ms, retryAfter, isHidden ? HIDDEN_PAUSE : 0), signal, (limit, stop) => {
    if (isHidden && !retryAfter) page.addEventListener('visibilitychange', stop, { signal: limit })
    return undefined
  })
}

/**
 * Waits for `work`, but no longer than `ms` milliseconds, or until the signal aborts, or until `work` calls `stop`; leaves
 * neither timer nor listener behind. The limit that `work` gets aborts when the wait ends without it.
 *
 * @returns what `work` resolved to, or `undefined` when the wait ended without it.
 * @throws `signal.reason` when the signal had aborted before; what `work` rejected with.
 */
export function within<T>(
  ms: number,
  signal: AbortSignal,
  work: (limit: AbortSignal, stop: () => void) => Promise<T> | undefined,
): Promise<T | undefined> {
  signal.throwIfAborted()
  const limit = new AbortController()
  const stop = (): void => limit.abort()
  const timer = setTimeout(stop, ms)
  signal.addEventListener('abort', stop)
  return new Promise<T | undefined>((resolve, reject) => {
    // A fetch that does not heed its signal must not hold up the watch.
    limit.signal.onabort = () => resolve(undefined)
    work(limit.signal, stop)?.then(resolve, reject)
  }).finally(() => {
    clearTimeout(timer)
    signal.removeEventListener('abort', stop)
  })
}

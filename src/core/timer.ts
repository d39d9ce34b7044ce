/** The longest wait that a timer of Node or a browser can take; a longer one would fire at once. */
export const MAX_TIMER: number = 2 ** 31 - 1

/** A running timer. */
export interface Timer {
  stop(): void
  /** Sets whether the timer keeps the process alive. */
  hold(isHolding: boolean): void
}

/** Calls back after `ms` milliseconds, of which there may be more than a platform timer can take. */
export function startTimer(ms: number, callback: () => void): Timer {
  const end = Date.now() + ms
  let isHolding = true
  const arm = (): ReturnType<typeof setTimeout> => {
    const left = end - Date.now()
    const handle = left > MAX_TIMER ? setTimeout(rearm, MAX_TIMER) : setTimeout(callback, Math.max(0, left))
    if (!isHolding) handle.unref?.()
    return handle
  }
  const rearm = () => {
    handle = arm()
  }
  let handle = arm()
  return {
    stop: () => clearTimeout(handle),
    hold(isNowHolding) {
      isHolding = isNowHolding
      if (isHolding) handle.ref?.()
      else handle.unref?.()
    },
  }
}

const { setImmediate: startSoon } = globalThis

/** Gives the event loop a turn: timers fire and sockets are served. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    // A test's fake timers may bring the turn about, but must not hold up what no time is to pass for.
    const fake = setImmediate === startSoon ? undefined : setImmediate(resolve)
    startSoon(() => {
      clearImmediate(fake)
      resolve()
    })
  })
}

/** Tells whether a promise settles within `ms` milliseconds. */
export function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const isSettled = () => true
  return withTimeLimit(promise.then(isSettled, isSettled), ms, Error).catch(() => false)
}

/**
 * Settles as the promise does, or rejects after `ms` milliseconds with what `makeError` makes. What the promise does later
 * is ignored.
 */
export function withTimeLimit<T>(promise: Promise<T>, ms: number, makeError: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(makeError()), Math.min(ms, MAX_TIMER))
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Resolves after `ms` milliseconds, or rejects with the signal's reason. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const onAbort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
}

/** Settles as the promise does, or rejects with the signal's reason as soon as that aborts. */
export function unlessAborted<T>(promise: PromiseLike<T>, signal: AbortSignal): Promise<Awaited<T>> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort)
    Promise.resolve(promise)
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}

/** Asks for the shape: a promise of another realm (vm, Jest) is no instance of this one's. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

import { constants } from 'node:os'

/** The part of `process` that listens, and ends it. */
export interface SignalTarget {
  on(name: 'SIGTERM' | 'SIGINT', listener: (name: 'SIGTERM' | 'SIGINT') => void): unknown
  exit(code: number): void
}

/**
 * A Ctrl-C reaches the whole foreground group, and `npm` and `npx` may pass theirs on: one stroke, two signals. In
 * milliseconds; nobody strikes twice within.
 */
const ECHO = 100

/** Answers a signal that aborts with the first SIGTERM or SIGINT. The second one ends the process at once. */
export function listenForSignals(target: SignalTarget, isTerminal: boolean): AbortSignal {
  const stop = new AbortController()
  let first = 0
  const onSignal = (name: 'SIGTERM' | 'SIGINT') => {
    const now = performance.now()
    if (!stop.signal.aborted) {
      first = now
      stop.abort(name)
    } else if (!isTerminal || now - first > ECHO) {
      target.exit(128 + constants.signals[name])
    }
  }
  target.on('SIGTERM', onSignal)
  target.on('SIGINT', onSignal)
  return stop.signal
}

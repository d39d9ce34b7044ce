/**
 * Formats a span of time for a progress display: `42s`, and from 60 s on `mm:ss`. Minutes keep counting past an hour.
 *
 * @param ms Milliseconds, rounded down to whole seconds; what is negative or no finite number counts as 0.
 * @example
 * formatElapsed(42_000) // '42s'
 * formatElapsed(65_000) // '01:05'
 */
export function formatElapsed(ms: number): string {
  const seconds = ms > 0 && ms < Infinity ? Math.floor(ms / 1000) : 0
  if (seconds < 60) return `${seconds}s`
  const minutes = String(Math.floor(seconds / 60)).padStart(2, '0')
  return `${minutes}:${String(seconds % 60).padStart(2, '0')}`
}

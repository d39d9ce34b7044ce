import type { JobStatusRecord } from '../core/runtime'

/** The longest pause that a watcher of a job that may move is asked for, in seconds. */
const STANDING = 5
/** The longest pause while a job waits for its time: it may be cancelled before. */
const DELAYED = 30

/**
 * Says after how many seconds a job that has not ended is worth asking for again: 1 while it moves, up to 5 while it stands
 * still, up to 30 while it is not due.
 *
 * A job moves if it was written within the last second. One that was not stands still for as long as it has been silent, or
 * as one of its percent has taken so far, whichever is longer. The second is there for the sign of life, which refreshes
 * `updatedAt` every 5 s although nothing is new: after it a poll comes early once, not a pause that starts anew.
 */
export function secondsUntilNews(record: Exclude<JobStatusRecord, { status: 'unknown' }>, now: number): number {
  const { status, progress, startedAt, updatedAt, dueAt } = record
  if (status === 'pending' && dueAt != null && dueAt > now) return between(1, dueAt - now, DELAYED)
  // A job that waits for a worker is silent since it was due.
  const silence = now - Math.max(updatedAt, dueAt ?? 0)
  if (silence < 1000) return 1
  const percent = status === 'running' && startedAt !== null ? (now - startedAt) / (progress + 1) : 0
  return between(1, Math.max(silence, percent), STANDING)
}

function between(least: number, ms: number, most: number): number {
  return Math.min(most, Math.max(least, Math.ceil(ms / 1000)))
}

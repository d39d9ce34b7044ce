import type { JobStatus } from '../core/status'

/** Tells how long a job has taken. */
export interface Stopwatch {
  /** Learns from a status. */
  heed(status: JobStatus): void
  /** Milliseconds since the job was created, by now or until its end. */
  elapsed(): number
}

/** Starts a stopwatch that compares no two clocks: the server's may be minutes away from the browser's. */
export function createStopwatch(): Stopwatch {
  let start = performance.now()
  let total: number | undefined
  return {
    heed(status) {
      if (status.status === 'unknown') return
      // The server's own times are as old as its last write, so the earliest start that any answer admits is the truest.
      start = Math.min(start, performance.now() - (status.updatedAt - status.createdAt))
      if (status.finishedAt !== null) total = status.finishedAt - status.createdAt
    },
    elapsed: () => total ?? performance.now() - start,
  }
}

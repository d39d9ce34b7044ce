import type { JobRecord } from '../core/status'

/** One record for {@link JobCache.writeMany}. */
export interface JobCacheEntry {
  token: string
  record: JobRecord
  ttl: number
}

/** The same register without a promise, for records that are in this process's memory. */
export interface ImmediateCache {
  /** `now` is the time, in epoch milliseconds, for a caller that has just looked: asking the clock costs as much as a read. */
  read(token: string, now?: number): JobRecord | undefined
  write(token: string, record: JobRecord, ttl: number, now?: number): boolean
}

/**
 * Keeps one record per token: a register that compares and sets. It knows no rule of a job's life.
 *
 * Every call is bounded by the adapter's own time limit and rejects when the store cannot be reached: a dead store never
 * looks like a missing record. Tokens are checked before they get here.
 */
export interface JobCache {
  /** Whether the records die with this process: then a queue that processes share is refused beside it. */
  readonly isLocal: boolean

  /** Declared by a cache whose every call ends within 2.5 s: then the runtime sets no clock beside the cache's own. */
  readonly isBounded?: boolean

  /** Declared by a cache that answers at once: a job in memory then costs a third of the promises. */
  readonly immediate?: ImmediateCache

  /** Reads the newest record; `undefined` when there is none or it has expired. */
  read(token: string): Promise<JobRecord | undefined>

  /**
   * Stores a record for `ttl` milliseconds, if the stored one is of version `record.version - 1` (nothing stored: 0) and
   * of the same `incarnation`. Answers whether it did.
   */
  write(token: string, record: JobRecord, ttl: number): Promise<boolean>

  /** Writes many records of different tokens, each as {@link JobCache.write} would, in one round trip. */
  writeMany(entries: readonly JobCacheEntry[]): Promise<boolean[]>

  /** Stops timers and closes the connections that the adapter opened itself. May be called twice. */
  close(): Promise<void>
}

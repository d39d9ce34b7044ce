import type { JobId } from './job'
import type { JsonValue } from './json'

/** Tells the watchers how far a job is. Every call only changes memory; the runtime writes the newest state by itself. */
export interface ProgressReporter {
  /** Aborts when the job is cancelled, times out, loses its worker's lock, or the worker closes. */
  readonly signal: AbortSignal
  /** Says how many ticks make the whole. */
  total(count: number): void
  /** Moves on by `count` steps, 1 unless told. Without a total it moves nothing. */
  tick(count?: number): void
  /** Sets the percentage itself, 0 to 100. */
  set(percent: number): void
  /** Says what the job is doing: at most 500 characters, no control characters. */
  label(text: string): void
  /**
   * Takes `percent` of this bar as a part with a 0–100 of its own. Parts nest and may run in parallel.
   *
   * @example
   * const upload = progress.split(30, 'Uploading')
   */
  split(percent: number, label?: string): ProgressReporter
  /**
   * Iterates, ticking after each body. Adds the number of items to the total unless `total` was called first, throws
   * `signal.reason` when the job is aborted, and gives the event loop a turn every 20 ms.
   *
   * @example
   * for await (const row of progress.each(rows)) await save(row)
   */
  each<T>(items: Iterable<T> | AsyncIterable<T>, total?: number): AsyncIterableIterator<T>
}

/**
 * What a hook may know of its job. `P` is the payload's type, `C` that of what `context.capture()` kept.
 *
 * @example
 * async afterCreateJob(id: number, token: string, progress: ProgressReporter, job: JobContext<{ note: string }, { user: string }>) { … }
 */
export interface JobContext<P = unknown, C = JsonValue | undefined> {
  readonly token: string
  readonly id: JobId
  readonly service: string
  readonly hook: string
  /** The copy of what `executeJob` was given. */
  readonly payload: P
  /** What the runtime's `context.capture()` kept from the caller. */
  readonly context: C
  /** The number of this attempt, 1 for the first; 0 if none has begun. */
  readonly attempt: number
  readonly attempts: number
  /** The token of the job inside which this one was started. */
  readonly parent: string | null
  /** The same signal as `progress.signal`. */
  readonly signal: AbortSignal
}

/** What a hook may return: nothing or `'done'`, `'error'`, or a result that JSON can carry, of at most 64 KB. */
// `string & {}` keeps an un-annotated `return 'done'`, which TypeScript widens to string, compiling.
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that returns nothing may be declared `void`.
export type HookReturn = void | undefined | null | 'done' | 'error' | (string & {}) | { result: unknown }

/**
 * The signature of a hook. Declared as a method, so that a hook may take the narrower id of its own entity, and the context
 * as its application captures it.
 */
export type Hook<P = unknown, C = JsonValue | undefined> = {
  bivariant(
    id: JobId,
    token: string,
    progress: ProgressReporter,
    job: JobContext<P, C>,
  ): HookReturn | Promise<HookReturn>
}['bivariant']

/** The signature of `after<Action>JobFailed`, which compensates for a job that has finally failed. */
export type FailureHook<P = unknown, C = JsonValue | undefined> = {
  bivariant(id: JobId, token: string, error: Error, job: JobContext<P, C>): unknown
}['bivariant']

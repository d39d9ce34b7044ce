import { ProgressBar } from '../after-jobs'
import type { ProgressReporter } from '../core/hook'

/** A reporter that records what a hook reports, so that the hook can be called by hand. */
export interface TestProgress extends ProgressReporter {
  /** How far the bar is: a whole percent, 0 to 100. */
  readonly percent: number
  /** Every label so far, in order. */
  readonly labels: string[]
  /** How many ticks were counted, those of parts included. */
  readonly ticks: number
  /** Aborts `signal`, as a cancellation would. */
  abort(reason?: unknown): void
}

/**
 * Makes a reporter for unit tests.
 *
 * @example
 * const progress = createTestProgress()
 * await service.afterCreateJob(1, 'token', progress)
 * expect(progress.percent).toBe(100)
 */
export function createTestProgress(): TestProgress {
  const controller = new AbortController()
  const { signal } = controller
  const labels: string[] = []
  const root = {
    turnStart: 0,
    ticks: 0,
    get label() {
      return labels.at(-1) ?? null
    },
    set label(text: string | null) {
      if (text !== null) labels.push(text)
    },
  }
  const host = {
    signal,
    get isAborted() {
      return signal.aborted
    },
    touch: () => {},
  }
  const bar = new ProgressBar(host, root)
  const abort = (reason?: unknown) => controller.abort(reason)
  return Object.defineProperties(bar, {
    percent: { get: () => ProgressBar.read(bar).progress },
    labels: { value: labels },
    ticks: { get: () => root.ticks },
    abort: { value: abort },
  }) as ProgressBar & TestProgress
}

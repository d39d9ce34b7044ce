import type { JobEnvelope } from '../core/job'
import type { JsonValue } from '../core/json'
import type { ProgressBar } from './progress'

/** The job inside which code is running. */
export interface CurrentJob {
  readonly token: string
  readonly context: JsonValue | undefined
  /** What a hook that runs inline joins; absent where the job itself does not run, as while it is compensated for. */
  readonly host?: InlineHost
}

/** A running job, as far as a hook inside of it needs it. */
export interface InlineHost {
  readonly envelope: JobEnvelope
  readonly attempt: number
  readonly signal: AbortSignal
  readonly isAborted: boolean
  readonly reporter: ProgressBar
}

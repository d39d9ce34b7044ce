import { wrongOption } from '../core/job'
import type { AfterJobs } from '../core/runtime'
import type { Dispatcher } from './dispatcher'
import type { JobEvents } from './events'
import type { Log } from './log'
import type { Registry } from './registry'
import type { Workers } from './workers'

/** What a service needs of its runtime. */
export interface Engine {
  readonly dispatcher: Dispatcher
  readonly registry: Registry
  readonly events: JobEvents
  readonly workers: Workers
  readonly log: Log
  readonly isShared: boolean
  /** Whether every service instance belongs to one caller alone, as in unit tests. */
  readonly hasOwnInstances: boolean
}

/** The key under which a runtime carries its engine; registered, because the ESM and the CommonJS build must both find it. */
export const ENGINE: unique symbol = Symbol.for('after-jobs.engine') as never

/** @throws AfterJobsError `INVALID_OPTION` when the value was not made by `createAfterJobs()`. */
export function engineOf(jobs: AfterJobs): Engine {
  const engine: Engine | undefined = (jobs as { [ENGINE]?: Engine } | undefined)?.[ENGINE]
  if (engine !== undefined) return engine
  throw wrongOption('jobs', jobs, 'a runtime made by createAfterJobs()')
}

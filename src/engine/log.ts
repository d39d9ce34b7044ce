import type { Logger } from '../core/runtime'

export const LOG_METHODS = ['debug', 'info', 'warn', 'error'] as const

/** What the engine logs to. Called as `log.info?.(…)`, it costs a job without a logger not even the fields. */
export type Log = Pick<Logger, 'warn'> & Partial<Logger>

/** Stands in where no logger was given: a warning goes to the process, everything else nowhere. */
export const processLog: Log = {
  warn: (_, message) => process.emitWarning(message, { type: 'AfterJobsWarning' }),
}

/** Completes a log for those who expect a whole logger. */
export function toLogger(log: Log): Logger {
  const nothing = () => {}
  return { debug: nothing, info: nothing, error: nothing, ...log }
}

/** So many milliseconds lie between two lines about an engine that is away: each call and each job meets it. */
const OUTAGE_INTERVAL = 1_000
const OUTAGES: readonly unknown[] = ['CACHE_UNAVAILABLE', 'QUEUE_UNAVAILABLE']

/** Lets one line a second tell of an outage, with the number of those that were left out. */
export function calmOutages(logger: Logger): Logger {
  let last = Number.NEGATIVE_INFINITY
  let omitted = 0
  const error: Logger['error'] = (fields, message) => {
    const { err } = fields as { err?: { code?: unknown } | undefined }
    if (!OUTAGES.includes(err?.code)) return logger.error(fields, message)
    if (performance.now() - last < OUTAGE_INTERVAL) {
      omitted++
      return
    }
    logger.error(omitted > 0 ? { ...fields, omitted } : fields, message)
    last = performance.now()
    omitted = 0
  }
  return { ...logger, error }
}

/** Keeps a logger that throws from taking a job with it. */
export function guardLogger(logger: Logger): Logger {
  const guard = (method: keyof Logger) => (fields: object, message: string) => {
    try {
      logger[method](fields, message)
    } catch {
      // There is nobody left to tell.
    }
  }
  return { debug: guard('debug'), info: guard('info'), warn: guard('warn'), error: guard('error') }
}

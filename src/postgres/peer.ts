import { AfterJobsError } from '../core/errors'

/** Runs the import of an optional peer. @throws AfterJobsError `MISSING_PACKAGE`, saying what to install. */
export async function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if (!/^(ERR_)?MODULE_NOT_FOUND$/.test(String((cause as { code?: unknown } | null)?.code))) throw cause
    const others = name === 'pg-boss' || name === 'pg' ? 'pg-boss pg' : name
    const message = `after-jobs/postgres needs the package ${name}, which is not installed. Run: npm install ${others}`
    throw new AfterJobsError('MISSING_PACKAGE', message, { cause })
  }
}

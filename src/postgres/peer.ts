import { importPeer } from '../core/peer'

/** Runs the import of an optional peer. @throws AfterJobsError `MISSING_PACKAGE`, saying what to install. */
export function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  return importPeer('after-jobs/postgres', name, name === 'pg-boss' || name === 'pg' ? 'pg-boss pg' : name, load)
}

import { importPeer } from '../core/peer'

/** Runs the import of an optional peer. @throws AfterJobsError `MISSING_PACKAGE`, saying what to install. */
export function loadPeer<T>(name: string, load: () => Promise<T>): Promise<T> {
  return importPeer('after-jobs/redis', name, 'bullmq ioredis @keyv/redis keyv', load)
}

import { type AfterJobsOptions, createRuntime } from '../after-jobs'
import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import type { AfterJobs } from '../core/runtime'
import { memoryQueue } from '../memory/queue'
import type { JobQueue } from '../ports/queue'

/** A runtime whose jobs run only when told. */
export interface TestJobs extends AfterJobs {
  /** The envelopes of the jobs accepted so far, oldest first. */
  readonly dispatched: JobEnvelope[]
  /**
   * Runs what waits until nothing does, delayed jobs and further attempts included: one job after the other, so that a hook
   * which waits for the end of a job that it started waits for ever, as with any worker of concurrency 1.
   */
  drain(options?: { signal?: AbortSignal }): Promise<void>
}

/** So many jobs that come during one `drain()` are of a job that starts itself. */
const MAX_STARTS = 10_000

/**
 * Makes a runtime for unit tests: in memory, no worker, and each service instance is taken to serve one caller, so that
 * `getJobToken()` needs no scope.
 *
 * @example
 * const jobs = createTestJobs()
 * class ProjectService extends withAfterJobs(CrudService, { jobs, auto: ['create'] }) { … }
 * await new ProjectService().create({ name: 'a' })
 * expect(jobs.dispatched[0]).toMatchObject({ hook: 'afterCreateJob', id: 1 })
 * await jobs.drain()
 */
export function createTestJobs(options: Omit<AfterJobsOptions, 'queue'> = {}): TestJobs {
  const queue = memoryQueue({ autoStart: false })
  const dispatched: JobEnvelope[] = []
  const jobs = createRuntime({ ...options, queue: recording(queue, dispatched) }, true)
  const drainWithWorker = jobs.drain
  let drains = 0
  const drain = async ({ signal }: { signal?: AbortSignal } = {}) => {
    signal?.throwIfAborted()
    const endless = new AbortController()
    const before = dispatched.length
    const off = jobs.on('started', () => {
      if (dispatched.length - before > MAX_STARTS) endless.abort(new AfterJobsError('NO_WORKER', ENDLESS))
    })
    drains++
    queue.ignoreDelays(true)
    const worker = jobs.work()
    // At once, so that no further job starts.
    const stop = () => void worker.close()
    signal?.addEventListener('abort', stop)
    try {
      await drainWithWorker({ signal: signal ? AbortSignal.any([signal, endless.signal]) : endless.signal })
    } finally {
      // Not awaited: where the wait was given up, a job may be running that never ends.
      stop()
      signal?.removeEventListener('abort', stop)
      queue.ignoreDelays(--drains > 0)
      off()
    }
  }
  return Object.assign(jobs, { dispatched, drain })
}

const ENDLESS = `${MAX_STARTS} jobs came while drain() ran others, and one more waits: does a job start itself?`

/** Wraps a queue so that it notes what it accepts; a job that another one stands for is not accepted. */
function recording(queue: JobQueue, dispatched: JobEnvelope[]): JobQueue {
  const note = (envelope: JobEnvelope, token: string) => {
    if (envelope.token === token) dispatched.push(envelope)
  }
  return {
    ...queue,
    async enqueue(envelope, service) {
      const token = await queue.enqueue(envelope, service)
      note(envelope, token)
      return token
    },
    async enqueueMany(envelopes, service) {
      const tokens = await queue.enqueueMany(envelopes, service)
      for (const [index, envelope] of envelopes.entries()) note(envelope, tokens[index] as string)
      return tokens
    },
  }
}

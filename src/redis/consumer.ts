import { randomUUID } from 'node:crypto'
import type { BackendFactory, Job, Processor, RedisQueueBackend, Worker, WorkerOptions } from 'bullmq'
import type { JobRun, QueueListener } from '../ports/queue'
import { unavailable } from './connections'
import { type BullMq, Delivery, delayOf, deliver, isRefusal } from './delivery'

/** What a consumer is made of. */
export interface ConsumerParts {
  readonly bullmq: BullMq
  readonly name: string
  readonly prefix: string
  readonly connection: unknown
  readonly lockDuration: number
  readonly stalledInterval: number
  readonly listener: QueueListener
}

/** Crashes are counted in the record, where the third one ends the job with its compensation; here they have no limit. */
const NO_LIMIT = 2 ** 31 - 1
/** Ended jobs are kept so that a lost status can be told again; BullMQ would keep them for ever. Age in seconds. */
const KEPT = { age: 3_600, count: 1_000 }
/** BullMQ finds a lost job with its second check, and a check that comes a moment early is left out: so many make one of ours. */
const CHECKS = 2.5
/** The pause before BullMQ repeats its own calls to a Redis that was away. */
const RETRY_PAUSE = 1_000

/** A BullMQ worker that can be left although its Redis is away. */
export interface JobWorker extends Worker {
  /** Ends what a `close()` that does not come to its end would keep: a timer, and a connection that looks for Redis. */
  abandon(): Promise<void>
}

/**
 * Makes a BullMQ worker that takes jobs and runs them; without `run`, one that only fetches, and that has no connection by which
 * BullMQ would count it among those that wait for jobs.
 */
export function makeWorker(parts: ConsumerParts, run: JobRun | undefined, concurrency: number): JobWorker {
  const { bullmq, name, prefix, connection, lockDuration, stalledInterval, listener } = parts
  const held = new Map<string, Delivery>()
  const options = {
    ...{ connection: connection as never, prefix, concurrency, lockDuration },
    stalledInterval: stalledInterval / CHECKS,
    maxStalledCount: NO_LIMIT,
    removeOnComplete: KEPT,
    removeOnFail: KEPT,
    runRetryDelay: RETRY_PAUSE,
    settings: { backoffStrategy: (_: number, type?: string, error?: Error) => delayOf(type, error) },
  }
  const process =
    run && ((job: Job, lock = '') => hold(held, new Delivery(job), (it) => deliver(bullmq, run, it, lock)))
  const backend: RedisBackendFactory[] = run ? [] : [(of, own) => bullmq.createRedisBackend(of, own)]
  const worker = new (adapt(bullmq.Worker, held))(name, process, options, ...backend)
  worker.on('lockRenewalFailed', (tokens) => {
    for (const token of tokens) held.get(token)?.lose()
  })
  worker.on('stalled', (token) => listener.onLost(token))
  worker.on('error', (error) => listener.onTrouble(unavailable(error)))
  return worker
}

/** Keeps a delivery where the news of a lost lock finds it. */
async function hold<T>(
  held: Map<string, Delivery>,
  delivery: Delivery,
  run: (delivery: Delivery) => Promise<T>,
): Promise<T> {
  const token = delivery.job.id ?? ''
  held.set(token, delivery)
  try {
    return await run(delivery)
  } finally {
    if (held.get(token) === delivery) held.delete(token)
  }
}

type RedisBackendFactory = BackendFactory<RedisQueueBackend>

type JobWorkerClass = new (
  name: string,
  process: Processor | undefined,
  options: WorkerOptions,
  ...backend: RedisBackendFactory[]
) => JobWorker

function adapt(Base: typeof Worker, held: ReadonlyMap<string, Delivery>): JobWorkerClass {
  return class extends Base {
    /** BullMQ knows locks by their job: the end of a delivery that has lost its own would end the renewal of the next one's. */
    protected override createLockManager(): void {
      super.createLockManager()
      const { lockManager } = this
      const untrack = lockManager.untrackJob.bind(lockManager)
      lockManager.untrackJob = (token) => {
        if (!held.has(token)) untrack(token)
      }
    }

    /** A message that is not JSON would be thrown at BullMQ's loop; as an empty one, the runtime refuses it. */
    protected override createJob(data: never, id: string) {
      try {
        return super.createJob(data, id)
      } catch {
        return super.createJob({ ...(data as object), data: 'null', opts: {} } as never, id)
      }
    }

    async abandon(): Promise<void> {
      await this.lockManager.close()
      await this.backend.close(true)
    }
  }
}

/** Takes one job and runs it to its answer; `false` when none is due. BullMQ renews no lock of a job taken this way. */
export async function runSingle(parts: ConsumerParts, worker: Worker, run: JobRun): Promise<boolean> {
  const lock = randomUUID()
  const job: Job | undefined = await worker.getNextJob(lock, { block: false })
  if (job === undefined) return false
  const delivery = new Delivery(job)
  const renew = () => job.extendLock(lock, parts.lockDuration).catch((error) => isRefusal(error) && delivery.lose())
  const renewal = setInterval(renew, parts.lockDuration / 2)
  try {
    const end = await deliver(parts.bullmq, run, delivery, lock).then(
      (value) => () => job.moveToCompleted(value, lock, false),
      (error) => () => (error instanceof parts.bullmq.DelayedError ? undefined : job.moveToFailed(error, lock, false)),
    )
    await end()
  } catch (error) {
    // What could not be answered is delivered again when its lock has expired.
    parts.listener.onTrouble(unavailable(error))
  } finally {
    clearInterval(renewal)
  }
  return true
}

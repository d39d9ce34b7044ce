import { randomUUID } from 'node:crypto'
import type { JobAnswer, JobDelivery, JobEnvelope, JobLookup, JobQueue, JobRecord, JobRun } from 'after-jobs'
import { type Mock, vi } from 'vitest'

type Spied = 'enqueue' | 'enqueueMany' | 'find' | 'cancel' | 'health'

/** A queue as processes share it, whose engine is played by the test. */
export interface StubQueue extends Omit<JobQueue, Spied>, SpiedCalls {
  /** What the queue says of every token. */
  lookup: JobLookup
  workers: number
  readonly accepted: JobEnvelope[]
  /** Plays a delivery to the worker of this process. */
  deliver(envelope: JobEnvelope, delivery?: JobDelivery): Promise<JobAnswer>
}

type SpiedCalls = { [Name in Spied]: Mock<JobQueue[Name]> }

export function stubQueue(): StubQueue {
  let run: JobRun | undefined
  const queue: StubQueue = {
    isShared: true,
    autoStart: false,
    lookup: { state: 'waiting' },
    workers: 1,
    accepted: [],
    enqueue: vi.fn<JobQueue['enqueue']>(async (envelope) => {
      queue.accepted.push(envelope)
      return envelope.token
    }),
    enqueueMany: vi.fn<JobQueue['enqueueMany']>(async (envelopes) => {
      queue.accepted.push(...envelopes)
      return envelopes.map(({ token }) => token)
    }),
    consume(newRun) {
      run = newRun
      return { close: async () => {} }
    },
    runOne: async () => false,
    find: vi.fn<JobQueue['find']>(async () => queue.lookup),
    cancel: vi.fn<JobQueue['cancel']>(async () => undefined),
    listen: () => {},
    health: vi.fn<JobQueue['health']>(async () => ({ waiting: 0, active: 0, workers: queue.workers })),
    close: async () => [],
    async deliver(envelope, delivery = { attempt: 1 }) {
      if (run === undefined) throw new Error('Nobody consumes: call work() first')
      return run(envelope, delivery)
    },
  }
  return queue
}

export function makeEnvelope(fields: Partial<JobEnvelope> = {}): JobEnvelope {
  return {
    version: 1,
    token: randomUUID(),
    service: 'bench',
    hook: 'afterCreateJob',
    id: 1,
    payload: undefined,
    context: undefined,
    parent: null,
    delay: 0,
    priority: 0,
    attempts: 1,
    backoff: null,
    timeout: null,
    dedupe: null,
    createdAt: Date.now(),
    ...fields,
  }
}

/** A record as another process may have stored it: the first version of a job that waits, unless told otherwise. */
export function makeRecord(fields: Partial<JobRecord> = {}): JobRecord {
  const now = Date.now()
  return {
    version: 1,
    incarnation: 7,
    status: 'pending',
    progress: 0,
    label: null,
    message: null,
    code: null,
    attempt: 0,
    attempts: 1,
    result: null,
    parent: null,
    context: null,
    run: 0,
    runId: 0,
    crashes: 0,
    dueAt: null,
    createdAt: now,
    startedAt: null,
    updatedAt: now,
    finishedAt: null,
    ...fields,
  }
}

/** A record of a job that another process runs. */
export function makeRunning(fields: Partial<JobRecord> = {}): JobRecord {
  return makeRecord({ status: 'running', attempt: 1, run: 1, runId: 11, startedAt: Date.now(), ...fields })
}

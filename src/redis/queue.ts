import type { Job, Queue } from 'bullmq'
import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import { settlesWithin } from '../core/timer'
import type { JobConsumer, JobLookup, JobQueue, JobRun, QueueHealth, QueueListener } from '../ports/queue'
import { type Connection, type Connections, isReady, openConnections, unavailable } from './connections'
import { type ConsumerParts, type JobWorker, makeWorker, runSingle } from './consumer'
import { isRefusal } from './delivery'
import { endOf, markCancelled, toEnvelope, toOptions, toOutcome } from './message'
import { loadPeer } from './peer'
import { channelOf, type RedisQueueOptions, readSettings, type Settings } from './settings'

/** What is there once the packages are loaded. */
interface Engine {
  readonly bullmq: typeof import('bullmq')
  readonly queue: Queue
  readonly connection: Connection
}

interface State {
  readonly settings: Settings
  readonly connections: Connections
  readonly workers: Set<JobWorker>
  listener: QueueListener
  engine: Promise<Engine> | undefined
  /** The engine once it is open: most calls need no step more than their own. */
  current: Engine | undefined
  /** The worker of `runOne`. */
  single: JobWorker | undefined
  hearing: Promise<void> | undefined
  isClosed: boolean
}

/** Hears nothing, for a queue that no runtime has. */
const DEAF: QueueListener = { onCancelled: () => {}, onLost: () => {}, onTrouble: () => {} }
/** How long the workers may take to close when nobody waits for them any more, in milliseconds. */
const CLOSE_LIMIT = 1_000
const WAITING = ['wait', 'prioritized', 'delayed'] as const

/**
 * Makes a queue on BullMQ, which processes share: jobs outlive their process, and are delivered at least once. A worker that
 * dies loses its lock after `lockDuration`, and another one takes its job. Needs the packages bullmq and ioredis, and a cache
 * that processes share, like `redisCache`.
 *
 * @throws AfterJobsError `INVALID_OPTION`; later `ENQUEUE_FAILED` from `executeJob`, `QUEUE_UNAVAILABLE` from the others.
 * @example
 * const jobs = createAfterJobs({ queue: redisQueue(url), cache: redisCache(url) })
 */
export function redisQueue(target: string | RedisQueueOptions): JobQueue {
  const settings = readSettings(typeof target === 'string' ? { url: target } : target)
  const connections = openConnections(settings.target, (error) => state.listener.onTrouble(unavailable(error)))
  const state: State = {
    ...{ settings, connections, listener: DEAF, workers: new Set<JobWorker>() },
    ...{ engine: undefined, current: undefined, single: undefined, hearing: undefined, isClosed: false },
  }
  return {
    isShared: true,
    autoStart: false,
    // One is cheaper alone: a bulk is a transaction.
    enqueue: (envelope) =>
      asking(state, ({ queue }) => queue.add(nameOf(envelope), envelope, toOptions(envelope)).then(idOf)),
    enqueueMany: (envelopes) =>
      asking(state, ({ queue }) => queue.addBulk(envelopes.map(toMessage)).then((jobs) => jobs.map(idOf))),
    consume: (run, { concurrency = 1 } = {}) => consume(state, run, concurrency),
    runOne: (run) => runOne(state, run),
    find: (token) => asking(state, (engine) => find(state, engine, token)),
    cancel: (token) => asking(state, (engine) => cancel(state, engine, token)),
    listen(listener) {
      state.listener = listener
    },
    health: () => asking(state, ({ queue }) => readHealth(queue)),
    close: () => close(state),
  }
}

/** Opens the queue when it is first needed, and again where that failed. */
function open(state: State): Promise<Engine> {
  if (state.isClosed) throw new AfterJobsError('CLOSED', 'The Redis queue is closed.')
  state.engine ??= openEngine(state).catch((error) => {
    state.engine = undefined
    throw error
  })
  return state.engine
}

async function openEngine({ settings, connections, listener }: State): Promise<Engine> {
  const bullmq = await loadPeer('bullmq', () => import('bullmq'))
  const connection = await connections.get('ask')
  // The events are a log for others, in which BullMQ repeats every result.
  const streams = { events: { maxLen: 100 } }
  const queue = new bullmq.Queue(settings.name, { connection: connection as never, prefix: settings.prefix, streams })
  queue.on('error', (error) => listener.onTrouble(unavailable(error)))
  return { bullmq, queue, connection }
}

/** Asks Redis for something, once there is a connection. */
function asking<T>(state: State, ask: (engine: Engine) => Promise<T>): Promise<T> {
  const { current, isClosed } = state
  const isAtHand = current !== undefined && !isClosed && isReady(current.connection)
  return (isAtHand ? ask(current) : openAndAsk(state, ask)).catch((error) => {
    throw unavailable(error)
  })
}

async function openAndAsk<T>(state: State, ask: (engine: Engine) => Promise<T>): Promise<T> {
  state.current = await open(state)
  await state.connections.ready()
  return ask(state.current)
}

function toMessage(envelope: JobEnvelope) {
  return { name: nameOf(envelope), data: envelope, opts: toOptions(envelope) }
}

/** What BullMQ's dashboards show. */
function nameOf({ service, hook }: JobEnvelope): string {
  return `${service}.${hook}`
}

function idOf({ id }: Job): string {
  return id as string
}

function consume(state: State, run: JobRun, concurrency: number): JobConsumer {
  const starting = openParts(state).then((parts) => startWorker(state, parts, run, concurrency))
  starting.catch((error) => state.listener.onTrouble(unavailable(error)))
  let closing: Promise<void> | undefined
  const closeOnce = async () => {
    const worker = await starting.catch(() => undefined)
    await worker?.close()
    if (worker !== undefined) state.workers.delete(worker)
  }
  return {
    close() {
      closing ??= closeOnce()
      return closing
    },
  }
}

async function openParts(state: State): Promise<ConsumerParts> {
  const { settings, connections, listener } = state
  const { bullmq } = await open(state)
  state.hearing ??= hearCancellations(state)
  await state.hearing
  return { ...settings, bullmq, connection: await connections.get('work'), listener }
}

function startWorker(state: State, parts: ConsumerParts, run: JobRun | undefined, concurrency: number): JobWorker {
  if (state.isClosed) throw new AfterJobsError('CLOSED', 'The Redis queue was closed before its worker could begin.')
  const worker = makeWorker(parts, run, concurrency)
  state.workers.add(worker)
  return worker
}

/** A worker that only fetches; it looks for lost jobs all the same. */
function startSingle(state: State, parts: ConsumerParts): JobWorker {
  const worker = startWorker(state, parts, undefined, 1)
  void worker.startStalledCheckTimer()
  return worker
}

async function runOne(state: State, run: JobRun): Promise<boolean> {
  const parts = await openParts(state)
  state.single ??= startSingle(state, parts)
  const { single } = state
  return asking(state, () => runSingle(parts, single, run))
}

async function hearCancellations({ connections, settings, listener }: State): Promise<void> {
  const connection = await connections.get('hear')
  connection.on('message', (_channel, token) => listener.onCancelled(token))
  // ioredis subscribes again by itself after an outage; what was missed meanwhile, a run learns with its next heartbeat.
  connection.subscribe(channelOf(settings)).catch((error) => listener.onTrouble(unavailable(error)))
}

async function find({ settings }: State, { queue, connection }: Engine, token: string): Promise<JobLookup> {
  const { prefix, name } = settings
  const [state, job, locks] = await Promise.all([
    queue.getJobState(token),
    queue.getJob(token),
    connection.exists(`${prefix}:${name}:${token}:lock`),
  ])
  const envelope = job && toEnvelope(job.id, job.data)
  switch (state) {
    case 'unknown':
      return { state: 'absent' }
    case 'active':
      return { state: locks === 1 ? 'active' : 'lost', envelope }
    case 'completed':
    case 'failed': {
      const outcome = toOutcome(job?.returnvalue, job?.failedReason)
      return { state: 'ended', ...(outcome !== undefined && { outcome }), envelope }
    }
    default: {
      const outcome = endOf(job?.data)
      return outcome === undefined ? { state: 'waiting', envelope } : { state: 'ended', outcome, envelope }
    }
  }
}

/** The worker that takes the job compensates for it, so a delayed one is made due. */
async function cancel({ settings }: State, { queue, connection }: Engine, token: string): Promise<undefined> {
  const [job] = await Promise.all([queue.getJob(token), connection.publish(channelOf(settings), token)])
  if (job === undefined) return
  if (job.deduplicationId !== undefined) await job.removeDeduplicationKey()
  await unlessGone(job.updateData(markCancelled(job.data)))
  if (await job.isDelayed()) await unlessGone(job.promote())
}

async function unlessGone(change: Promise<void>): Promise<void> {
  try {
    await change
  } catch (error) {
    // Somebody was faster.
    if (!isRefusal(error)) throw error
  }
}

async function readHealth(queue: Queue): Promise<QueueHealth> {
  const [counts, workers] = await Promise.all([queue.getJobCounts(...WAITING, 'active'), queue.getWorkersCount()])
  const waiting = WAITING.reduce((sum, state) => sum + (counts[state] ?? 0), 0)
  return { waiting, active: counts.active ?? 0, workers }
}

/** Leaves the jobs to other processes, and does not wait for a Redis that is away. */
async function close(state: State): Promise<[]> {
  if (state.isClosed) return []
  state.isClosed = true
  const { engine, workers, connections } = state
  const closings = [...workers].map((worker) => worker.close(true))
  if (engine !== undefined) closings.push(engine.then(({ queue }) => queue.close()))
  const closed = Promise.allSettled(closings)
  if (!(await settlesWithin(closed, CLOSE_LIMIT))) for (const worker of workers) worker.abandon().catch(() => {})
  connections.close()
  return []
}

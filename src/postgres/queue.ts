import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import { CANCELLED } from '../core/status'
import { MAX_TIMER, settlesWithin, sleep, withTimeLimit } from '../core/timer'
import type { JobConsumer, JobLookup, JobQueue, JobRun, QueueHealth, QueueListener } from '../ports/queue'
import { Consumer } from './consumer'
import type { Database, Listening } from './database-port'
import { timeLeft } from './deadline'
import { type Engine, openEngine, openQueueDatabase, QUERY_LIMIT, unavailable } from './engine'
import { Gatherer } from './gatherer'
import { type Ask, addJobs } from './insertion'
import { JoinedJobs, notOpen } from './joined-jobs'
import { toEnvelope, toOutcome } from './message'
import { type PostgresQueueOptions, readSettings, type Settings } from './settings'
import { isMissingTable, isRefusal } from './sql-state'
import type { ConsumerParts } from './upkeep'

interface State {
  readonly settings: Settings
  readonly database: Database
  readonly consumers: Set<Consumer>
  readonly listener: QueueListener
  engine: Promise<Engine> | undefined
  /** Whether the engine is there. */
  isOpen: boolean
  hearing: Listening | undefined
  isClosed: boolean
}

const NOT_THERE = `The queue in PostgreSQL could not be opened within ${QUERY_LIMIT} ms; it goes on trying.`
/** How long the workers may take to close when nobody waits for them any more, in milliseconds. */
const CLOSE_LIMIT = 1_000

/**
 * Makes a queue on pg-boss, in a PostgreSQL that processes share, or in a folder by PGlite: jobs outlive their process, are
 * delivered at least once, and can be queued in the transaction that writes what they are about. A worker that dies loses its
 * lock after `lockDuration`, and another one takes its job. Needs the packages pg-boss and pg, or `@electric-sql/pglite`, and a
 * cache that processes share, like `postgresCache`.
 *
 * @throws AfterJobsError `INVALID_OPTION`; later `ENQUEUE_FAILED` from `executeJob`, `QUEUE_UNAVAILABLE` from the others.
 * @example
 * const jobs = createAfterJobs({ queue: postgresQueue(url), cache: postgresCache(url) })
 */
export function postgresQueue(
  target: string | NonNullable<PostgresQueueOptions['pool']> | PostgresQueueOptions,
): JobQueue {
  const settings = readSettings(target)
  let listener: QueueListener = { onCancelled: () => {}, onLost: () => {}, onTrouble: () => {} }
  const heard: QueueListener = {
    onCancelled: (token) => listener.onCancelled(token),
    onLost: (token) => listener.onLost(token),
    onTrouble: (error) => listener.onTrouble(error),
  }
  const state: State = {
    ...{ settings, database: openQueueDatabase(settings), consumers: new Set<Consumer>(), listener: heard },
    ...{ engine: undefined, isOpen: false, hearing: undefined, isClosed: false },
  }
  const add = (envelopes: readonly JobEnvelope[], limit: number) => addInTime(state, envelopes, limit)
  // In a single lane, so that jobs keep their order. An embedded database waits for the application's own transactions.
  const limit = isEmbedded(state) ? MAX_TIMER : QUERY_LIMIT
  const inbox = new Gatherer<JobEnvelope, string>(limit, add, { mayRepeat: true, lanes: 1 })
  return {
    isShared: true,
    autoStart: false,
    transactional: new JoinedJobs({
      getEngine: () => readyInTransaction(state),
      pollInterval: settings.pollInterval,
      onRefused: (error) => heed(state, error),
    }),
    enqueue: (envelope) => enqueue(state, inbox, envelope),
    enqueueMany: (envelopes) =>
      asking(state, (engine) => addJobs(engine, engine.query, envelopes, settings.pollInterval)),
    consume: (run, { concurrency = 1 } = {}) => consume(state, run, concurrency),
    runOne: (run) => runOne(state, run),
    find: (token) => asking(state, (engine) => find(engine, token)),
    cancel: (token) =>
      asking(state, ({ query, statements }) => query(statements.cancel, [token])).then(() => undefined),
    listen(newListener) {
      listener = newListener
      // It takes its time, and a transaction of the caller's would keep it from being opened.
      if (isEmbedded(state)) open(state).catch((error) => heard.onTrouble(unavailable(error)))
    },
    health: () => asking(state, readHealth),
    close: () => close(state),
  }
}

function isEmbedded({ settings }: State): boolean {
  return settings.source?.pglite !== undefined
}

function closed(): AfterJobsError {
  return new AfterJobsError('CLOSED', 'The Postgres queue is closed.')
}

/** Opens the queue when it is first needed, and again where that failed. */
function open(state: State): Promise<Engine> {
  if (state.isClosed) throw closed()
  state.engine ??= openOnce(state).catch((error) => {
    state.engine = undefined
    throw error
  })
  return state.engine
}

async function openOnce(state: State): Promise<Engine> {
  const engine = await openEngine(state.database, state.settings)
  state.isOpen = true
  return engine
}

/** Nobody waits longer for the opening, which goes on behind, than for an answer. An embedded database is waited for. */
async function ready(state: State, limit = QUERY_LIMIT): Promise<Engine> {
  const engine = open(state)
  if (state.isOpen || isEmbedded(state)) return engine
  return withTimeLimit(engine, limit, () => new AfterJobsError('QUEUE_UNAVAILABLE', NOT_THERE))
}

/** The same beside a connection of the caller's, which the opening may need: then both would wait for each other. */
async function readyInTransaction(state: State): Promise<Engine> {
  if (isEmbedded(state) && !state.isOpen) throw notOpen()
  return asking(state, async (engine) => engine)
}

/** Asks the database for something, once there is a connection. */
function asking<T>(state: State, ask: (engine: Engine) => Promise<T>): Promise<T> {
  return orUnavailable(heeding(state, async () => ask(await ready(state))))
}

/** Says of whatever failed that the database cannot be reached. */
async function orUnavailable<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw unavailable(error)
  }
}

async function heeding<T>(state: State, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    heed(state, error)
    throw error
  }
}

/** Tells whether somebody has dropped the tables, which the next call then makes again. */
function heed(state: State, error: unknown): boolean {
  const isGone = isMissingTable(error)
  if (isGone) {
    state.engine = undefined
    state.isOpen = false
  }
  return isGone
}

/** Rejects with what the database itself said, by which the gatherer tells a refusal. */
function addInTime(state: State, envelopes: readonly JobEnvelope[], limit: number): Promise<string[]> {
  const end = performance.now() + limit
  return heeding(state, async () => {
    // One that cannot be opened refuses no statement, of which the jobs could be told apart.
    const engine = await ready(state, limit).catch((error) => {
      throw unavailable(error)
    })
    // All that it takes shares the time of those who wait for it.
    const ask: Ask = (text, values) => engine.query(text, values, timeLeft(end))
    return addJobs(engine, ask, envelopes, state.settings.pollInterval)
  })
}

function enqueue(state: State, inbox: Gatherer<JobEnvelope, string>, envelope: JobEnvelope): Promise<string> {
  // As long as an embedded database opens, nobody is to be told that it gave no answer.
  const isOpening = isEmbedded(state) && !state.isOpen
  return orUnavailable(isOpening ? ready(state).then(() => inbox.add(envelope)) : inbox.add(envelope))
}

function consume(state: State, run: JobRun, concurrency: number): JobConsumer {
  let closing: Promise<void> | undefined
  const starting = startConsumer(state, run, concurrency, () => closing !== undefined)
  const closeOnce = async () => {
    const consumer = await starting
    await consumer?.close()
    if (consumer !== undefined) state.consumers.delete(consumer)
  }
  return {
    close() {
      closing ??= closeOnce()
      return closing
    },
  }
}

/** The pause before a database that is away is opened again for a worker, in milliseconds. */
const RETRY_PAUSE = 1_000

/** Waits for a database that is away, as a worker must. */
async function startConsumer(
  state: State,
  run: JobRun,
  concurrency: number,
  isClosing: () => boolean,
): Promise<Consumer | undefined> {
  while (!state.isClosed && !isClosing()) {
    try {
      const parts = await openParts(state)
      if (state.isClosed || isClosing()) return undefined
      const consumer = new Consumer(parts, run, concurrency)
      state.consumers.add(consumer)
      consumer.start()
      return consumer
    } catch (error) {
      if (state.isClosed) return undefined
      state.listener.onTrouble(unavailable(error))
    }
    await sleep(RETRY_PAUSE)
  }
  return undefined
}

async function openParts(state: State): Promise<ConsumerParts> {
  const { settings, listener } = state
  const engine = await ready(state)
  // Closed meanwhile: nobody would end what begins to listen now.
  if (state.isClosed) throw closed()
  const onTrouble = (error: unknown) => {
    if (state.isClosed) return
    listener.onTrouble(unavailable(error))
    if (heed(state, error)) open(state).catch(() => {})
  }
  state.hearing ??= state.database.listen(settings.channel, (payload) => hear(state, payload), onTrouble)
  const { hearing } = state
  // A connection that only listens may be dead for a while before anyone notices, and locks end meanwhile.
  const ask: Engine['query'] = (text, values) => {
    const heard = hearing.query?.<never>(text, values)
    if (heard === undefined) return engine.query(text, values)
    return heard.catch((error) => {
      if (isRefusal(error)) throw error
      return engine.query(text, values)
    })
  }
  return { settings, engine, ask, onLost: listener.onLost, onTrouble }
}

/** A notification names the token that was cancelled, or nothing where jobs have come. */
function hear({ consumers, listener }: State, payload: string): void {
  if (payload !== '') listener.onCancelled(payload)
  for (const consumer of consumers) consumer.wake()
}

async function runOne(state: State, run: JobRun): Promise<boolean> {
  const { consumers } = state
  return asking(state, async () => {
    const consumer = new Consumer(await openParts(state), run, 1)
    consumers.add(consumer)
    return consumer.takeOne().finally(() => consumers.delete(consumer))
  })
}

interface FoundRow {
  state: string
  data: string | null
  output: string | null
  holds: boolean
  cancelled: boolean
}

async function find({ query, statements }: Engine, token: string): Promise<JobLookup> {
  const [row] = await query<FoundRow>(statements.find, [token])
  if (row === undefined) return { state: 'absent' }
  const envelope = toEnvelope(token, row.data)
  switch (row.state) {
    case 'created':
    case 'retry':
      return row.cancelled ? { state: 'ended', outcome: CANCELLED, envelope } : { state: 'waiting', envelope }
    case 'active':
      return { state: row.holds ? 'active' : 'lost', envelope }
    default: {
      const outcome = toOutcome(row.output)
      return { state: 'ended', ...(outcome !== undefined && { outcome }), envelope }
    }
  }
}

async function readHealth({ query, statements }: Engine): Promise<QueueHealth> {
  const [row] = await query<QueueHealth>(statements.count)
  return row as QueueHealth
}

/** Leaves the jobs to other processes, and does not wait for a database that is away. */
async function close(state: State): Promise<[]> {
  if (state.isClosed) return []
  state.isClosed = true
  const { consumers, hearing, database } = state
  const settled = (work: Promise<unknown>[]) => settlesWithin(Promise.allSettled(work), CLOSE_LIMIT)
  await settled([...consumers].map((consumer) => consumer.close()))
  for (const consumer of consumers) consumer.abandon()
  await settled([hearing?.close() ?? Promise.resolve(), database.close()])
  return []
}

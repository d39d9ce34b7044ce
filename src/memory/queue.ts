import { AsyncResource } from 'node:async_hooks'
import PQueue from 'p-queue'
import { Chain, type Link } from '../core/chain'
import { AfterJobsError } from '../core/errors'
import { checkCount, checkNames, dedupeKey, type JobEnvelope } from '../core/job'
import { nextTurn, startTimer, type Timer } from '../core/timer'
import type {
  ImmediateQueue,
  JobAnswer,
  JobConsumer,
  JobDelivery,
  JobLookup,
  JobQueue,
  JobRun,
  JobTakenOut,
} from '../ports/queue'
import { ReadyList } from './ready-list'
import { Turns } from './turns'

/** Options of {@link memoryQueue}. */
export interface MemoryQueueOptions {
  /** How many jobs run at once. Default 4. */
  concurrency?: number
  /** Whether jobs start without `work()`. Default true. */
  autoStart?: boolean
  /** How many jobs may wait before the next is refused with `QUEUE_FULL`. Default 100,000. */
  maxWaiting?: number
}

/** The queue of one process, with what only memory can do. */
export interface MemoryQueue extends JobQueue {
  /** Sets whether delays, those of further attempts included, are over at once. */
  ignoreDelays(isIgnoring: boolean): void
}

/**
 * A job that has not ended. It is its own delivery, because in memory a lock cannot be lost, and itself the asynchronous
 * context of whoever started the job, so that no job runs in another request's.
 */
class Entry extends AsyncResource implements JobDelivery, JobTakenOut, Link<Entry> {
  readonly envelope: JobEnvelope
  readonly service: object | undefined
  attempt = 1
  timer: Timer | undefined
  /** Whether it was cancelled while it ran, so that its next attempt is only told of its end. */
  isCancelled = false
  /** Where it stands: among those that arrive, are ready, delayed or active. */
  chain: Chain<Entry> | undefined
  before: Entry | undefined
  after: Entry | undefined
  readonly #keys: Map<string, string>

  constructor(envelope: JobEnvelope, service: object | undefined, keys: Map<string, string>) {
    super('AfterJob')
    this.envelope = envelope
    this.service = service
    this.#keys = keys
  }

  onStart(): void {
    this.freeKey()
  }

  /** Frees the dedupe key, unless another job stands for it by now. */
  freeKey(): void {
    if (this.envelope.dedupe === null) return
    const key = dedupeKey(this.envelope)
    if (this.#keys.get(key) === this.envelope.token) this.#keys.delete(key)
  }

  runAsCaller<T>(run: () => T): T {
    return this.runInAsyncScope(run)
  }
}

interface Consumer {
  readonly run: JobRun
  readonly concurrency: number
  readonly slots: PQueue
  isOpen: boolean
}

interface State {
  readonly maxWaiting: number
  /** Those of the tick that goes on, in which none may start. */
  readonly arriving: Chain<Entry>
  readonly ready: ReadyList<Entry>
  readonly delayed: Chain<Entry>
  readonly active: Chain<Entry>
  /** All of them by token, as soon as somebody has asked for one: most programs never do, and it takes a sixth of a small job. */
  index: Map<string, Entry> | undefined
  /** Dedupe key → token of the job that stands for it. */
  readonly keys: Map<string, string>
  readonly consumers: Set<Consumer>
  readonly turns: Turns
  isClosed: boolean
  ignoresDelays: boolean
}

/**
 * Makes the queue of one process: nothing to install; a job lives as long as its process.
 *
 * @throws AfterJobsError `INVALID_OPTION`; later, from `executeJob`, `QUEUE_FULL`.
 * @example
 * const jobs = createAfterJobs({ queue: memoryQueue({ concurrency: 10 }) })
 */
export function memoryQueue(options: MemoryQueueOptions = {}): MemoryQueue {
  checkNames('memoryQueue', options, ['concurrency', 'autoStart', 'maxWaiting'])
  const { concurrency = 4, autoStart = true, maxWaiting = 100_000 } = options
  for (const [name, value] of Object.entries({ concurrency, maxWaiting })) {
    if (value !== Number.POSITIVE_INFINITY) checkCount(`memoryQueue({ ${name} })`, value)
  }
  const state = createState(maxWaiting)
  const immediate: ImmediateQueue = {
    enqueue: (envelope, service) => accept(state, envelope, service),
  }
  const queue: MemoryQueue = {
    isShared: false,
    autoStart,
    enqueue: async (envelope, service) => acceptMany(state, [envelope], service)[0] as string,
    enqueueMany: async (envelopes, service) => acceptMany(state, envelopes, service),
    consume: (run, own = {}) => consume(state, run, own.concurrency ?? concurrency),
    runOne: (run) => runOne(state, run),
    find: async (token) => find(state, token),
    cancel: async (token) => takeOut(state, token),
    listen: () => {},
    health: async () => ({
      waiting: countWaiting(state),
      active: state.active.size,
      workers: state.consumers.size,
    }),
    ignoreDelays: (isIgnoring) => ignoreDelays(state, isIgnoring),
    close: async () => close(state),
  }
  // Not enumerable: who spreads this queue to put a method of their own in must not be passed over.
  return Object.defineProperty(queue, 'immediate', { value: immediate })
}

function createState(maxWaiting: number): State {
  return {
    maxWaiting,
    arriving: new Chain(),
    ready: new ReadyList(),
    delayed: new Chain(),
    active: new Chain(),
    index: undefined,
    keys: new Map(),
    consumers: new Set(),
    turns: new Turns(),
    isClosed: false,
    ignoresDelays: false,
  }
}

function countWaiting({ arriving, ready, delayed }: State): number {
  return arriving.size + ready.size + delayed.size
}

function findEntry(state: State, token: string): Entry | undefined {
  if (state.index === undefined) {
    const { arriving, ready, delayed, active } = state
    const entries = [...arriving, ...ready, ...delayed, ...active]
    state.index = new Map(entries.map((entry) => [entry.envelope.token, entry]))
  }
  return state.index.get(token)
}

/** Leaves one out of the index, which is given up with the last. */
function forget(state: State, entry: Entry): void {
  if (countWaiting(state) + state.active.size === 0) state.index = undefined
  else state.index?.delete(entry.envelope.token)
  entry.freeKey()
}

function accept(state: State, envelope: JobEnvelope, service: object | undefined): string {
  const hasRoom = !state.isClosed && countWaiting(state) < state.maxWaiting
  // A list of one is made only for a verdict.
  if (!hasRoom) checkRoom(state, [envelope])
  return acceptOne(state, envelope, service)
}

function acceptMany(state: State, envelopes: readonly JobEnvelope[], service: object | undefined): string[] {
  checkRoom(state, envelopes)
  return envelopes.map(
    (envelope) => findEntry(state, envelope.token)?.envelope.token ?? acceptOne(state, envelope, service),
  )
}

function checkRoom(state: State, envelopes: readonly JobEnvelope[]): void {
  if (state.isClosed) throw new AfterJobsError('CLOSED', 'The memory queue is closed and takes no more jobs.')
  const waiting = countWaiting(state)
  // Counted only where it matters: a job for which another one stands needs no room.
  const coming = waiting + envelopes.length > state.maxWaiting ? countNew(state, envelopes) : 0
  if (coming > 0 && waiting + coming > state.maxWaiting) {
    const message = `The memory queue is full: ${waiting} jobs wait, ${coming} more were to come, and maxWaiting is ${state.maxWaiting}. Try again later, or raise maxWaiting.`
    throw new AfterJobsError('QUEUE_FULL', message)
  }
}

/** Counts the jobs for which no other one stands. */
function countNew(state: State, envelopes: readonly JobEnvelope[]): number {
  const keys = new Set<string>()
  let count = 0
  for (const envelope of envelopes) {
    const key = envelope.dedupe === null ? undefined : dedupeKey(envelope)
    const isKnown = findEntry(state, envelope.token) !== undefined
    if (isKnown || (key !== undefined && (state.keys.has(key) || keys.has(key)))) continue
    if (key !== undefined) keys.add(key)
    count++
  }
  return count
}

function acceptOne(state: State, envelope: JobEnvelope, service: object | undefined): string {
  if (envelope.dedupe !== null) {
    const key = dedupeKey(envelope)
    const standing = state.keys.get(key)
    if (standing !== undefined) return standing
    state.keys.set(key, envelope.token)
  }
  const entry = new Entry(envelope, service, state.keys)
  state.index?.set(envelope.token, entry)
  if (envelope.delay > 0 && !state.ignoresDelays) postpone(state, entry, envelope.delay)
  else arrive(state, entry)
  return envelope.token
}

/** Lets a job in with the next turn of the event loop, so that none starts in the tick of its caller. */
function arrive(state: State, entry: Entry): void {
  state.arriving.push(entry)
  if (state.arriving.size > 1) return
  void nextTurn().then(() => {
    welcome(state)
    fillSlots(state)
  })
}

function welcome(state: State): void {
  for (let entry = state.arriving.shift(); entry !== undefined; entry = state.arriving.shift()) makeReady(state, entry)
}

function makeReady(state: State, entry: Entry): void {
  state.ready.push(entry, entry.envelope.priority)
}

function postpone(state: State, entry: Entry, delay: number): void {
  state.delayed.push(entry)
  entry.timer = startTimer(delay, () => {
    endDelay(state, entry)
    fillSlots(state)
  })
  // A job that nothing will run does not keep the process alive.
  entry.timer.hold(state.consumers.size > 0)
}

function endDelay(state: State, entry: Entry): void {
  entry.timer?.stop()
  entry.timer = undefined
  state.delayed.delete(entry)
  makeReady(state, entry)
}

function ignoreDelays(state: State, isIgnoring: boolean): void {
  state.ignoresDelays = isIgnoring
  if (!isIgnoring) return
  for (const entry of [...state.delayed]) endDelay(state, entry)
  fillSlots(state)
}

function consume(state: State, run: JobRun, concurrency: number): JobConsumer {
  if (state.isClosed) throw new AfterJobsError('CLOSED', 'The memory queue is closed and runs no more jobs.')
  const consumer: Consumer = { run, concurrency, slots: new PQueue({ concurrency }), isOpen: true }
  state.consumers.add(consumer)
  // A slot is free only some steps after its work has ended; what became ready meanwhile found none.
  consumer.slots.on('next', () => fillSlots(state))
  holdTimers(state)
  fillSlots(state)
  return {
    close() {
      consumer.isOpen = false
      state.consumers.delete(consumer)
      holdTimers(state)
      return consumer.slots.onIdle()
    },
  }
}

function holdTimers(state: State): void {
  for (const entry of state.delayed) entry.timer?.hold(state.consumers.size > 0)
}

/** Opens as many slots as there is work for. A slot takes one job after the other, which costs less than a slot for each. */
function fillSlots(state: State): void {
  for (const consumer of state.consumers) {
    const free = consumer.concurrency - consumer.slots.pending - consumer.slots.size
    for (let count = Math.min(free, state.ready.size); count > 0; count--) {
      void consumer.slots.add(() => workOff(state, consumer))
    }
  }
}

async function workOff(state: State, consumer: Consumer): Promise<void> {
  state.turns.begin()
  while (consumer.isOpen) {
    const { pause } = state.turns
    if (pause !== undefined) {
      await pause
      continue
    }
    const entry = state.ready.shift()
    if (entry === undefined) return
    const answer = begin(state, entry, consumer.run)
    // Asked for its shape: a promise of another realm (vm, Jest) is no instance of this one's.
    settle(state, entry, 'then' in answer ? await answer : answer)
  }
}

async function runOne(state: State, run: JobRun): Promise<boolean> {
  await nextTurn()
  welcome(state)
  const entry = state.ready.shift()
  if (entry !== undefined) settle(state, entry, await begin(state, entry, run))
  return entry !== undefined
}

function begin(state: State, entry: Entry, run: JobRun): JobAnswer | Promise<JobAnswer> {
  state.active.push(entry)
  const { immediate = run } = run
  return entry.runInAsyncScope(immediate, undefined, entry.envelope, entry)
}

function settle(state: State, entry: Entry, answer: JobAnswer): void {
  state.active.delete(entry)
  if (answer.type === 'completed' || answer.type === 'failed' || state.isClosed) {
    forget(state, entry)
    return
  }
  if (answer.type === 'retry') entry.attempt++
  // A job that could not be run would come back at once, and again, for ever.
  if (answer.delay > 0 && !((state.ignoresDelays || entry.isCancelled) && answer.type === 'retry')) {
    postpone(state, entry, answer.delay)
  } else {
    makeReady(state, entry)
    fillSlots(state)
  }
}

/** An unknown token may be held by another process's memory, with which this one shares only the cache. */
function find(state: State, token: string): JobLookup {
  const entry = findEntry(state, token)
  if (entry === undefined) return { state: 'unknown' }
  return { state: entry.chain === state.active ? 'active' : 'waiting' }
}

function takeOut(state: State, token: string): JobTakenOut | undefined {
  const entry = findEntry(state, token)
  if (entry === undefined) return undefined
  if (entry.chain === state.active) {
    entry.isCancelled = true
    return undefined
  }
  entry.timer?.stop()
  if (!state.ready.delete(entry, entry.envelope.priority)) entry.chain?.delete(entry)
  forget(state, entry)
  return entry
}

function close(state: State): JobTakenOut[] {
  state.isClosed = true
  for (const consumer of state.consumers) consumer.isOpen = false
  state.consumers.clear()
  const waiting = [...state.arriving, ...state.ready, ...state.delayed]
  // In the order in which they came, of which the ids of asynchronous resources tell.
  waiting.sort((a, b) => a.asyncId() - b.asyncId())
  for (const entry of waiting) takeOut(state, entry.envelope.token)
  return waiting
}

import { AfterJobsError, invalidOption } from '../core/errors'
import {
  type Backoff,
  checkJobOptions,
  checkNames,
  ENVELOPE_VERSION,
  type JobEnvelope,
  type JobId,
  type JobOptions,
  MAX_PAYLOAD_BYTES,
} from '../core/job'
import { copyJson, type JsonValue } from '../core/json'
import type { TransactionOptions } from '../core/runtime'
import { isFinal } from '../core/status'
import { withTimeLimit } from '../core/timer'
import type { JobQueue, TransactionalQueue } from '../ports/queue'
import { type Aftermath, tags } from './aftermath'
import type { CurrentJob } from './current-job'
import type { JobEvents } from './events'
import { HeldJobs } from './held-jobs'
import type { Log } from './log'
import type { RecordStore } from './record-store'
import { enqueueError, Refusals } from './refusals'
import type { Registry } from './registry'
import { makeToken } from './token-maker'
import { currentScope } from './token-scope'
import { Transaction } from './transaction'

/** Options of `executeJob` whose payload has not been checked. */
export interface UncheckedOptions extends JobOptions {
  payload?: unknown
  nested?: unknown
  db?: unknown
}

/** A hook to run, on which service. */
export interface HookCall {
  readonly service: object
  readonly serviceName: string
  /** The owner of the hook, where it has no `jobName`: its dedupe keys are kept from those of another one that is called the same. */
  readonly nameless: object | undefined
  readonly hook: string
}

/** What holds for every job that says nothing else. */
export interface JobDefaults {
  readonly attempts: number
  readonly backoff: Backoff | null
  readonly timeout: number | null
}

/** Where a job comes from. */
interface JobOrigin {
  readonly context: JsonValue | undefined
  readonly parent: string | null
  /** Epoch milliseconds. */
  readonly createdAt: number
}

/** What the dispatcher works with. */
export interface DispatcherParts {
  readonly queue: JobQueue
  readonly store: RecordStore
  readonly registry: Registry
  readonly aftermath: Aftermath
  readonly events: JobEvents
  readonly log: Log
  readonly defaults: JobDefaults
  readonly enqueueTimeout: number
  readonly capture: (() => unknown) | undefined
  /** Takes over work that no answer waits for, so that `drain` and `close` do. */
  readonly inBackground: (work: Promise<unknown>) => void
}

/** So many jobs go to the queue and to the cache in one call. */
const BATCH = 1_000
/** The longest time between two signs of life of a job that waits for its commit, in milliseconds. */
const BEAT = 5_000
const NO_OPTIONS: UncheckedOptions = {}
const OPTION_NAMES = ['payload', 'delay', 'priority', 'attempts', 'backoff', 'timeout', 'dedupe', 'nested', 'db']

/** Hands jobs to the queue, and writes `pending` beside it rather than before it, so that the two round trips overlap. */
export class Dispatcher {
  readonly #parts: DispatcherParts
  readonly #held: HeldJobs
  readonly #transactions = new Set<Promise<unknown>>()
  readonly refusals: Refusals
  #state: 'open' | 'closing' | 'closed' = 'open'

  constructor(parts: DispatcherParts) {
    this.#parts = parts
    this.refusals = new Refusals(parts)
    this.#held = new HeldJobs({
      ...parts,
      withdraw: (jobs, db) => this.#withdraw(jobs, db),
      send: ({ envelope, service }) => this.#send(envelope, service, Date.now()),
      onRefused: ({ envelope, service }, error) => this.refusals.compensate(envelope, service, error),
    })
  }

  /** Lets only those start jobs who are inside a job or a transaction. */
  beginClose(): void {
    this.#state = 'closing'
  }

  /** Lets nobody start jobs any more. */
  close(): void {
    this.#state = 'closed'
  }

  #isUnderWay(job: CurrentJob | undefined, hook: string): boolean {
    return job !== undefined || Transaction.find(this.#held, hook) !== undefined
  }

  /** @throws AfterJobsError that names what was wrong with the options, the payload or the captured context. */
  prepare(call: HookCall, id: JobId, options: UncheckedOptions | undefined): JobEnvelope {
    return this.#makeEnvelope(call, id, options, this.#readOrigin(call, options))
  }

  /** The same for many, which have one origin. */
  prepareMany(call: HookCall, ids: readonly JobId[], options: UncheckedOptions | undefined): JobEnvelope[] {
    const origin = this.#readOrigin(call, options)
    return ids.map((id) => this.#makeEnvelope(call, id, options, origin))
  }

  #readOrigin(call: HookCall, options: UncheckedOptions | undefined): JobOrigin {
    const job = currentScope()?.job
    // What is under way when the runtime begins to close goes on as it would have, until the queue closes.
    const mayStart = this.#state === 'open' || (this.#state === 'closing' && this.#isUnderWay(job, call.hook))
    if (!mayStart) {
      throw new AfterJobsError('CLOSED', `The runtime is closed: ${call.hook} was not started.`)
    }
    if (options !== undefined) {
      checkNames('executeJob', options, OPTION_NAMES)
      checkJobOptions(options)
    }
    // A job inside a job runs for whoever asked for the outer one.
    return { context: this.#captureContext() ?? job?.context, parent: job?.token ?? null, createdAt: Date.now() }
  }

  #makeEnvelope(
    { serviceName, nameless, hook }: HookCall,
    id: JobId,
    options: UncheckedOptions | undefined,
    { context, parent, createdAt }: JobOrigin,
  ): JobEnvelope {
    const { defaults, registry } = this.#parts
    const { payload, backoff, dedupe } = options ?? NO_OPTIONS
    const dedupeScope = nameless === undefined || dedupe === undefined ? '' : `${registry.localIdOf(nameless)}#`
    return {
      version: ENVELOPE_VERSION,
      token: makeToken(),
      service: serviceName,
      hook,
      id,
      payload: payload === undefined ? undefined : copyPayload(payload, hook),
      context,
      parent,
      delay: options?.delay ?? 0,
      priority: options?.priority ?? 0,
      attempts: options?.attempts ?? defaults.attempts,
      // A copy: what the caller later does to its options changes no job.
      backoff: backoff ? { type: backoff.type, delay: backoff.delay } : defaults.backoff,
      timeout: options?.timeout ?? defaults.timeout,
      dedupe: dedupe === undefined ? null : `${dedupeScope}${dedupe}`,
      createdAt,
    }
  }

  /**
   * Resolves to the token once the queue has accepted the job.
   *
   * @throws AfterJobsError with `token`, and `accepted: 'unknown'` where nobody can tell.
   */
  dispatch(envelope: JobEnvelope, service: object, db?: unknown): string | Promise<string> {
    if (db !== undefined) return this.#joinOne(envelope, db)
    let transaction: Transaction | undefined
    try {
      transaction = Transaction.find(this.#held, envelope.hook)
    } catch (error) {
      return this.refusals.decide(envelope, error, undefined)
    }
    if (transaction === undefined) return this.#send(envelope, service, envelope.createdAt)
    if (transaction.db !== undefined) return this.#joinOne(envelope, transaction.db, transaction)
    if (envelope.dedupe !== null) return Promise.reject(dedupedInTransaction(envelope))
    return this.#hold(transaction, envelope, service)
  }

  /**
   * Runs a function whose jobs are queued when it has resolved, and dropped when it rejects; with the connection of a database
   * transaction they are a part of that.
   */
  async transact<T>(run: () => T, options: TransactionOptions): Promise<Awaited<T>> {
    // A misspelt one would part the jobs from the transaction in silence.
    checkNames('transaction', options, ['db'])
    const { db } = options
    if (db !== undefined) this.#database()
    const transaction = Transaction.run(this.#held, Math.min(BEAT, this.#parts.enqueueTimeout), run, db)
    this.#transactions.add(transaction)
    return transaction.finally(() => this.#transactions.delete(transaction))
  }

  /** Resolves when no transaction is open any more. */
  async endTransactions(): Promise<void> {
    await Promise.allSettled(this.#transactions)
  }

  /** Tells whether a job would be put into the caller's own database transaction, whose failure the caller must hear of. */
  isJoined(): boolean {
    return Transaction.isJoined(this.#held)
  }

  async #joinOne(envelope: JobEnvelope, db: unknown, transaction?: Transaction): Promise<string> {
    const [token] = await this.#join([envelope], db, transaction)
    return token as string
  }

  /**
   * Puts jobs into the caller's own database transaction, which decides over them: nothing else is written before it commits, so
   * that a rollback leaves neither job nor status. Until a worker writes the record, whoever reads the status asks the queue.
   */
  async #join(envelopes: readonly JobEnvelope[], db: unknown, transaction?: Transaction): Promise<string[]> {
    const database = this.#database()
    const [first] = envelopes as [JobEnvelope]
    // Other callers would wait for this transaction to end, to learn who has the key.
    if (first.dedupe !== null) throw dedupedInTransaction(first)
    transaction?.join(envelopes)
    try {
      for (let start = 0; start < envelopes.length; start += BATCH) {
        const batch = envelopes.slice(start, start + BATCH)
        await this.#bound(database.enqueueMany(batch, db, this.#parts.enqueueTimeout))
      }
      // Without keys, each stands for itself.
      for (const envelope of envelopes) this.#onAccepted(envelope, envelope.token)
      return envelopes.map(({ token }) => token)
    } catch (cause) {
      throw enqueueError(first, cause)
    }
  }

  /** Where nothing can be taken back, the transaction has failed, and keeps nothing. */
  async #withdraw(envelopes: readonly JobEnvelope[], db: unknown): Promise<void> {
    const tokens = envelopes.map(({ token }) => token)
    await this.#bound(this.#database().withdraw(tokens, db, this.#parts.enqueueTimeout)).catch(() => {})
  }

  #database(): TransactionalQueue {
    const { transactional } = this.#parts.queue
    if (transactional !== undefined) return transactional
    const message = 'db was given, but the queue is in no database. Take postgresQueue, or leave it out.'
    throw invalidOption(message)
  }

  /** Noted before anything is awaited, so that a call that nobody awaits belongs to its transaction, too. */
  #hold(transaction: Transaction, envelope: JobEnvelope, service: object): string | Promise<string> {
    transaction.hold({ envelope, service })
    return this.#record(envelope, envelope.createdAt)
  }

  /** Also writes the record of a job that a transaction held, in case the cache was away when that began. */
  #send(envelope: JobEnvelope, service: object, at: number): string | Promise<string> {
    const { immediate } = this.#parts.queue
    if (immediate === undefined) return this.#sendLater(envelope, service)
    try {
      const token = immediate.enqueue(envelope, service)
      if (token !== envelope.token) return this.#checkStanding(envelope, token, service)
      // Before its listeners hear of the job: they may look at its status.
      const recorded = this.#record(envelope, at)
      this.#onAccepted(envelope, token)
      return recorded
    } catch (error) {
      return this.refusals.decide(envelope, error, undefined)
    }
  }

  async #sendLater(envelope: JobEnvelope, service: object): Promise<string> {
    const { queue } = this.#parts
    const since = Date.now()
    // A deduped job may have no record of its own, which shows only when the queue has answered.
    const recorded = envelope.dedupe === null ? this.#record(envelope) : undefined
    try {
      const token = await this.#bound(queue.enqueue(envelope, queue.isShared ? undefined : service))
      if (token !== envelope.token) return await this.#checkStanding(envelope, token, service)
      this.#onAccepted(envelope, token)
      await (recorded ?? this.#record(envelope))
      return token
    } catch (error) {
      return this.refusals.decide(envelope, error, recorded, since)
    }
  }

  /** Answers the job that stands for a dedupe key. One that was cancelled, which its queue has not heard yet, stands for nothing. */
  async #checkStanding(envelope: JobEnvelope, token: string, service: object): Promise<string> {
    const { queue, store } = this.#parts
    const record = await store.read(token).catch(() => undefined)
    if (record === undefined || !isFinal(record.status)) return token
    if (!queue.isShared) return this.#send({ ...envelope, dedupe: null }, service, Date.now())
    await this.#bound(queue.cancel(token))
    const standing = await this.#bound(queue.enqueue(envelope))
    if (standing !== envelope.token) return standing
    this.#onAccepted(envelope, standing)
    await this.#record(envelope)
    return standing
  }

  /**
   * Resolves to the tokens, in order.
   *
   * @throws AfterJobsError; after a failure half-way with the `accepted` tokens.
   */
  async dispatchMany(envelopes: readonly JobEnvelope[], service: object, db?: unknown): Promise<string[]> {
    const [first] = envelopes
    if (first === undefined) return []
    if (db !== undefined) return this.#join(envelopes, db)
    const transaction = Transaction.find(this.#held, first.hook)
    if (transaction !== undefined) {
      if (transaction.db !== undefined) return this.#join(envelopes, transaction.db, transaction)
      if (first.dedupe !== null) throw dedupedInTransaction(first)
      return this.#holdMany(transaction, envelopes, service)
    }
    // A queue that takes all or nothing is asked once.
    const size = this.#parts.queue.isShared ? BATCH : envelopes.length
    const accepted: string[] = []
    for (let start = 0; start < envelopes.length; start += size) {
      try {
        accepted.push(...(await this.#dispatchBatch(envelopes.slice(start, start + size), service)))
      } catch (error) {
        if (!AfterJobsError.is(error)) throw error
        const { code, message, cause } = error
        for (const token of Array.isArray(error.accepted) ? error.accepted : []) accepted.push(token)
        throw new AfterJobsError(code, message, { cause, ...(this.#parts.queue.isShared && { accepted }) })
      }
    }
    return accepted
  }

  /** One after the other: those of one key all stand for the same. */
  async #checkAllStanding(
    envelopes: readonly JobEnvelope[],
    tokens: readonly string[],
    service: object,
  ): Promise<string[]> {
    const own = new Set(envelopes.map(({ token }) => token))
    const checked = new Map<string, string>()
    for (const [index, token] of tokens.entries()) {
      if (own.has(token) || checked.has(token)) continue
      checked.set(token, await this.#checkStanding(envelopes[index] as JobEnvelope, token, service))
    }
    return tokens.map((token) => checked.get(token) ?? token)
  }

  async #holdMany(transaction: Transaction, envelopes: readonly JobEnvelope[], service: object): Promise<string[]> {
    for (const envelope of envelopes) transaction.hold({ envelope, service })
    await this.#recordMany(envelopes)
    return envelopes.map(({ token }) => token)
  }

  async #dispatchBatch(envelopes: readonly JobEnvelope[], service: object): Promise<string[]> {
    const { queue } = this.#parts
    const recorded = envelopes[0]?.dedupe === null ? this.#recordMany(envelopes) : undefined
    try {
      const tokens = await this.#bound(queue.enqueueMany(envelopes, queue.isShared ? undefined : service))
      for (const [index, envelope] of envelopes.entries()) this.#onAccepted(envelope, tokens[index] as string)
      await (recorded ?? this.#recordMany(envelopes.filter((envelope, index) => tokens[index] === envelope.token)))
      return await this.#checkAllStanding(envelopes, tokens, service)
    } catch (error) {
      return this.refusals.decideAll(envelopes, error, recorded)
    }
  }

  #onAccepted(envelope: JobEnvelope, token: string): void {
    if (token !== envelope.token) return
    const { events, log } = this.#parts
    log.debug?.(tags(envelope), 'job queued')
    events.emit('queued', envelope, 0)
  }

  /** Writes `pending`, and answers the token. A cache that is away stops no job: its worker writes the record, or the queue is asked for it. */
  #record(envelope: JobEnvelope, at = Date.now()): string | Promise<string> {
    const { token } = envelope
    const created = this.#parts.store.create(envelope, at)
    if (!(created instanceof Promise)) return token
    return created.catch((error) => this.#onUnrecorded(envelope, error)).then(() => token)
  }

  async #recordMany(envelopes: readonly JobEnvelope[]): Promise<void> {
    const at = Date.now()
    for (let start = 0; start < envelopes.length; start += BATCH) {
      const batch = envelopes.slice(start, start + BATCH)
      await this.#parts.store.createMany(batch, at).catch((error) => this.#onUnrecorded(batch[0] as JobEnvelope, error))
    }
  }

  #onUnrecorded(envelope: JobEnvelope, error: unknown): void {
    this.#parts.log.error?.(tags(envelope, error), 'the status of a queued job could not be stored')
  }

  #captureContext(): JsonValue | undefined {
    const { capture } = this.#parts
    if (capture === undefined) return undefined
    const name = 'What context.capture() returned'
    return copyJson(callCapture(capture), { name, code: 'INVALID_CONTEXT', maxBytes: MAX_PAYLOAD_BYTES })
  }

  #bound<T>(call: Promise<T>): Promise<T> {
    const { queue, enqueueTimeout } = this.#parts
    if (queue.immediate !== undefined) return call
    return withTimeLimit(call, enqueueTimeout, () => new Error(`The queue gave no answer within ${enqueueTimeout} ms`))
  }
}

/** Copies a payload. @throws AfterJobsError `INVALID_PAYLOAD` */
export function copyPayload(payload: unknown, hook: string): JsonValue | undefined {
  return copyJson(payload, { name: `The payload of ${hook}`, code: 'INVALID_PAYLOAD', maxBytes: MAX_PAYLOAD_BYTES })
}

function callCapture(capture: () => unknown): unknown {
  try {
    return capture()
  } catch (cause) {
    throw new AfterJobsError('INVALID_CONTEXT', 'context.capture() threw. It must answer plain data, or undefined.', {
      cause,
    })
  }
}

function dedupedInTransaction({ hook }: JobEnvelope): AfterJobsError {
  const message = `${hook} was given dedupe inside a transaction, where its job may be dropped. Leave it out.`
  return invalidOption(message)
}

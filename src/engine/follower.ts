import { hookName } from '../core/hook-name'
import { type JobEnvelope, type JobId, readId, show } from '../core/job'
import { isObject } from '../core/json'
import { type Binding, displayName, stateOf } from './binding'
import type { HookCall } from './dispatcher'
import { holdCallers, noteToken, releaseCallers } from './token-scope'
import { beginAction, endAction, type TokenState } from './token-state'

/** What happens to a failed enqueue after the action itself has succeeded. */
export type OnEnqueueError = 'log' | 'throw'

/** A method that starts jobs. */
export interface Action {
  readonly name: string
  readonly findId: (result: unknown, ...args: unknown[]) => unknown
  /** What it resolved to → the job that was started for that last. */
  readonly started: WeakMap<object, Started>
}

/** One call of such a method. */
export interface Call {
  readonly action: Action
  readonly service: object
  readonly args: readonly unknown[]
  /** Grows with each call, by which one that began inside of another is known. */
  readonly number: number
  /** Tells the callers apart. */
  readonly caller: number
}

/** A job, and the call that started it: in plain figures, because it is kept as long as its entity. */
interface Started {
  readonly token: string
  readonly state: TokenState
  readonly number: number
  readonly caller: number
}

/** A job of one item: to be started, or known. */
interface Start {
  readonly entity: unknown
  readonly id?: JobId
  begin(): string | Promise<string>
}

/** Follows actions to their end, and starts their jobs. */
export class Follower {
  readonly #binding: Binding
  readonly #onEnqueueError: OnEnqueueError

  constructor(binding: Binding, onEnqueueError: OnEnqueueError) {
    this.#binding = binding
    this.#onEnqueueError = onEnqueueError
  }

  /** Settles as the action does, once its jobs were started. */
  async follow(call: Call, action: Promise<unknown>): Promise<unknown> {
    const state = stateOf(call.service)
    beginAction(state)
    holdCallers()
    try {
      const result = await action
      await this.#startJobs(call, state, result)
      return result
    } finally {
      releaseCallers()
      endAction(state)
    }
  }

  /** The write has been done: from here on nothing of ours rejects, unless the application asked for it. */
  async #startJobs(call: Call, state: TokenState, result: unknown): Promise<void> {
    noteToken(state, undefined)
    const hook = this.#findHook(call)
    if (hook === undefined || result === null) return
    const starts = Array.isArray(result)
      ? // Not by its own map(), which would make another of the application's lists.
        Array.from(result, (item) => findStarted(call, state, item) ?? this.#prepare(call, hook, item))
      : [this.#prepare(call, hook, result)]
    const known = starts.filter((start) => start !== undefined)
    const tokens = await Promise.all(known.map((start) => start.begin()))
    for (const [index, { entity, id }] of known.entries()) {
      const token = tokens[index] as string
      noteToken(state, token, entity, id)
      if (isObject(entity)) call.action.started.set(entity, { token, state, number: call.number, caller: call.caller })
    }
  }

  #findHook({ action, service }: Call): HookCall | undefined {
    try {
      return this.#binding.findHook(service, 'after', action.name)
    } catch (error) {
      this.#report(displayName(service), hookName('after', action.name), error)
      return undefined
    }
  }

  #prepare(call: Call, hook: HookCall, item: unknown): Start | undefined {
    const id = this.#findId(call, hook, item)
    if (id === undefined) return undefined
    try {
      const envelope = this.#binding.engine.dispatcher.prepare(hook, id, undefined)
      return { entity: item, id, begin: () => this.#dispatch(hook, envelope) }
    } catch (error) {
      if (this.#onEnqueueError === 'throw') throw error
      this.#report(hook.serviceName, hook.hook, error)
      return undefined
    }
  }

  /** An unusable id is never the action's failure: what was written has been written. */
  #findId({ action, args }: Call, { serviceName, hook }: HookCall, item: unknown): JobId | undefined {
    if (item === null) return undefined
    try {
      const id = action.findId(item, ...args)
      return id === undefined || id === null ? undefined : readId(id, hook)
    } catch (error) {
      this.#report(serviceName, hook, error)
      return undefined
    }
  }

  async #dispatch({ service }: HookCall, envelope: JobEnvelope): Promise<string> {
    const { dispatcher } = this.#binding.engine
    try {
      return await dispatcher.dispatch(envelope, service)
    } catch (error) {
      // What a database transaction has not committed has not been written: it must not commit without its job.
      if (this.#onEnqueueError === 'throw' || dispatcher.isJoined()) throw error
      await dispatcher.refusals.compensate(envelope, service, error)
      return envelope.token
    }
  }

  #report(service: string, hook: string, error: unknown): void {
    const { log, events } = this.#binding.engine
    const message = error instanceof Error ? error.message : show(error)
    log.warn({ service, hook, err: error }, `auto started no job: ${message}`)
    events.emit('error', { token: null, service, hook, id: null }, 0, { code: 'enqueue_failed', error })
  }
}

/**
 * Finds the job of an item of a list that a call inside of the list's own has started, as when `create(list)` answers what
 * `this.create(item)` has made. Only objects can be told from others of the same value; a job too many is better than none.
 */
function findStarted({ action, number, caller }: Call, state: TokenState, item: unknown): Start | undefined {
  const started = isObject(item) ? action.started.get(item) : undefined
  if (started === undefined || started.state !== state || started.caller !== caller) return undefined
  return started.number > number ? { entity: item, begin: () => started.token } : undefined
}

import { AfterJobsError } from '../core/errors'
import { hookName } from '../core/hook-name'
import { type JobId, readId, show } from '../core/job'
import type { AfterJobs } from '../core/runtime'
import type { HookCall, UncheckedOptions } from './dispatcher'
import { type Engine, engineOf } from './engine'
import { findParent, runInline } from './inline-run'
import { findToken, noteToken } from './token-scope'
import { beginAction, createTokenState, endAction, endActionSoon, type TokenState } from './token-state'

/** Options of `withAfterJobs` and `attachAfterJobs`, apart from `auto`. */
export interface BindingOptions {
  readonly jobs?: AfterJobs | undefined
  readonly tokenScope?: 'instance' | undefined
  /** The name of a plain object that is a service. */
  readonly name?: string | undefined
}

/** The state of a service: one symbol-keyed property, found through the prototype chain by what wraps the service. */
const STATE: unique symbol = Symbol.for('after-jobs.state') as never

/** Binds services to a runtime: finds hooks, hands them to the dispatcher, keeps the tokens of each instance apart. */
export class Binding {
  readonly #options: BindingOptions
  readonly #makeDefault: () => AfterJobs
  #engine: Engine | undefined

  constructor(options: BindingOptions, makeDefault: () => AfterJobs) {
    this.#options = options
    this.#makeDefault = makeDefault
    // A wrong runtime is told where it is written, not with the first job.
    if (options.jobs !== undefined) this.#engine = engineOf(options.jobs)
  }

  get engine(): Engine {
    this.#engine ??= engineOf(this.#makeDefault())
    return this.#engine
  }

  /** Not an async function: in memory everything but the answer takes place at once. */
  executeJob(
    service: object,
    when: string,
    action: string,
    subject: unknown,
    options?: UncheckedOptions,
  ): Promise<string | undefined> {
    const state = stateOf(service)
    beginAction(state)
    try {
      const call = this.findHook(service, when, action)
      const id = call && readId(subject, call.hook)
      const token = call && this.#dispatch(call, id, options)
      if (token instanceof Promise) return this.#follow(state, token, subject, id)
      noteToken(state, token, subject, id)
      endActionSoon(state)
      return Promise.resolve(token)
    } catch (error) {
      endActionSoon(state)
      return Promise.reject(error)
    }
  }

  #dispatch(call: HookCall, id: JobId | undefined, options: UncheckedOptions | undefined): string | Promise<string> {
    const parent = findParent(options, call.hook)
    if (parent !== undefined) return runInline(parent, call, id as JobId, options?.payload)
    const { dispatcher } = this.engine
    return dispatcher.dispatch(dispatcher.prepare(call, id as JobId, options), call.service, options?.db)
  }

  async #dispatchMany(call: HookCall, ids: readonly JobId[], options: UncheckedOptions | undefined): Promise<string[]> {
    const parent = findParent(options, call.hook)
    if (parent === undefined) {
      const { dispatcher } = this.engine
      return dispatcher.dispatchMany(dispatcher.prepareMany(call, ids, options), call.service, options?.db)
    }
    const tokens: string[] = []
    // One after the other, as the calls of executeJob would be.
    for (const id of ids) tokens.push(await runInline(parent, call, id, options?.payload))
    return tokens
  }

  async #follow(state: TokenState, dispatched: Promise<string>, entity: unknown, id: unknown): Promise<string> {
    try {
      const token = await dispatched
      noteToken(state, token, entity, id)
      return token
    } finally {
      endAction(state)
    }
  }

  async executeJobs(
    service: object,
    when: string,
    action: string,
    subjects: readonly unknown[],
    options?: UncheckedOptions,
  ): Promise<string[]> {
    const state = stateOf(service)
    beginAction(state)
    try {
      const call = this.findHook(service, when, action)
      if (call === undefined) {
        noteToken(state, undefined)
        return []
      }
      if (!Array.isArray(subjects)) {
        throw new AfterJobsError('INVALID_ID', `executeJobs needs an array of ids or entities; got ${show(subjects)}.`)
      }
      const ids = Array.from(subjects, (subject) => readId(subject, call.hook))
      const tokens = await this.#dispatchMany(call, ids, options)
      if (tokens.length === 0) noteToken(state, undefined)
      for (const [index, token] of tokens.entries()) noteToken(state, token, subjects[index], ids[index])
      return tokens
    } finally {
      endAction(state)
    }
  }

  getJobToken(service: object, entity?: unknown): string | undefined {
    const isOwnInstance = this.#options.tokenScope === 'instance' || this.engine.hasOwnInstances
    return findToken(stateOf(service), displayName(service), isOwnInstance, entity)
  }

  /** Finds the hook of an action; `undefined` when the service has none. */
  findHook(service: object, when: string, action: string): HookCall | undefined {
    const hook = hookName(when, action)
    const method = (service as Record<string, unknown>)[hook]
    if (method === undefined || method === null) return undefined
    const { making } = this.engine.registry
    if (making !== undefined) throw startedWhileMade(hook, making)
    if (typeof method === 'function') return this.#callOf(service, hook)
    const message = `${displayName(service)}.${hook} is ${show(method)}; expected a method (id, token, progress, job).`
    throw new AfterJobsError('INVALID_HOOK', message)
  }

  #callOf(service: object, hook: string): HookCall {
    const owner: object =
      service.constructor === undefined || service.constructor === Object ? service : service.constructor
    const name = this.#options.name ?? (owner as { jobName?: unknown }).jobName
    if (typeof name === 'string' && name !== '') return { service, serviceName: name, nameless: undefined, hook }
    if (!this.engine.isShared) return { service, serviceName: displayName(service), nameless: owner, hook }
    const cure =
      owner === service ? "attachAfterJobs(service, { name: 'project' })" : "static readonly jobName = 'project'"
    const message = `${displayName(service)} has no name for a queue that processes share, where minifiers rename classes. Give it one: ${cure}.`
    throw new AfterJobsError('NO_JOB_NAME', message)
  }
}

function startedWhileMade(hook: string, name: string): AfterJobsError {
  const message = `${hook} was started while a worker was making the service ${show(name)}, in its constructor or factory: every job would start another one. Start jobs in methods.`
  return new AfterJobsError('INVALID_SERVICE', message)
}

/** States of services that are frozen, and so cannot carry their own. */
const frozenStates = new WeakMap<object, TokenState>()

/** Reads the token state of a service, also of one that is wrapped by `Object.create(service)`, as Feathers does. */
export function stateOf(service: object): TokenState {
  const known = (service as { [STATE]?: TokenState })[STATE] ?? frozenStates.get(service)
  if (known !== undefined) return known
  const state = createTokenState()
  if (!Reflect.defineProperty(service, STATE, { value: state })) frozenStates.set(service, state)
  return state
}

export function displayName(service: object): string {
  return service.constructor?.name || 'Service'
}

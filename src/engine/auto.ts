import { AfterJobsError } from '../core/errors'
import { hookName } from '../core/hook-name'
import { type JobId, wrongOption } from '../core/job'
import { isObject, tagOf } from '../core/json'
import { type Binding, displayName } from './binding'
import { type Action, Follower, type OnEnqueueError } from './follower'
import { numberCaller } from './token-scope'

/** Finds the id of what an action made, changed or removed; nothing starts where it answers none. */
export type AutoId = {
  // Declared as a method, so that a function may take the narrower result of its own action.
  bivariant(result: unknown, ...args: unknown[]): JobId | null | undefined
}['bivariant']

/** Which methods start `after<Action>Job` by themselves: their names, or each with a function that finds the id. */
export type Auto = readonly string[] | Readonly<Record<string, AutoId | undefined>>

type Method = (this: unknown, ...args: unknown[]) => unknown

/** Makes methods start their jobs after they have resolved. */
export class AutoStart {
  readonly #binding: Binding
  readonly #actions: readonly Action[]
  readonly #follower: Follower
  readonly #prototypes = new WeakMap<object, object>()
  /** The prototypes made here, by which an instance shows that it has one. */
  readonly #installed = new WeakSet<object>()
  /** The methods made here. */
  readonly #methods = new WeakSet<object>()
  readonly #warnings = new Set<string>()
  #lastNumber = 0

  /** @throws AfterJobsError `INVALID_ACTION` for a name that cannot have a hook. */
  constructor(binding: Binding, auto: Auto, onEnqueueError: OnEnqueueError) {
    this.#binding = binding
    this.#actions = readActions(auto)
    this.#follower = new Follower(binding, onEnqueueError)
  }

  /** The names of the methods. */
  get names(): string[] {
    return this.#actions.map(({ name }) => name)
  }

  /**
   * Gives an instance a prototype before its class's own, so that what is called on the instance is the outermost override,
   * while `super.create()` inside of it is not.
   */
  install(instance: object): void {
    const leaf = Object.getPrototypeOf(instance)
    if (this.#installed.has(leaf)) return
    if (!Reflect.setPrototypeOf(instance, this.#prototypeFor(leaf, instance))) {
      const what = `${displayName(instance)}, which was frozen or sealed by its base, so that no job starts by itself`
      this.#warn(undefined, `auto cannot reach ${what}. Call executeJob() in the action.`)
      return
    }
    for (const action of this.#actions) {
      if (isFunction(Object.getOwnPropertyDescriptor(instance, action.name)?.value)) this.#wrap(instance, action)
    }
  }

  #prototypeFor(leaf: object, first: object): object {
    const known = this.#prototypes.get(leaf)
    if (known !== undefined) return known
    const prototype: object = Object.create(leaf)
    for (const action of this.#actions) {
      if (isFunction(findProperty(leaf, action.name)?.value)) this.#define(prototype, action, leaf, false)
    }
    this.#prototypes.set(leaf, prototype)
    this.#installed.add(prototype)
    // The fields of a subclass are set only after the constructor that installs. A getter may throw, and is left to others.
    Promise.resolve(first)
      .then((instance) => this.#checkMethods(instance))
      .catch(() => {})
    return prototype
  }

  /** Wraps the methods of a plain object in place. */
  attach(service: object): void {
    for (const action of this.#actions) {
      if (isFunction(Reflect.get(service, action.name))) this.#wrap(service, action)
      else this.#warnOfMissing(service, action.name)
    }
  }

  /** Replaces a function that belongs to one object alone. */
  #wrap(owner: object, action: Action): void {
    const { name } = action
    const isEnumerable = Object.getOwnPropertyDescriptor(owner, name)?.enumerable ?? false
    if (this.#define(owner, action, { [name]: Reflect.get(owner, name) }, isEnumerable, owner)) return
    this.#warn(name, `auto: ${displayName(owner)}.${name} cannot be replaced, so that no job starts by itself.`)
  }

  #define(target: object, action: Action, origin: object, isEnumerable: boolean, owner?: object): boolean {
    const { name } = action
    const start = (self: unknown, args: unknown[]) => {
      const number = ++this.#lastNumber
      // Looked up with each call, so that a spy put on the class later is not passed over.
      const result = Reflect.apply(Reflect.get(origin, name) as Method, self, args)
      // Of a method that was taken off its object, only what belongs to one object alone still tells whose it is.
      const service = isObject(self) ? self : owner
      if (service === undefined) return result
      if (!isPromise(result)) return this.#passThrough(service, name, result)
      return this.#follower.follow({ action, service, args, number, caller: numberCaller() }, result)
    }
    const value: Method = function (...args) {
      return start(this, args)
    }
    this.#methods.add(value)
    Object.defineProperty(value, 'name', { value: name })
    return Reflect.defineProperty(target, name, { value, enumerable: isEnumerable, configurable: true, writable: true })
  }

  #passThrough(service: object, name: string, result: unknown): unknown {
    const message = `auto: ${displayName(service)}.${name}() returned no promise, so that no job was started. Make it async.`
    this.#warn(name, message)
    return result
  }

  /** Warns of what auto names in vain, once an instance is complete. */
  #checkMethods(instance: object): void {
    for (const { name } of this.#actions) {
      const found = findProperty(instance, name)
      // A field is enumerable; a spy has the form of the method that it stands for, and calls it.
      const isField = found?.enumerable && isFunction(found.value) && !this.#methods.has(found.value)
      if (isField || found?.get) {
        const message = `auto: ${displayName(instance)}.${name} is a field or a getter, so that no job starts by itself. Write it as a method: async ${name}(…) { … }.`
        this.#warn(name, message)
      } else if (!isFunction(found?.value)) this.#warnOfMissing(instance, name)
    }
  }

  #warnOfMissing(service: object, name: string): void {
    this.#warn(name, `auto names the method '${name}', which ${displayName(service)} does not have.`)
  }

  /** Warns once of each thing. */
  #warn(method: string | undefined, message: string): void {
    if (this.#warnings.has(message)) return
    this.#warnings.add(message)
    this.#binding.engine.log.warn({ method }, message)
  }
}

/** Finds what an object or its prototypes hold under a name. A getter is not asked: it may need what is not there yet. */
function findProperty(object: object | null, name: string): PropertyDescriptor | undefined {
  return object === null
    ? undefined
    : (Object.getOwnPropertyDescriptor(object, name) ?? findProperty(Object.getPrototypeOf(object), name))
}

function readActions(auto: Auto): Action[] {
  if (typeof auto !== 'object') {
    throw wrongOption('auto', auto, "names, like ['create'], or { create: (result, ...args) => id }")
  }
  const entries = Array.isArray(auto)
    ? auto.map((name: string) => [name, undefined] as const)
    : (Object.entries(auto) as [string, AutoId | undefined][])
  return [...new Map(entries)].map(([name, findId = findOwnId]) => {
    hookName('after', name)
    if (typeof findId === 'function') return { name, findId, started: new WeakMap() }
    throw wrongOption(`auto.${name}`, findId, 'a function (result, ...args) => id')
  })
}

/** The id of the result, else the result itself where it is one, else the first argument, as in `update(id, data)`. */
function findOwnId(result: unknown, ...args: unknown[]): unknown {
  if (typeof result === 'string' || typeof result === 'number') return result
  const own = idOf(result)
  if (own !== undefined && own !== null) return own
  // An entity is as good as its id.
  const [first] = args
  const id = isObject(first) ? idOf(first) : first
  if (id !== undefined && id !== null) return id
  const message =
    'neither the result nor the first argument is an id or has one. Tell where it is: auto: { create: (result, ...args) => id }.'
  throw new AfterJobsError('INVALID_ID', message)
}

function idOf(value: unknown): unknown {
  return isObject(value) ? Reflect.get(value, 'id') : undefined
}

function isFunction(value: unknown): value is Method {
  return typeof value === 'function'
}

/** Only a promise tells when an action is done. A lazy query, which runs when awaited, is the caller's to await. */
function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise || tagOf(value) === 'Promise'
}

import { AfterJobsError } from '../core/errors'
import { isHookName } from '../core/hook-name'
import { type JobEnvelope, show } from '../core/job'
import { isThenable } from '../core/timer'

type Factory = () => object | Promise<object>

/** A service class as `register` takes it. */
type ServiceClass = abstract new (...args: never[]) => object

/** Knows services by name: how to make one for a job that came from another process, and how to name one. */
export class Registry {
  readonly #factories = new Map<string, Factory>()
  readonly #localIds = new WeakMap<object, number>()
  #lastLocalId = 0
  #making: string | undefined

  /** @throws AfterJobsError `NO_JOB_NAME`, `INVALID_SERVICE` */
  register(service: string | ServiceClass, factory?: Factory): void {
    if (typeof service !== 'string' && typeof service !== 'function') {
      const message = `register needs a service class, or a name and a function that makes the service; got ${show(service)}.`
      throw new AfterJobsError('INVALID_SERVICE', message)
    }
    const name = typeof service === 'string' ? service : readOwnName(service)
    const make = factory ?? (typeof service === 'function' ? () => Reflect.construct(service, []) : undefined)
    if (name === '' || typeof make !== 'function') {
      const message = `register(${show(name)}) needs a name and a function that makes the service.`
      throw new AfterJobsError('INVALID_SERVICE', message)
    }
    if (this.#factories.has(name)) {
      const message = `A service named ${show(name)} is registered already. Give each service a jobName of its own.`
      throw new AfterJobsError('INVALID_SERVICE', message)
    }
    this.#factories.set(name, make)
  }

  /** Numbers a service that has no `jobName`: no nameless class is ever taken for another one of the same name. */
  localIdOf(owner: object): number {
    const id = this.#localIds.get(owner) ?? ++this.#lastLocalId
    this.#localIds.set(owner, id)
    return id
  }

  /** Finds the service of a job: the live one, else one made here; `undefined` when there is no such service or hook. */
  find(envelope: JobEnvelope, live: object | undefined): object | undefined | Promise<object | undefined> {
    if (!isHookName(envelope.hook)) return undefined
    if (live !== undefined) return withHook(live, envelope.hook)
    const service = this.#make(envelope.service)
    if (isThenable(service))
      return Promise.resolve(service as Promise<object | undefined>).then((made) => withHook(made, envelope.hook))
    return withHook(service, envelope.hook)
  }

  /** The service that is being made for a job: what it starts meanwhile would be started again with each job. */
  get making(): string | undefined {
    return this.#making
  }

  #make(name: string): object | undefined | Promise<object> {
    this.#making = name
    try {
      return this.#factories.get(name)?.()
    } finally {
      this.#making = undefined
    }
  }
}

function withHook(service: object | undefined, hook: string): object | undefined {
  return service !== undefined && typeof (service as Record<string, unknown>)[hook] === 'function' ? service : undefined
}

function readOwnName(service: ServiceClass): string {
  const name: unknown = Reflect.get(service, 'jobName')
  if (typeof name !== 'string' || name === '') {
    const message = `${service.name} has no name for the queue: minifiers rename classes. Add: static readonly jobName = '${service.name.toLowerCase()}'`
    throw new AfterJobsError('NO_JOB_NAME', message)
  }
  const heir = findHeirWithHooks(service)
  if (heir !== undefined) {
    const who = heir === service ? service.name : `${service.name} or ${heir.name}`
    const message = `${service.name} inherits the jobName ${show(name)}, but ${heir.name} declares hooks that a worker would not find under it. Give ${who} a static jobName of its own.`
    throw new AfterJobsError('INVALID_SERVICE', message)
  }
  return name
}

/** Finds a class that declares hooks between a service and the ancestor that owns its `jobName`. */
function findHeirWithHooks(service: ServiceClass): ServiceClass | undefined {
  let heir = service
  while (!Object.hasOwn(heir, 'jobName')) {
    if (Object.getOwnPropertyNames(heir.prototype).some(isHookName)) return heir
    heir = Object.getPrototypeOf(heir)
  }
  return undefined
}

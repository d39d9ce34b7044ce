import { AfterJobsError } from '../core/errors'
import type { FailureHook, Hook } from '../core/hook'
import { checkChoice, checkNames, type JobId, type JobOptions, type When } from '../core/job'
import type { AfterJobs } from '../core/runtime'
import { type Auto, AutoStart } from './auto'
import { Binding } from './binding'
import type { UncheckedOptions } from './dispatcher'
import type { OnEnqueueError } from './follower'

/** What a job is about: an id, or an entity with an `id`. */
export type JobSubject = JobId | { readonly id: JobId } | { readonly id: JobId; readonly [field: string]: unknown }

/** Options of `executeJob`. `P` is the payload's type, as the hook declares it. */
export interface ExecuteOptions<P = unknown> extends JobOptions {
  /** Plain JSON, at most 16,384 bytes. */
  payload?: P
  /**
   * `'inline'`: inside a running job the hook runs as a part of that job, in its current step; the token is the parent's, and
   * what it throws fails the parent. No other option may stand beside it but the payload. Outside of a job it changes nothing.
   */
  nested?: 'inline'
  /**
   * A connection that is in a database transaction, for a queue that keeps its jobs in that database (`postgresQueue`): the job
   * exists when it commits, and never if it does not. A rejection leaves the transaction to be rolled back.
   *
   * @example
   * await service.executeJob('after', 'create', order, { db: client })
   */
  db?: object
}

// Has TypeScript infer a payload as narrowly as it is written: else 'mail' is a string, and fits no 'mail' | 'sms' of a hook. Not
// below a depth, because a type like JsonValue has none; what fits no such narrow type is tried as it is.
type Exactly<P, Depth extends 0[] = []> = Depth['length'] extends 5
  ? P
  :
      | (P extends string | number | boolean ? P : never)
      | (P extends [] ? [] : never)
      | { [K in keyof P]: Exactly<P[K], [...Depth, 0]> }

/** Required where the hook requires a payload. */
type ExecuteArguments<P> = undefined extends P
  ? [options?: ExecuteOptions<P>]
  : [options: ExecuteOptions<P> & { payload: P }]

// An optional property makes an action without a hook an error, while a hook that is declared optional is fine.
type HookOwner<H extends string, A extends string, P> = string extends H | A
  ? unknown
  : { [K in `${H}${Capitalize<A>}Job`]?: Hook<P, never> | undefined }

/** What the mixin adds to a service. */
export interface AfterJobsMethods {
  /**
   * Starts the hook `<when><Action>Job` of this service in the background, if it has one.
   *
   * @returns the job's token once the queue has accepted it; `undefined` when there is no such hook.
   * @throws AfterJobsError that names what was wrong, or `QUEUE_FULL` or `ENQUEUE_FAILED`.
   * @example
   * const token = await service.executeJob('after', 'create', project)
   */
  executeJob<H extends When, A extends string, P = undefined>(
    this: HookOwner<H, A, P>,
    when: H,
    action: A,
    subject: JobSubject,
    ...options: ExecuteArguments<Exactly<P>>
  ): Promise<string | undefined>
  executeJob<H extends When, A extends string, P = undefined>(
    this: HookOwner<H, A, P>,
    when: H,
    action: A,
    subject: JobSubject,
    ...options: ExecuteArguments<P>
  ): Promise<string | undefined>

  /**
   * Starts the hook for many subjects, in order, with one call to queue and cache per thousand.
   *
   * @returns the tokens; none when there is no such hook.
   * @throws AfterJobsError; after a failure half-way with the `accepted` tokens.
   * @example
   * const tokens = await service.executeJobs('after', 'create', projects)
   */
  executeJobs<H extends When, A extends string, P = undefined>(
    this: HookOwner<H, A, P>,
    when: H,
    action: A,
    subjects: readonly JobSubject[],
    ...options: ExecuteArguments<Exactly<P>>
  ): Promise<string[]>
  executeJobs<H extends When, A extends string, P = undefined>(
    this: HookOwner<H, A, P>,
    when: H,
    action: A,
    subjects: readonly JobSubject[],
    ...options: ExecuteArguments<P>
  ): Promise<string[]>

  /**
   * Finds the token of the job that was started for an entity, or by this service's last action. It never hands one
   * request's token to another.
   *
   * @returns the last token; `undefined` where no job was started, or the last action has no hook.
   * @throws AfterJobsError `NO_SCOPE` where it cannot know.
   */
  getJobToken(entity?: object): string | undefined

  /** A hook; what is declared under such a name must have its signature. */
  [hook: `${When}${string}Job`]: Hook<unknown, unknown> | undefined
  [hook: `${When}${string}JobFailed`]: FailureHook<unknown, unknown> | undefined
}

// The one place where TypeScript demands `any`: a mixin's constructor takes what its base takes.
// biome-ignore lint/suspicious/noExplicitAny: TS2545
type AnyArguments = any[]

/** Any class, abstract ones included. */
export type AnyClass = abstract new (...args: AnyArguments) => object

/** A class with the mixin applied: everything the base has, and {@link AfterJobsMethods}. */
export type WithAfterJobs<B extends AnyClass> = B & (abstract new (...args: AnyArguments) => AfterJobsMethods)

/** Options of `withAfterJobs`. */
export interface AfterJobsServiceOptions {
  /** The runtime. Default: `defaultAfterJobs()`, made on first use. */
  jobs?: AfterJobs
  /**
   * Methods that start `after<Action>Job` once they have resolved: their names, or each with a function
   * `(result, ...args) => id`, which starts nothing where it answers `undefined`. Fields of the base are methods as well;
   * those of the class itself are set too late.
   */
  auto?: Auto
  /** `'throw'`: an automatic start that fails makes the action reject. Default: the action never fails because of it. */
  onEnqueueError?: OnEnqueueError
  /** `'instance'`: each instance serves one request only, so that its last token is nobody else's. */
  tokenScope?: 'instance'
}

/** Options of `attachAfterJobs`. */
export interface AttachOptions extends AfterJobsServiceOptions {
  /** Names the service for a queue that processes share. */
  name?: string
}

/** Marks what has the mixin. */
export const APPLIED: unique symbol = Symbol.for('after-jobs.applied')

/** Applies the mixin to a class. @throws AfterJobsError `ALREADY_APPLIED` for new options on a class that has it. */
export function applyMixin<B extends AnyClass>(
  Base: B,
  options: AfterJobsServiceOptions | undefined,
  makeDefault: () => AfterJobs,
): WithAfterJobs<B> {
  if (Reflect.get(Base, APPLIED) === true) {
    if (options === undefined) return Base as unknown as WithAfterJobs<B>
    throw alreadyApplied(Base.name)
  }
  const { binding, auto } = bind('withAfterJobs', makeDefault, OPTION_NAMES, options)
  const Mixed = extend(Base, binding)
  if (auto === undefined) return Mixed
  abstract class Automatic extends (Mixed as AnyClass) {
    constructor(...args: AnyArguments) {
      super(...args)
      auto?.install(this)
    }
  }
  Object.defineProperty(Automatic, 'name', { value: Base.name, configurable: true })
  return Automatic as unknown as WithAfterJobs<B>
}

/** What binds a service to its runtime, and starts its jobs by itself where that was asked for. */
export interface Bound {
  readonly binding: Binding
  readonly auto: AutoStart | undefined
}

/** The names of the options. */
export const OPTION_NAMES: readonly string[] = ['jobs', 'auto', 'onEnqueueError', 'tokenScope']

/** Makes what binds a service to its runtime. @throws AfterJobsError `INVALID_OPTION` for what the function `who` has not. */
export function bind(
  who: string,
  makeDefault: () => AfterJobs,
  names: readonly string[],
  options: AttachOptions = {},
): Bound {
  // A misspelt `auto` would start no job, and nobody would be told.
  checkNames(who, options, names)
  const { jobs, auto, onEnqueueError = 'log', tokenScope, name } = options
  checkChoice(`onEnqueueError of ${who}`, onEnqueueError, ['log', 'throw'])
  if (tokenScope !== undefined) checkChoice(`tokenScope of ${who}`, tokenScope, ['instance'])
  const binding = new Binding({ jobs, tokenScope, name }, makeDefault)
  return { binding, auto: auto && new AutoStart(binding, auto, onEnqueueError) }
}

function extend<B extends AnyClass>(Base: B, binding: Binding): WithAfterJobs<B> {
  abstract class Mixed extends Base {}
  giveMethods(Mixed.prototype, methodsOf(binding))
  Object.defineProperty(Mixed, APPLIED, { value: true })
  Object.defineProperty(Mixed, 'name', { value: Base.name, configurable: true })
  return Mixed as unknown as WithAfterJobs<B>
}

/** Defines methods as a class would. */
export function giveMethods(target: object, methods: Readonly<Record<PropertyKey, unknown>>): void {
  for (const key of Reflect.ownKeys(methods)) {
    Object.defineProperty(target, key, { value: methods[key], configurable: true, writable: true })
  }
}

/** What a service is given: its methods, and the mark of them. */
export function methodsOf(binding: Binding): Record<PropertyKey, unknown> {
  return {
    [APPLIED]: true,
    executeJob(this: object, when: string, action: string, subject: unknown, options?: UncheckedOptions) {
      return binding.executeJob(this, when, action, subject, options)
    },
    executeJobs(this: object, when: string, action: string, subjects: unknown[], options?: UncheckedOptions) {
      return binding.executeJobs(this, when, action, subjects, options)
    },
    getJobToken(this: object, entity?: unknown) {
      return binding.getJobToken(this, entity)
    },
  }
}

export function alreadyApplied(who: string): AfterJobsError {
  const message = `${who} has after-jobs applied already. Leave one of the options out.`
  return new AfterJobsError('ALREADY_APPLIED', message)
}

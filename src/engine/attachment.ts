import { AfterJobsError } from '../core/errors'
import type { FailureHook, Hook } from '../core/hook'
import { show, type When } from '../core/job'
import { isObject } from '../core/json'
import type { AfterJobs } from '../core/runtime'
import {
  type AfterJobsMethods,
  APPLIED,
  type AttachOptions,
  alreadyApplied,
  bind,
  giveMethods,
  methodsOf,
  OPTION_NAMES,
} from './mixin'

/** The members of an object, its hooks with the signature that they must have. */
export type HooksOf<T> = {
  [K in keyof T]: K extends `${When}${string}JobFailed`
    ? FailureHook<unknown, unknown> | undefined
    : K extends `${When}${string}Job`
      ? Hook<unknown, unknown> | undefined
      : T[K]
}

/** Applies the mixin to one object. */
export function applyToObject<T extends object>(
  service: T,
  options: AttachOptions | undefined,
  makeDefault: () => AfterJobs,
): T & AfterJobsMethods {
  if (!isObject(service)) {
    throw new AfterJobsError('INVALID_SERVICE', `attachAfterJobs needs an object; got ${show(service)}.`)
  }
  if (Reflect.get(service, APPLIED) === true) {
    if (options === undefined) return service as T & AfterJobsMethods
    throw alreadyApplied('This object')
  }
  if (!Object.isExtensible(service)) {
    throw new AfterJobsError(
      'INVALID_SERVICE',
      'attachAfterJobs needs an object that can be extended; this one is frozen or sealed.',
    )
  }
  const { binding, auto } = bind('attachAfterJobs', makeDefault, [...OPTION_NAMES, 'name'], options)
  const methods = methodsOf(binding)
  checkReplaceable(service, [...Reflect.ownKeys(methods), ...(auto?.names ?? [])])
  giveMethods(service, methods)
  auto?.attach(service)
  return service as T & AfterJobsMethods
}

/** Everything is checked before anything is replaced, so that a service that is refused stays as it was. */
function checkReplaceable(service: object, keys: PropertyKey[]): void {
  const fixed = keys.find((key) => Object.getOwnPropertyDescriptor(service, key)?.configurable === false)
  if (fixed === undefined) return
  const message = `attachAfterJobs cannot replace '${String(fixed)}' of this object. Define it as configurable.`
  throw new AfterJobsError('INVALID_SERVICE', message)
}

import { AfterJobsError, reasonOf } from '../core/errors'
import type { ErrorEmitter, KeyvLike } from './keyv-like'
import { can } from './store'

/** A call that may fail while its body still waits for the store. */
export interface GuardedCall {
  /** Throws when the caller was already told of a failure, so that nothing more is written for it. */
  goOn(): void
}

/** Runs the calls to a store; answers a failure at once, whatever the call itself does later. */
export type Guard = <T>(what: string, body: (call: GuardedCall) => Promise<T>) => Promise<T>

/**
 * Makes a guard for a Keyv: a call that takes longer than `limit` milliseconds fails, and so does each call under way when
 * the Keyv or its store emits an error, which for many stores is the only sign that `get` and `set` did nothing.
 */
export function createGuard(keyv: KeyvLike, limit: number): Guard {
  const failures = new Set<(cause: unknown) => void>()
  let emitters: ErrorEmitter[] = []

  function onError(error: unknown): void {
    for (const fail of failures) fail(error)
  }

  // Only while calls are under way, so that a cache that is dropped leaves nothing in the user's Keyv.
  function begin(fail: (cause: unknown) => void): void {
    failures.add(fail)
    if (failures.size > 1) return
    emitters = findEmitters(keyv)
    for (const emitter of emitters) emitter.on('error', onError)
  }

  function end(fail: (cause: unknown) => void): void {
    failures.delete(fail)
    if (failures.size > 0) return
    for (const emitter of emitters) emitter.off('error', onError)
    emitters = []
  }

  return <T>(what: string, body: (call: GuardedCall) => Promise<T>) => {
    let failure: AfterJobsError | undefined
    let fail: (cause: unknown) => void = () => {}
    const outcome = new Promise<T>((resolve, reject) => {
      fail = (cause) => {
        failure ??= toFailure(what, cause)
        reject(failure)
      }
      begin(fail)
      body({ goOn: () => throwIfAny(failure) }).then(resolve, fail)
    })
    const timer = setTimeout(() => fail(new Error(`It did not answer within ${limit} ms.`)), limit)
    const stop = () => {
      clearTimeout(timer)
      // Not within `fail`: a listener that leaves while Keyv emits makes Keyv skip the next one, which is the user's.
      end(fail)
    }
    outcome.then(stop, stop)
    return outcome
  }
}

function throwIfAny(failure: AfterJobsError | undefined): void {
  if (failure !== undefined) throw failure
}

/** Both, because a Keyv made with `emitErrors: false` does not pass its store's errors on. */
function findEmitters(keyv: KeyvLike): ErrorEmitter[] {
  return [keyv, keyv.store].filter((emitter): emitter is ErrorEmitter => can(emitter, 'on') && can(emitter, 'off'))
}

function toFailure(what: string, cause: unknown): AfterJobsError {
  if (AfterJobsError.is(cause)) return cause
  const message = `keyvCache could not ${what}: ${reasonOf(cause)}. Check that the store behind the Keyv is up.`
  return new AfterJobsError('CACHE_UNAVAILABLE', message, { cause })
}

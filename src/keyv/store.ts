import { isObject } from '../core/json'
import type { KeyvLike, KeyvLikeEntry } from './keyv-like'

/** A Keyv whose failures are failures: no call answers "nothing there" or "kept" unless the store said so. */
export interface HonestStore {
  /** Reads `{ value, expires }` for each key, `undefined` where there is nothing. */
  read(keys: readonly string[]): Promise<unknown[]>
  /** Writes in one round trip where the store can; otherwise `first` before `then`. Settles when every write has ended. */
  write(first: readonly KeyvLikeEntry[], then: readonly KeyvLikeEntry[]): Promise<void>
}

/** Makes a store of a Keyv as it comes, without changing its settings. */
export function openStore(keyv: KeyvLike): HonestStore {
  async function read(keys: readonly string[]): Promise<unknown[]> {
    // Without a store that can do it, Keyv's own getMany turns failed reads into missing values.
    if (keys.length < 2 || keyv.getMany === undefined || !can(keyv.store, 'getMany')) {
      return Promise.all(keys.map((key) => readOne(keyv, key)))
    }
    const found = await keyv.getMany([...keys], { raw: true })
    if (Array.isArray(found) && found.length === keys.length) return found
    throw new Error(`getMany of ${keys.length} keys did not answer as many values.`)
  }

  async function write(first: readonly KeyvLikeEntry[], then: readonly KeyvLikeEntry[]): Promise<void> {
    const entries = [...first, ...then]
    if (entries.length > 1 && keyv.setMany !== undefined && can(keyv.store, 'setMany')) {
      // A store may answer nothing at all; only `false` says that a value was not kept.
      return refuseFalse([await keyv.setMany(entries)].flat())
    }
    await writeEach(keyv, first)
    await writeEach(keyv, then)
  }

  return { read, write }
}

function readOne(keyv: KeyvLike, key: string): Promise<unknown> {
  return keyv.getRaw === undefined ? keyv.get(key, { raw: true }) : keyv.getRaw(key)
}

async function writeEach(keyv: KeyvLike, entries: readonly KeyvLikeEntry[]): Promise<void> {
  // Not Promise.all: a write that is still under way when the caller goes on could land on top of a later one.
  const answers = await Promise.allSettled(entries.map(({ key, value, ttl }) => keyv.set(key, value, ttl)))
  const failure = answers.find((answer) => answer.status === 'rejected')
  if (failure !== undefined) throw failure.reason
  refuseFalse(answers.map((answer) => answer.status === 'fulfilled' && answer.value))
}

function refuseFalse(answers: readonly unknown[]): void {
  if (answers.includes(false)) throw new Error('The store did not keep the value: Keyv answered false.')
}

/** Tells whether a store has a method of this name. */
export function can(store: unknown, method: string): boolean {
  if (!isObject(store)) return false
  return typeof (store as Record<string, unknown>)[method] === 'function'
}

/** Listens to an emitter's failures, as Keyv and its stores report them. */
export interface ErrorEmitter {
  on(event: 'error', listener: (error: unknown) => void): unknown
  off(event: 'error', listener: (error: unknown) => void): unknown
}

/** One value for `setMany`. */
export interface KeyvLikeEntry {
  key: string
  value: unknown
  /** Milliseconds, at least 1: Keyv takes 0 for "never expires". */
  ttl: number
}

/**
 * What {@link keyvCache} needs of a Keyv: any of version 5 fits, as does anything else of this shape.
 *
 * `get` with `raw` answers what the store holds as `{ value, expires }`, and `undefined` for nothing; `set` answers `false`
 * when the store did not keep the value.
 */
export interface KeyvLike {
  get(key: string, options: { raw: true }): Promise<unknown>
  /** Preferred to `get`: from Keyv 5.5 on, `get` answers `undefined` for a store that failed. */
  getRaw?(key: string): Promise<unknown>
  getMany?(keys: string[], options: { raw: true }): Promise<unknown>
  set(key: string, value: unknown, ttl: number): Promise<unknown>
  setMany?(entries: KeyvLikeEntry[]): Promise<unknown>
  on?: ErrorEmitter['on']
  off?: ErrorEmitter['off']
  /** Where the values are: a Map dies with this process. */
  readonly store?: unknown
}

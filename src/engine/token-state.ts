/** What a service instance remembers for `getJobToken()`. */
export interface TokenState {
  /** The token of the last action outside every scope; `undefined` when it had no hook. */
  last: string | undefined
  /** The same, in a scope or not, but outside every job: for an instance that has only one caller. */
  lastOfCaller: string | undefined
  /** Actions that have begun and not ended. */
  inFlight: number
  /** Whether two actions were ever in flight at once: then nobody can tell whose the last one was. */
  hasOverlapped: boolean
  /** Entity → its token, outside every scope. The object itself counts, never its id. */
  readonly byEntity: WeakMap<object, string | typeof SEVERAL>
}

/** Stands for the token of an object that has started more than one job. */
export const SEVERAL: unique symbol = Symbol('several tokens')

/** The tokens that one request, message or job has started; one book for each service instance. */
export interface Book {
  last: string | undefined
  readonly byEntity: WeakMap<object, string>
  readonly byId: Map<unknown, string>
}

export function createTokenState(): TokenState {
  return { last: undefined, lastOfCaller: undefined, inFlight: 0, hasOverlapped: false, byEntity: new WeakMap() }
}

/** Notes that an action of a service has begun. Each begin needs its end. */
export function beginAction(state: TokenState): void {
  state.inFlight++
  if (state.inFlight > 1) state.hasOverlapped = true
}

export function endAction(state: TokenState): void {
  state.inFlight--
}

let ending: TokenState[] = []

/** Ends an action before its caller hears of it, but not before others that begin in the same step have overlapped it. */
export function endActionSoon(state: TokenState): void {
  if (ending.push(state) > 1) return
  void Promise.resolve().then(() => {
    const ended = ending
    ending = []
    for (const each of ended) endAction(each)
  })
}

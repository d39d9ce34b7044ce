import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import { AfterJobsError } from '../core/errors'
import { isObject } from '../core/json'
import type { CurrentJob } from './current-job'
import { type Book, SEVERAL, type TokenState } from './token-state'

/** A token scope: it sees the jobs started in it and no other. */
export interface TokenScope {
  readonly job: CurrentJob | undefined
  /** Tells it from every other one. */
  readonly number: number
  /** Made with the first job that is started here: most scopes start none. */
  books: Map<TokenState, Book> | undefined
  /** Set when what it was opened for has ended: a connection that was opened in it calls strangers back in it for ever. */
  isClosed: boolean
}

let lastNumber = 0
let storage: AsyncLocalStorage<TokenScope> | undefined
let isStorageOn = false
/** Who needs to know which scope is the current one: scopes that are open, and actions that are followed. */
let users = 0

// The first accepted connection makes this a serving process, in which "the last token" may be a stranger's. Subscribing
// touches no AsyncLocalStorage; it happens on import, because a connection accepted earlier would go unseen. Bun's and
// Deno's own servers accept theirs unseen: there, nobody is presumed to be alone.
let isServing = 'bun' in process.versions || 'deno' in process.versions
subscribe('net.server.socket', () => {
  isServing = true
})

/** Reads the scope that the caller runs in. */
export function currentScope(): TokenScope | undefined {
  if (users === 0) return turnOff()
  const scope = storage?.getStore()
  return scope?.isClosed ? undefined : scope
}

/**
 * While AsyncLocalStorage is on, every promise of the process is dearer (Node 20, 22), so nobody keeps it on for nothing. Not with
 * the last scope that closes, but when it is next asked for: many small jobs in a row would turn it on and off each time.
 */
function turnOff(): undefined {
  if (!isStorageOn) return
  isStorageOn = false
  storage?.disable()
}

export function createScope(job: CurrentJob | undefined): TokenScope {
  users++
  return { job, number: ++lastNumber, books: undefined, isClosed: false }
}

/** Lets callers be told apart until the release, also those whose scopes have closed meanwhile. */
export function holdCallers(): void {
  users++
}

export function releaseCallers(): void {
  users--
}

/** Tells callers apart, as far as scopes do, those that have closed as well: 0 outside of every scope. */
export function numberCaller(): number {
  return storage?.getStore()?.number ?? 0
}

/** Enters a scope, which turns AsyncLocalStorage on. */
export function enterScope<T>(scope: TokenScope, run: () => T): T {
  storage ??= new AsyncLocalStorage()
  isStorageOn = true
  return storage.run(scope, run)
}

/** Runs a function in a fresh scope, which lasts until its promise settles; without one, as long as what it started. */
export function runInScope<T>(run: () => T, job: CurrentJob | undefined = currentScope()?.job): T {
  return runUntilSettled(createScope(job), run)
}

/** Runs a function in a scope, and closes that when its promise settles, or when it throws. */
export function runUntilSettled<T>(scope: TokenScope, run: () => T): T {
  try {
    const result = enterScope(scope, run)
    return result instanceof Promise ? (result.finally(() => closeScope(scope)) as T) : result
  } catch (error) {
    closeScope(scope)
    throw error
  }
}

export function closeScope(scope: TokenScope): void {
  if (scope.isClosed) return
  scope.isClosed = true
  users--
}

/** Notes the token of an action; `undefined` when the action had no hook. */
export function noteToken(state: TokenState, token: string | undefined, entity?: unknown, id?: unknown): void {
  const scope = currentScope()
  if (scope === undefined) state.last = token
  else noteInScope(scope, state, token, entity, id)
  if (scope?.job === undefined) state.lastOfCaller = token
  if (token === undefined || !isObject(entity)) return
  const known = state.byEntity.get(entity)
  state.byEntity.set(entity, known === undefined || known === token ? token : SEVERAL)
}

function noteInScope(
  scope: TokenScope,
  state: TokenState,
  token: string | undefined,
  entity: unknown,
  id: unknown,
): void {
  scope.books ??= new Map()
  const book = scope.books.get(state) ?? { last: undefined, byEntity: new WeakMap(), byId: new Map() }
  scope.books.set(state, book)
  book.last = token
  if (token === undefined) return
  if (isObject(entity)) book.byEntity.set(entity, token)
  if (id !== undefined) book.byId.set(id, token)
}

/**
 * Finds the token that the caller may see: its own, none, or a refusal; never another's.
 *
 * @throws AfterJobsError `NO_SCOPE` where it cannot know.
 */
export function findToken(
  state: TokenState,
  who: string,
  isOwnInstance: boolean,
  entity?: unknown,
): string | undefined {
  const scope = currentScope()
  if (scope !== undefined) return findInScope(scope.books?.get(state), entity)
  if (entity !== undefined) return findByEntity(state, who, entity)
  if (isOwnInstance) return state.lastOfCaller
  if (!isServing && !state.hasOverlapped) return state.last
  throw refusal(
    `${who}.getJobToken() was called without an entity, outside a token scope or after its end, while others may share the service, or its actions have overlapped`,
  )
}

function findInScope(book: Book | undefined, entity: unknown): string | undefined {
  if (entity === undefined) return book?.last
  if (!isObject(entity)) return book?.byId.get(entity)
  return book?.byEntity.get(entity) ?? book?.byId.get((entity as { id?: unknown }).id)
}

function findByEntity(state: TokenState, who: string, entity: unknown): string | undefined {
  if (!isObject(entity))
    throw refusal(`${who}.getJobToken(id) was called outside a token scope, where only the object counts`)
  const token = state.byEntity.get(entity)
  if (token !== SEVERAL) return token
  throw refusal(`${who}.getJobToken(entity) was asked for an object that started several jobs, outside a token scope`)
}

function refusal(what: string): AfterJobsError {
  const ways =
    'Use what executeJob() returned, pass the very object that executeJob() was given, or open a scope: jobs.scope(fn), or jobs.middleware() for requests.'
  return new AfterJobsError('NO_SCOPE', `${what}: the token could be another request's. ${ways}`)
}

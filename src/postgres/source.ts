import { invalidOption } from '../core/errors'
import { checkNames, show } from '../core/job'
import { isObject } from '../core/json'
import { type DatabaseSource, isPostgresUrl } from './database'

type Kind = 'url' | 'pool' | 'boss' | 'pglite'

/** Where the database can be, and what it is recognised by. */
const CHECKS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  url: isPostgresUrl,
  pool: isPool,
  boss: (value) => hasMethods(value, 'getDb', 'getQueue', 'createQueue'),
  // A path, and none of the places that PGlite knows by a scheme: they outlive no process.
  pglite: (value) =>
    typeof value === 'string' ? /^(?!\w+:\/\/)./.test(value) : hasMethods(value, 'query', 'exec', 'listen'),
}

/**
 * Reads the options of a queue or a cache, which `who` names: one that says where the database is, and others.
 *
 * @throws AfterJobsError `INVALID_OPTION`, which never shows a text, because that may hold a password.
 */
export function readOptions<O extends object>(
  who: string,
  target: unknown,
  kinds: readonly Kind[],
  others: readonly string[],
): O {
  const options = typeof target === 'string' ? { url: target } : isPool(target) ? { pool: target } : target
  const expected = `a URL like 'postgres://localhost:5432/app', a pg.Pool, or one of ${kinds.map((kind) => `{ ${kind} }`).join(', ')}`
  const refuse = (got: string) => invalidOption(`${who} got ${got}; expected ${expected}.`)
  if (!isObject(options)) throw refuse(show(options))
  checkNames(who, options, [...kinds, ...others])
  const given = kinds.filter((kind) => Reflect.get(options, kind) !== undefined)
  const [kind] = given
  if (kind === undefined || given.length > 1) throw refuse(given.join(' and ') || 'none of them')
  if (!CHECKS[kind](Reflect.get(options, kind))) throw refuse(`a ${kind} that is none`)
  return options as O
}

/** Picks where the database is out of options that were read. */
export function sourceOf({
  url,
  pool,
  pglite,
}: { [K in keyof DatabaseSource]: DatabaseSource[K] | undefined }): DatabaseSource {
  return { ...(url !== undefined && { url }), ...(pool && { pool }), ...(pglite !== undefined && { pglite }) }
}

function isPool(value: unknown): boolean {
  return hasMethods(value, 'query', 'connect')
}

function hasMethods(value: unknown, ...names: readonly string[]): boolean {
  return isObject(value) && names.every((name) => typeof Reflect.get(value, name) === 'function')
}

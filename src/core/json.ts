import { AfterJobsError, type AfterJobsErrorCode } from './errors'

/** What plain JSON can carry, and so what every engine can carry. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue }

/** What to call a value in an error, which code to give, and how many bytes of UTF-8 it may take. */
export interface JsonBounds {
  name: string
  code: AfterJobsErrorCode
  maxBytes: number
}

/**
 * Copies a value as plain JSON, so that no engine can carry more or less than another.
 *
 * @throws AfterJobsError with the bounds' code, naming the path of the culprit or the size.
 */
export function copyJson(value: unknown, bounds: JsonBounds): JsonValue | undefined {
  if (value === undefined) return undefined
  const text = serialize(value, bounds)
  // Three bytes of UTF-8 are the most that one UTF-16 unit takes, so that most texts need no count.
  const bytes = text.length * 3 <= bounds.maxBytes ? 0 : new TextEncoder().encode(text).length
  if (bytes > bounds.maxBytes) {
    const message = `${bounds.name} takes ${bytes} bytes as JSON; expected at most ${bounds.maxBytes}. Store the data and pass its id instead.`
    throw new AfterJobsError(bounds.code, message)
  }
  return JSON.parse(text)
}

function serialize(value: unknown, bounds: JsonBounds): string {
  try {
    const culprit = findCulprit(value, '', new Set())
    if (culprit === undefined) return JSON.stringify(value)
    const message = `${bounds.name}${culprit.path} is ${culprit.what}, which plain JSON cannot carry; expected null, booleans, finite numbers, strings, arrays and plain objects. Convert it first, for example a Date with toISOString().`
    throw new AfterJobsError(bounds.code, message)
  } catch (error) {
    if (AfterJobsError.is(error)) throw error
    // A getter or a proxy may throw whatever it likes.
    const cause = error instanceof Error ? error.message : 'reading it throws'
    const reason = error instanceof RangeError ? 'is nested too deeply' : `cannot be read: ${cause}`
    throw new AfterJobsError(bounds.code, `${bounds.name} ${reason}. Pass plain data.`, { cause: error })
  }
}

interface Culprit {
  path: string
  what: string
}

function findCulprit(value: unknown, path: string, ancestors: Set<object>): Culprit | undefined {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return undefined
  if (typeof value === 'number') return Number.isFinite(value) ? undefined : { path, what: String(value) }
  if (typeof value !== 'object') return { path, what: describe(value) }
  if (ancestors.has(value)) return { path, what: 'a cycle' }
  if (!(Array.isArray(value) ? isPlainArray(value) : isPlainObject(value))) return { path, what: describe(value) }
  // Hidden or not, JSON would call it, and carry what it answers.
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function')
    return { path: `${path}.toJSON`, what: 'a function' }
  ancestors.add(value)
  const culprit = findCulpritInside(value, path, ancestors)
  ancestors.delete(value)
  return culprit
}

function findCulpritInside(value: object, path: string, ancestors: Set<object>): Culprit | undefined {
  if (Array.isArray(value)) {
    // An index loop, because a hole in a sparse array is skipped by every iteration method.
    for (let index = 0; index < value.length; index++) {
      const culprit = findCulprit(value[index], `${path}[${index}]`, ancestors)
      if (culprit !== undefined) return culprit
    }
    return undefined
  }
  for (const [key, member] of Object.entries(value)) {
    const culprit = member === undefined ? undefined : findCulprit(member, `${path}.${key}`, ancestors)
    if (culprit !== undefined) return culprit
  }
  return undefined
}

/** Asks for a prototype without a prototype, not for `Object.prototype`: another realm (vm, Jest) has its own. */
function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  // `Math`, `arguments` and modules are such objects, too, and call themselves something else.
  return (prototype === null || Object.getPrototypeOf(prototype) === null) && tagOf(value) === 'Object'
}

/** Asks for a prototype that is an array, as every realm's `Array.prototype` is, and a subclass's is not. */
function isPlainArray(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return Array.isArray(prototype) && Object.getPrototypeOf(Object.getPrototypeOf(prototype)) === null
}

function describe(value: unknown): string {
  if (value === undefined || typeof value !== 'object') return value === undefined ? 'undefined' : `a ${typeof value}`
  const names = [value?.constructor?.name, tagOf(value)]
  const name = names.find((each) => typeof each === 'string' && !['', 'Object', 'Array'].includes(each))
  return name ? `an instance of ${name}` : 'an object that is not plain'
}

/** Reads what a value calls itself: `[object Math]` is a `Math`. */
export function tagOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1)
}

/** Tells objects from what has no fields of its own. */
export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Copies what is plain JSON already. */
export function copyData<T>(data: T): T {
  return isObject(data) ? structuredClone(data) : data
}

import { AfterJobsError, invalidOption } from './errors'
import { isObject, type JsonValue } from './json'

/** What identifies the created, updated or deleted thing. */
export type JobId = string | number

/** Whether the hook belongs before or after the action. */
export type When = 'before' | 'after'

/** How long to wait before the next attempt: `delay` each time, or `delay` doubled with each attempt. */
export interface Backoff {
  type: 'fixed' | 'exponential'
  /** Milliseconds, 0 to a year. */
  delay: number
}

/** How a job is run. The runtime's own defaults apply where an option is left out. */
export interface JobOptions {
  /** Milliseconds before the job may start, 0 to a year. Default 0. */
  delay?: number
  /** Higher runs first; an integer from -1000 to 1000. Default 0. */
  priority?: number
  /** How often the hook may start before an unexpected failure is final, 1 to 100. Default 1. */
  attempts?: number
  /** The wait between two attempts. Default: none. */
  backoff?: Backoff
  /** Milliseconds that one attempt may take, at least 1. The end of it is final. Default: no limit. */
  timeout?: number
  /**
   * While a job of the same service and hook with this key has not yet started, its token is the answer and no second job
   * exists.
   */
  dedupe?: string
}

/** What travels through a queue: plain JSON, from which any process can run the job. */
export interface JobEnvelope {
  readonly version: 1
  readonly token: string
  readonly service: string
  readonly hook: string
  readonly id: JobId
  readonly payload: JsonValue | undefined
  readonly context: JsonValue | undefined
  readonly parent: string | null
  readonly delay: number
  readonly priority: number
  readonly attempts: number
  readonly backoff: Backoff | null
  readonly timeout: number | null
  readonly dedupe: string | null
  /** Epoch milliseconds. */
  readonly createdAt: number
}

export const ENVELOPE_VERSION = 1
export const MAX_PAYLOAD_BYTES = 16_384
const YEAR = 365 * 24 * 3_600_000

/**
 * Reads the id out of a subject: an id itself, or an entity with an `id`.
 *
 * @throws AfterJobsError `INVALID_ID`
 */
export function readId(subject: unknown, who: string): JobId {
  const id = isObject(subject) ? (subject as { id?: unknown }).id : subject
  if (typeof id === 'string' || (typeof id === 'number' && Number.isFinite(id))) return id
  const where = Object.is(id, subject) ? 'got' : 'the entity has the id'
  const message = `${who} needs an id that every queue can carry: a string or a finite number, or an entity with such an 'id'; ${where} ${show(id)}. Convert it, for example with String(id).`
  throw new AfterJobsError('INVALID_ID', message)
}

/** Names what a job with `dedupe` stands for: one of this key, for its hook of its service. */
export function dedupeKey({ service, hook, dedupe }: Pick<JobEnvelope, 'service' | 'hook' | 'dedupe'>): string {
  return `${service}\n${hook}\n${dedupe}`
}

/** Shows any value in a few characters, for an error message. */
export function show(value: unknown): string {
  if (typeof value === 'function') return `the function or class ${value.name}`
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}…` : value}'`
  if (typeof value === 'bigint') return `${value}n (a bigint)`
  if (!isObject(value)) return typeof value === 'symbol' ? 'a symbol' : String(value)
  const name = value.constructor?.name
  return name && name !== 'Object' ? `an instance of ${name}` : 'an object'
}

/** Tells that an option has a value which it cannot have. */
export function wrongOption(name: string, value: unknown, expected: string): AfterJobsError {
  return invalidOption(`${name} is ${show(value)}; expected ${expected}.`)
}

/** Which numbers an option may be. */
interface Range {
  min: number
  max: number
  /** Others are milliseconds. */
  isInteger?: boolean
}

/** The ranges of the options that are numbers. */
export const RANGES: Record<'delay' | 'priority' | 'attempts' | 'timeout', Range> = {
  delay: { min: 0, max: YEAR },
  priority: { min: -1000, max: 1000, isInteger: true },
  attempts: { min: 1, max: 100, isInteger: true },
  timeout: { min: 1, max: Number.MAX_SAFE_INTEGER },
}

/**
 * Checks the options that say how a job is run.
 *
 * @throws AfterJobsError `INVALID_OPTION`, naming the option and its range.
 */
export function checkJobOptions(options: JobOptions): void {
  for (const name of Object.keys(RANGES) as (keyof typeof RANGES)[]) checkNumber(name, options[name], RANGES[name])
  if (options.dedupe !== undefined && (typeof options.dedupe !== 'string' || !/^.{1,200}$/su.test(options.dedupe))) {
    throw wrongOption('dedupe', options.dedupe, 'a string of 1 to 200 characters')
  }
  if (options.backoff === undefined) return
  const { type, delay } = options.backoff ?? {}
  if (type !== 'fixed' && type !== 'exponential') {
    throw wrongOption('backoff.type', type, "'fixed' or 'exponential'")
  }
  if (delay === undefined) throw invalidOption('backoff.delay is missing; expected milliseconds.')
  checkNumber('backoff.delay', delay, RANGES.delay)
}

/** Tells whether a value is a number that lies in a range. */
export function isInRange(value: unknown, { min, max, isInteger }: Range): boolean {
  return typeof value === 'number' && value >= min && value <= max && (!isInteger || Number.isInteger(value))
}

function checkNumber(name: string, value: number | undefined, range: Range): void {
  if (value === undefined || isInRange(value, range)) return
  const span = `from ${range.min} to ${range.max}`
  throw wrongOption(name, value, range.isInteger ? `an integer ${span}` : `a number ${span} milliseconds`)
}

/**
 * Checks that options are an object, all of whose names are known: what is misspelt would be left out in silence.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 */
export function checkNames(who: string, options: unknown, names: readonly string[]): void {
  if (!isObject(options)) throw invalidOption(`${who} takes an object of options; got ${show(options)}.`)
  const unknown = Object.keys(options).find((name) => !names.includes(name))
  if (unknown === undefined) return
  const message = `${who} has no option ${show(unknown)}; expected one of ${names.join(', ')}.`
  throw invalidOption(message)
}

/** Checks that a value is one of a few words. @throws AfterJobsError `INVALID_OPTION` */
export function checkChoice(what: string, value: unknown, choices: readonly string[]): void {
  if (choices.some((choice) => choice === value)) return
  throw wrongOption(what, value, choices.map(show).join(' or '))
}

/** Checks a number of things. @throws AfterJobsError `INVALID_OPTION` */
export function checkCount(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return
  throw wrongOption(name, value, 'an integer of at least 1')
}

/** Checks for how many milliseconds a cache is to keep a record. @throws AfterJobsError `INVALID_OPTION` */
export function checkTtl(who: string, ttl: number): number {
  if (Number.isFinite(ttl)) return ttl
  throw invalidOption(`${who} needs a ttl in milliseconds; got ${show(ttl)}.`)
}

/** Computes the milliseconds before the next attempt, after `attempt` of them (1 for the first). */
export function backoffDelay(backoff: Backoff | null, attempt: number): number {
  if (backoff === null) return 0
  return backoff.type === 'fixed' ? backoff.delay : Math.min(YEAR, backoff.delay * 2 ** (attempt - 1))
}

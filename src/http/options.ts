import { invalidOption } from '../core/errors'
import { checkNames, show, wrongOption } from '../core/job'
import type { JsonValue } from '../core/json'
import type { AfterJobs } from '../core/runtime'

/** What a caller wants to do with a job. */
export type JobAction = 'read' | 'cancel'

/** The job that a caller asks for. */
export interface JobAccess {
  readonly token: string
  /** What the runtime's `context.capture()` kept from whoever started the job; `null` where it kept nothing. */
  readonly context: JsonValue
  readonly action: JobAction
}

/** Decides whether a caller may have a job. Only `true` lets the caller in. */
export type JobAuthorize<R> = (request: R, access: JobAccess) => boolean | Promise<boolean>

/** How the jobs are served. `R` is the request that `authorize` gets: the server's own. */
export interface JobHandlerOptions<R> {
  /** The whole path in front of the routes, whatever the handler is mounted on. Default `'/jobs'`. */
  basePath?: string | undefined
  /**
   * Decides on each request whether the caller may have the job, of a stream when it begins; called only where the job exists.
   * What it throws is logged and refuses. Default: the token alone opens the status, although a UUID is no proof of a right (RFC 9562 §8).
   *
   * @example
   * authorize: (request, { context }) => context === userIdOf(request)
   */
  authorize?: JobAuthorize<R> | undefined
  /** Opens `POST {base}/start`, which runs one waiting job: for development without a worker. Default `false`. */
  start?: boolean | undefined
  /** Opens `POST {base}/cancel/{token}`. Default `false`. */
  cancel?: boolean | undefined
  /**
   * Shows the messages of unexpected errors, which can hold internals. Default: only when `NODE_ENV` is `development` or
   * `test` at the time the handler is made.
   */
  exposeErrors?: boolean | undefined
}

/** The options after their check, with every default in place. */
export interface HandlerSettings<R> {
  /** Starts with a slash and does not end with one; empty for the root. */
  readonly basePath: string
  readonly authorize: JobAuthorize<R> | undefined
  readonly start: boolean
  readonly cancel: boolean
  readonly exposeErrors: boolean
}

const SWITCHES = ['start', 'cancel', 'exposeErrors'] as const
// Not spread: a bundler keeps what may have an effect, and the root entry takes one function of this file.
const NAMES: readonly string[] = ['basePath', 'authorize', 'start', 'cancel', 'exposeErrors']
const PATH = /^(\/[A-Za-z0-9\-._~!$&'()*+,;=:@%]+)*$/

/**
 * Checks what a handler is made of, and fills in the defaults.
 *
 * @throws AfterJobsError `INVALID_OPTION`, naming the option and what was expected.
 */
export function checkOptions<R>(who: string, jobs: AfterJobs, options: JobHandlerOptions<R>): HandlerSettings<R> {
  if (typeof (jobs as Partial<AfterJobs> | null | undefined)?.record !== 'function') {
    throw invalidOption(
      `${who} takes the runtime that createAfterJobs() makes as its first argument; got ${show(jobs)}.`,
    )
  }
  // A misspelt `authorize` would open every status, and only TypeScript would have told.
  checkNames(who, options, NAMES)
  for (const name of SWITCHES) checkType(who, name, options[name], 'boolean')
  checkType(who, 'authorize', options.authorize, 'function')
  const { basePath = '/jobs', authorize, start = false, cancel = false } = options
  const exposeErrors = options.exposeErrors ?? ['development', 'test'].includes(readNodeEnv() ?? '')
  return { basePath: checkBasePath(who, basePath), authorize, start, cancel, exposeErrors }
}

function checkType(who: string, name: string, value: unknown, type: 'boolean' | 'function'): void {
  if (value !== undefined && typeof value !== type) throw wrongOption(`${name} of ${who}`, value, `a ${type}`)
}

function checkBasePath(who: string, basePath: string): string {
  const path = typeof basePath === 'string' ? trimBasePath(basePath) : undefined
  if (path !== undefined && PATH.test(path)) return path
  const expected = "the path of a URL, percent-encoded, without host and query, like '/jobs'"
  throw wrongOption(`basePath of ${who}`, basePath, expected)
}

/** Gives a path, or a URL, one form: with a slash in front, where it has no host, and none at the end. */
export function trimBasePath(basePath: string): string {
  const path = basePath.endsWith('/') ? basePath.slice(0, -1) : basePath
  return path === '' || path.startsWith('/') || path.includes('://') ? path : `/${path}`
}

/** Reads `NODE_ENV` where there is a `process`; a fetch handler also runs where there is none. */
export function readNodeEnv(): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } }
  return process?.env?.NODE_ENV
}

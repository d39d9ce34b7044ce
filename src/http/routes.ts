import type { AfterJobs } from '../core/runtime'
import { isToken } from '../core/token'
import { ACCEPTED, type HttpAnswer, methodNotAllowed, NOT_FOUND, UNKNOWN } from './answers'
import { createEventResponder, type ReadLastEventId } from './event-responder'
import { checkOptions, type HandlerSettings, type JobAction, type JobHandlerOptions, readNodeEnv } from './options'
import { createJobResponder, logError } from './responder'
import type { StreamAnswer } from './stream'

/**
 * Answers a request, given its method and its URL, with or without a host. `undefined`: the path is none of ours. It never
 * throws, and its promise never rejects.
 */
export type Router<R> = (request: R, method: string, url: string) => Answer | Promise<Answer> | undefined

/** What a face sends: at once, or for as long as a job lives. */
export type Answer = HttpAnswer | StreamAnswer

/** One route: `{base}/{name}`, or `{base}/{name}/{token}`. */
interface Endpoint<R> {
  readonly methods: readonly string[]
  readonly hasToken: boolean
  /** Absent while the route is closed: then its path answers 404 to every method. */
  readonly answer: ((request: R, token: string) => Answer | Promise<Answer>) | undefined
}

/**
 * Makes the one brain behind both faces: what each method and path answers.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 */
export function createRouter<R>(
  who: string,
  jobs: AfterJobs,
  options: JobHandlerOptions<R>,
  readLastEventId: ReadLastEventId<R>,
): Router<R> {
  const settings = checkOptions(who, jobs, options)
  if (settings.authorize === undefined && readNodeEnv() === 'production') warnThatOpen(who, jobs, settings)
  const endpoints = createEndpoints(jobs, settings, readLastEventId)
  const prefix = `${settings.basePath}/`
  return (request, method, url) => {
    const path = readPath(url)
    if (!path.startsWith(prefix)) return undefined
    const slash = path.indexOf('/', prefix.length)
    const endpoint = endpoints.get(path.slice(prefix.length, slash === -1 ? undefined : slash))
    if (endpoint === undefined || endpoint.hasToken !== (slash !== -1)) return undefined
    if (endpoint.answer === undefined) return NOT_FOUND
    if (!endpoint.methods.includes(method)) return methodNotAllowed(endpoint.methods)
    // Whatever follows the slash is taken for a token, so that no odd path answers differently from an unknown one.
    return endpoint.answer(request, path.slice(slash + 1))
  }
}

function createEndpoints<R>(
  jobs: AfterJobs,
  settings: HandlerSettings<R>,
  readLastEventId: ReadLastEventId<R>,
): Map<string, Endpoint<R>> {
  const respond = createJobResponder(jobs, settings)
  const respondWithEvents = createEventResponder(jobs, settings, readLastEventId)
  const answerFor = (action: JobAction): Endpoint<R>['answer'] => {
    return (request, token) => (isToken(token) ? respond(request, token, action) : UNKNOWN)
  }
  const answerEvents = (request: R, token: string) => (isToken(token) ? respondWithEvents(request, token) : UNKNOWN)
  return new Map<string, Endpoint<R>>([
    ['status', { methods: ['GET', 'HEAD'], hasToken: true, answer: answerFor('read') }],
    ['events', { methods: ['GET'], hasToken: true, answer: answerEvents }],
    ['start', { methods: ['POST'], hasToken: false, answer: settings.start ? () => startJob(jobs) : undefined }],
    ['cancel', { methods: ['POST'], hasToken: true, answer: settings.cancel ? answerFor('cancel') : undefined }],
  ])
}

function startJob(jobs: AfterJobs): HttpAnswer {
  const run = async (): Promise<void> => {
    try {
      await jobs.runNext()
    } catch (error) {
      logError(jobs, 'after-jobs: a start over HTTP could not run a job', error)
    }
  }
  // A turn of the event loop later, because a hook that computes would hold the answer up.
  setTimeout(run, 0)
  return ACCEPTED
}

/** Cuts scheme and host, which a fetch request and a proxy's absolute form (RFC 9112 §3.2.2) have, and the query. */
function readPath(url: string): string {
  const query = url.indexOf('?')
  const target = query === -1 ? url : url.slice(0, query)
  const fragment = target.indexOf('#')
  const whole = fragment === -1 ? target : target.slice(0, fragment)
  if (whole.startsWith('/')) return whole
  const host = whole.indexOf('://')
  const start = host === -1 ? -1 : whole.indexOf('/', host + 3)
  return start === -1 ? '/' : whole.slice(start)
}

function warnThatOpen<R>(who: string, jobs: AfterJobs, { cancel }: HandlerSettings<R>): void {
  const may = cancel ? 'read and cancel' : 'read'
  const message = `after-jobs: ${who} has no authorize, so whoever learns a token may ${may} its job; a UUID is no proof of a right (RFC 9562 §8). Pass authorize.`
  jobs.logger.warn({}, message)
}

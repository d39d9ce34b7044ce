import type { IncomingMessage } from 'node:http'
import type { AfterJobs } from '../core/runtime'
import { type HttpAnswer, headersOf, NOT_FOUND } from './answers'
import type { JobHandlerOptions } from './options'
import { logError } from './responder'
import { type Answer, createRouter } from './routes'
import { LAST_EVENT_ID, STREAM_HEADERS, type StreamAnswer } from './stream'

/** What a Node request must have: that of `node:http`, Express, Connect, Koa's and Fastify's raw one, and HTTP/2's. */
export interface NodeRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  /** The URL before a router cut its mount path off: Express, Connect. */
  readonly originalUrl?: string | undefined
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>
}

/** What a Node response must have. */
export interface NodeResponse {
  readonly headersSent: boolean
  /** Whether the client has gone: `node:http`. */
  readonly destroyed?: boolean
  /** The stream of HTTP/2, which tells the same. */
  readonly stream?: { readonly destroyed: boolean }
  writeHead(status: number, headers: Record<string, string>): unknown
  write(chunk: Uint8Array): boolean
  on(event: 'close' | 'drain', listener: () => void): unknown
  end(): unknown
  end(body: string): unknown
}

/** Answers a Node request, or hands it on with `next` where the path is none of its own. Never throws. */
export type NodeHandler<R extends NodeRequest = IncomingMessage> = (
  request: R,
  response: NodeResponse,
  next?: () => void,
) => void

/**
 * Makes a handler that serves the status of jobs, and their changes as they come (Server-Sent Events), on `node:http`,
 * HTTP/2, Express, Connect, Fastify, Koa and NestJS. It looks at the whole path, `originalUrl` where there is one, so it can
 * be mounted anywhere; `basePath` is that whole path.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 * @example
 * const authorize = (request: express.Request, { context }: JobAccess) => context === request.user?.id
 * app.use(createNodeHandler(jobs, { authorize }))
 * @example
 * const handler = createNodeHandler(jobs)
 * fastify.all('/jobs/*', (request, reply) => {
 *   reply.hijack()
 *   handler(request.raw, reply.raw)
 * })
 * @example
 * koa.use((context, next) => {
 *   if (!context.path.startsWith('/jobs/')) return next()
 *   context.respond = false
 *   handler(context.req, context.res)
 * })
 * @example
 * const app = await NestFactory.create(AppModule) // NestJS on Express
 * app.use(createNodeHandler(jobs))
 */
export function createNodeHandler<R extends NodeRequest = IncomingMessage>(
  jobs: AfterJobs,
  options: JobHandlerOptions<R> = {},
): NodeHandler<R> {
  const route = createRouter('createNodeHandler', jobs, options, ({ headers }) => headers?.[LAST_EVENT_ID]?.toString())
  const send = (request: R, response: NodeResponse, answer: Answer): void => {
    try {
      if ('open' in answer) stream(response, answer)
      else write(response, answer, request.method === 'HEAD')
    } catch (error) {
      if ('open' in answer) answer.discard()
      logError(jobs, 'after-jobs: createNodeHandler could not send an answer', error)
    }
  }
  return (request, response, next) => {
    const answer = route(request, request.method ?? 'GET', request.originalUrl ?? request.url ?? '/')
    if (answer === undefined && next !== undefined) return next()
    if (answer !== undefined && 'then' in answer) answer.then((found) => send(request, response, found))
    else send(request, response, answer ?? NOT_FOUND)
  }
}

function write(response: NodeResponse, answer: HttpAnswer, isHead: boolean): void {
  // Someone else has answered in the meantime, such as a middleware with a time limit.
  if (response.headersSent) return
  const headers = headersOf(answer)
  if (answer.body !== '') headers['Content-Length'] = String(Buffer.byteLength(answer.body))
  response.writeHead(answer.status, headers)
  // A server can be told to throw on the body that it would otherwise leave out.
  if (isHead) response.end()
  else response.end(answer.body)
}

function stream(response: NodeResponse, answer: StreamAnswer): void {
  if (response.headersSent || response.destroyed || response.stream?.destroyed) {
    answer.discard()
    return
  }
  // What compressing middlewares add. Node's own is a deprecated namesake on the prototype.
  const flush = Object.hasOwn(response, 'flush') ? (response as { flush?: () => void }).flush : undefined
  response.writeHead(200, STREAM_HEADERS)
  const events = answer.open({
    send(chunk) {
      const isReady = response.write(chunk)
      flush?.call(response)
      return isReady
    },
    end: () => response.end(),
  })
  response.on('close', () => events.close())
  response.on('drain', () => events.resume())
}

import type { AfterJobs } from '../core/runtime'
import { type HttpAnswer, headersOf, NOT_FOUND } from './answers'
import type { JobHandlerOptions } from './options'
import { createRouter } from './routes'
import { type EventStream, LAST_EVENT_ID, STREAM_HEADERS, type StreamAnswer } from './stream'

/** Answers a request of the Fetch standard. Never rejects. */
export type JobHandler<R extends Request = Request> = (request: R) => Promise<Response>

/**
 * Makes a handler that serves the status of jobs, and their changes as they come (Server-Sent Events), in every runtime that
 * speaks `Request` and `Response`: Hono, Next.js, Deno, Bun, workers. A path that is not below `basePath` answers 404; route
 * only that path to it where something follows.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 * @example
 * const handler = createJobHandler(jobs, { authorize: async (request, { context }) => context === (await userIdOf(request)) })
 * app.all('/jobs/*', (c) => handler(c.req.raw))
 */
export function createJobHandler<R extends Request = Request>(
  jobs: AfterJobs,
  options: JobHandlerOptions<R> = {},
): JobHandler<R> {
  const route = createRouter(
    'createJobHandler',
    jobs,
    options,
    ({ headers }) => headers.get(LAST_EVENT_ID) ?? undefined,
  )
  return async (request) => {
    const answer = (await route(request, request.method, request.url)) ?? NOT_FOUND
    return 'open' in answer ? toStream(answer, request.signal) : toResponse(answer, request.method === 'HEAD')
  }
}

function toResponse(answer: HttpAnswer, isHead: boolean): Response {
  // A code that has no body throws on an empty one, too.
  const body = isHead || answer.body === '' ? null : answer.body
  return new Response(body, { status: answer.status, headers: headersOf(answer) })
}

function toStream(answer: StreamAnswer, signal: AbortSignal): Response {
  let stream: EventStream | undefined
  let end = (): void => {}
  const close = (): void => {
    signal.removeEventListener('abort', end)
    stream?.close()
  }
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      const send = (chunk: Uint8Array): boolean => {
        controller.enqueue(chunk)
        return (controller.desiredSize ?? 0) > 0
      }
      end = () => {
        close()
        try {
          controller.close()
        } catch {
          // The server has given the body up itself.
        }
      }
      stream = answer.open({ send, end })
      // A server that has lost its client before it read the body may never cancel it.
      if (signal.aborted) end()
      else signal.addEventListener('abort', end)
    },
    pull: () => stream?.resume(),
    cancel: close,
  })
  return new Response(body, { headers: STREAM_HEADERS })
}

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAfterJobs, JobError, memoryQueue, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { createNodeHandler } from 'after-jobs/http'
import type { Finisher } from './chromium'

/** A job that does what its test says. */
export interface Task {
  readonly token: string
  readonly progress: ProgressReporter
  finish(): void
  fail(message: string): void
}

/** A request for a job, as the server saw it. */
export interface Request {
  readonly path: string
  readonly at: number
  endedAt?: number
}

/** A server with jobs of its own. */
export interface Stage {
  readonly origin: string
  readonly requests: Request[]
  /** Starts a job, and hands it out once it runs. */
  start(): Promise<Task>
  /** Starts a job that never runs. */
  queue(): Promise<string>
  close(): Promise<void>
}

const PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Jobs</title><main><h1>Jobs</h1></main>'
const SCRIPT = '<script type="module" src="/element.js"></script>'
/** As strict as a policy can be: no inline script, no inline style, no HTML from strings. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"

/** Opens a server on a free port, or on that of one that was closed, which knows nothing of the other's jobs. */
export async function openStage(port = 0): Promise<Stage> {
  // Room for the jobs of all tests: many are left running.
  const jobs = createAfterJobs({ queue: memoryQueue({ concurrency: 100 }) })
  const running = new Map<string, (task: Task) => void>()
  class Play extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, token: string, progress: ProgressReporter) {
      return new Promise<void>((resolve, reject) => {
        const fail = (message: string): void => reject(new JobError(message))
        running.get(token)?.({ token, progress, finish: resolve, fail })
        progress.signal.addEventListener('abort', () => resolve())
      })
    }
  }
  const service = new Play()
  const requests: Request[] = []
  const waiting: string[] = []
  const serveJobs = createNodeHandler(jobs, { cancel: true })
  const server = createServer((request, response) => {
    record(requests, request, response)
    serveJobs(request, response, () => serveFile(request, response))
  })
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async start() {
      const token = (await service.executeJob('after', 'create', 1)) ?? ''
      return new Promise((resolve) => running.set(token, resolve))
    },
    async queue() {
      const token = (await service.executeJob('after', 'create', 1, { delay: 60_000 })) ?? ''
      waiting.push(token)
      return token
    },
    async close() {
      // What still waits would be dropped with a warning.
      await Promise.all(waiting.map((token) => jobs.cancel(token)))
      server.close()
      server.closeAllConnections()
      await jobs.close({ grace: 0 })
    },
  }
}

function record(requests: Request[], request: IncomingMessage, response: ServerResponse): void {
  // Also where no jobs are served: a test may want to see that nobody asks there.
  if (!/\/(status|events|start|cancel)\b/.test(request.url ?? '')) return
  const entry: Request = { path: request.url ?? '', at: performance.now() }
  requests.push(entry)
  response.once('close', () => {
    entry.endedAt = performance.now()
  })
}

/** The element is served as it was built. `/bare` is a page that does not load it, `/watch/{token}` one that holds it. */
function serveFile({ url = '' }: IncomingMessage, response: ServerResponse): void {
  const isScript = url.startsWith('/element.js')
  const [, token] = /^\/watch\/([\w-]+)$/.exec(url) ?? []
  const page = token === undefined ? PAGE : `${PAGE}<job-progress token="${token}"></job-progress>`
  const type = isScript ? 'text/javascript' : 'text/html'
  const body = isScript ? readFileSync('dist/element/index.js') : url === '/bare' ? page : page + SCRIPT
  response.writeHead(200, { 'Content-Type': type, 'Content-Security-Policy': POLICY }).end(body)
}

/** Moves jobs on, a little at a time, because a server asks those who watch a job that stands still to ask less often. */
export function keepMoving({ onTestFinished }: Finisher, ...tasks: Task[]): void {
  let percent = 0
  const moving = setInterval(() => {
    percent += 0.5
    for (const { progress } of tasks) progress.set(percent)
  }, 100)
  onTestFinished(() => clearInterval(moving))
}

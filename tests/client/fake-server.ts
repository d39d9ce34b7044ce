import type { JobStatus } from 'after-jobs/client'
import { vi } from 'vitest'

export const TOKEN = '3f0c2d1e-8a4b-4c6d-9e2f-0a1b2c3d4e5f'

/** What the fake server answers to the request of this number, counted from 0. It may throw, which is a network error. */
export type Respond = (number: number, signal: AbortSignal) => Response | Promise<Response>

export interface FakeServer {
  fetch: (url: string, init: RequestInit) => Promise<Response>
  /** When each status was asked for, in milliseconds from the first time on. */
  times: number[]
  /** The milliseconds between one request for a status and the next. */
  gaps: () => number[]
  /** Method and URL of every request. */
  requests: string[]
  signals: AbortSignal[]
  /** The most requests for a status that were under way at once. */
  mostInFlight: number
}

export function fakeServer(respond: Respond): FakeServer {
  let inFlight = 0
  let startedAt = 0
  const server: FakeServer = { fetch, times: [], gaps, requests: [], signals: [], mostInFlight: 0 }
  return server

  async function fetch(url: string, { method = 'GET', signal }: RequestInit): Promise<Response> {
    server.requests.push(`${method} ${url}`)
    if (method !== 'GET') return new Response(null, { status: 202 })
    if (server.times.length === 0) startedAt = Date.now()
    server.signals.push(signal as AbortSignal)
    server.mostInFlight = Math.max(server.mostInFlight, ++inFlight)
    try {
      return await respond(server.times.push(Date.now() - startedAt) - 1, signal as AbortSignal)
    } finally {
      inFlight--
    }
  }

  function gaps(): number[] {
    return server.times.slice(1).map((time, index) => time - (server.times[index] as number))
  }
}

/** Answers one thing after the other, and the last one again and again. */
export function inTurn(...answers: (() => Response | Promise<Response>)[]): Respond {
  return (number) => (answers[Math.min(number, answers.length - 1)] as () => Response)()
}

export function json(body: unknown, code = 200, headers: Record<string, string> = {}): Response {
  return Response.json(body, { status: code, headers })
}

/** Makes the response for a job that is on its way. */
export const running = (progress: number, headers = {}): Response =>
  json(statusOf('running', { progress }), 200, headers)
export const done = (result: unknown = null): Response => json(statusOf('done', { progress: 100, result }))
export const failed = (message: string): Response => json(statusOf('error', { message, code: 'failed' }))
export const unknown = (code = 404): Response => json({ status: 'unknown', progress: 0, message: null }, code)

/** Never answers, and does not heed its signal either. */
export const hang = (): Promise<Response> => new Promise(() => {})

export function statusOf(status: JobStatus['status'], fields: object = {}): object {
  const times = { createdAt: 1, startedAt: 2, updatedAt: 3, finishedAt: null }
  const job = { token: TOKEN, label: null, attempt: 1, attempts: 1, parent: null, hint: null, result: null, code: null }
  return { ...job, ...times, status, progress: 0, message: null, ...fields }
}

/** Lets everything happen that takes no time. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0)
}

export async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms)
}

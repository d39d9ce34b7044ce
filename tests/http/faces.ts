import 'reflect-metadata'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server, type Http2ServerRequest } from 'node:http2'
import { type AddressInfo, connect, type Server as NetServer } from 'node:net'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { createJobHandler, createNodeHandler, type JobAuthorize, type JobHandlerOptions } from 'after-jobs/http'
import express, { type Express } from 'express'
import fastify, { type FastifyInstance } from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { onTestFinished } from 'vitest'
import type { AfterJobs } from '../../src/core/runtime'

/** The options that mean the same to every face. */
export type Options = Omit<JobHandlerOptions<never>, 'authorize'> & { authorize?: JobAuthorize<unknown> }

export interface Reply {
  status: number
  /** Names in lower case, without what the server adds by itself. */
  headers: Record<string, string>
  body: string
}

/** What a request has beside its method and path. */
export interface AskOptions {
  headers?: Record<string, string>
  /** Gets the body so far, whenever there is more of it; of HTTP/1.1 with the head and the chunks' sizes. */
  onText?: (text: string) => void
  /** Ends the connection from the client's side: then there is no reply. */
  signal?: AbortSignal
}

/** Asks a served handler; `path` goes out as it is. Resolves when the answer has ended. */
export type Ask = (method: string, path: string, options?: AskOptions) => Promise<Reply>

/** One way to serve the jobs. */
export interface Face {
  name: string
  /** Which request `authorize` gets. */
  kind: 'fetch' | 'node'
  /** What a path that is none of ours gets: our own 404, the next handler's 418, or a 404 of the framework. */
  foreign: 'own' | 'next' | 'framework'
  serve(jobs: AfterJobs, options?: Options): Promise<Ask>
}

/** Answers what was handed on to it. */
export const NEXT_STATUS = 418

const ADDED_BY_SERVERS = ['date', 'connection', 'keep-alive', 'content-length', 'transfer-encoding', 'x-powered-by']

export const FACES: Face[] = [
  { name: 'fetch', kind: 'fetch', foreign: 'own', serve: serveFetch },
  { name: 'Hono', kind: 'fetch', foreign: 'framework', serve: serveHono },
  ...(
    [
      { name: 'node:http', foreign: 'own', serve: async (jobs, options) => askOf(await openHttp(jobs, options)) },
      { name: 'node:http2', foreign: 'own', serve: serveHttp2 },
      { name: 'Express', foreign: 'next', serve: serveExpress((app, handler) => app.use(handler)) },
      { name: 'Express, mounted', foreign: 'next', serve: serveExpress((app, handler) => app.use('/jobs', handler)) },
      { name: 'Fastify, route', foreign: 'framework', serve: serveFastify(addRoute) },
      { name: 'Fastify, hook', foreign: 'next', serve: serveFastify(addHook) },
      { name: 'Koa', foreign: 'framework', serve: serveKoa },
      { name: 'NestJS', foreign: 'framework', serve: serveNest },
    ] satisfies Omit<Face, 'kind'>[]
  ).map((face): Face => ({ ...face, kind: 'node' })),
]

async function serveFetch(jobs: AfterJobs, options: Options = {}): Promise<Ask> {
  return askFetch(createJobHandler(jobs, options))
}

async function serveHono(jobs: AfterJobs, options: Options = {}): Promise<Ask> {
  const handler = createJobHandler(jobs, options)
  const app = new Hono()
  app.all('/jobs/*', (context) => handler(context.req.raw))
  return askFetch(async (request) => app.fetch(request))
}

function askFetch(handler: (request: Request) => Promise<Response>): Ask {
  return async (method, path, { headers, onText, signal } = {}) => {
    const init = { method, ...(headers && { headers }), ...(signal && { signal }) }
    const response = await handler(new Request(`http://localhost${path}`, init))
    const decoder = new TextDecoder()
    let body = ''
    for await (const chunk of response.body ?? []) {
      body += decoder.decode(chunk, { stream: true })
      onText?.(body)
    }
    return { status: response.status, headers: Object.fromEntries(response.headers), body }
  }
}

/** Serves on a bare `node:http` server until the test ends. */
export async function openHttp(jobs: AfterJobs, options: Options = {}): Promise<Server> {
  const server = createServer(createNodeHandler(jobs, options))
  await listen(server)
  onTestFinished(() => close(server))
  return server
}

function serveExpress(mount: (app: Express, handler: express.RequestHandler) => unknown): Face['serve'] {
  return async (jobs, options = {}) => {
    const app = express()
    mount(app, createNodeHandler<express.Request>(jobs, options))
    app.use((_request, response) => void response.status(NEXT_STATUS).end())
    const server = createServer(app)
    await listen(server)
    onTestFinished(() => close(server))
    return askOf(server)
  }
}

type RawHandler = ReturnType<typeof createNodeHandler<IncomingMessage>>

function addRoute(app: FastifyInstance, handler: RawHandler): void {
  app.all('/jobs/*', (request, reply) => {
    reply.hijack()
    handler(request.raw, reply.raw)
  })
}

function addHook(app: FastifyInstance, handler: RawHandler): void {
  app.addHook('onRequest', (request, reply, done) => handler(request.raw, reply.raw, done))
  app.setNotFoundHandler((_request, reply) => reply.code(NEXT_STATUS).send())
}

function serveFastify(mount: (app: FastifyInstance, handler: RawHandler) => void): Face['serve'] {
  return async (jobs, options = {}) => {
    const app = fastify({ forceCloseConnections: true })
    mount(app, createNodeHandler(jobs, options))
    await app.listen({ port: 0, host: '127.0.0.1' })
    onTestFinished(() => app.close())
    return askOf(app.server)
  }
}

async function serveKoa(jobs: AfterJobs, options: Options = {}): Promise<Ask> {
  const handler = createNodeHandler(jobs, options)
  const app = new Koa()
  app.use((context, next) => {
    if (!context.path.startsWith('/jobs/')) return next()
    context.respond = false
    handler(context.req, context.res)
  })
  const server = createServer(app.callback())
  await listen(server)
  onTestFinished(() => close(server))
  return askOf(server)
}

async function serveNest(jobs: AfterJobs, options: Options = {}): Promise<Ask> {
  class AppModule {}
  // As a function: decorators of TypeScript's old kind are not what the tests are compiled with.
  Module({})(AppModule)
  const app = await NestFactory.create(AppModule, { logger: false, forceCloseConnections: true })
  app.use(createNodeHandler<express.Request>(jobs, options))
  await app.listen(0, '127.0.0.1')
  onTestFinished(() => app.close())
  return askOf(app.getHttpServer())
}

async function serveHttp2(jobs: AfterJobs, options: Options = {}): Promise<Ask> {
  const server = createHttp2Server(createNodeHandler<Http2ServerRequest>(jobs, options))
  await listen(server)
  const session = connectHttp2(`http://127.0.0.1:${portOf(server)}`)
  onTestFinished(async () => {
    session.close()
    await close(server)
  })
  return (method, path, { headers: sent, onText, signal } = {}) =>
    new Promise((resolve, reject) => {
      const stream = session.request({ ...sent, ':method': method, ':path': path }, signal && { signal })
      const reply: Reply = { status: 0, headers: {}, body: '' }
      stream.on('response', ({ ':status': status, ...headers }) => {
        reply.status = Number(status)
        reply.headers = ownHeaders(Object.entries(headers).map(([name, value]) => [name, String(value)]))
      })
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        reply.body += chunk
        onText?.(reply.body)
      })
      stream.on('end', () => resolve(reply)).on('error', reject)
      stream.end()
    })
}

/** Speaks HTTP/1.1 by hand, because every client refuses or mends the paths that an attacker sends. */
export function askRaw(server: NetServer, method: string, path: string, options: AskOptions = {}): Promise<string> {
  const { headers = {}, onText, signal } = options
  return new Promise((resolve, reject) => {
    const socket = connect(portOf(server), '127.0.0.1')
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      onText?.(text)
    })
    signal?.addEventListener('abort', () => socket.destroy(signal.reason))
    socket.on('end', () => resolve(text)).on('error', reject)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(
      `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n${lines.join('')}\r\n`,
    )
  })
}

export function askOf(server: NetServer): Ask {
  return async (method, path, options) => {
    const text = await askRaw(server, method, path, options)
    const end = text.indexOf('\r\n\r\n')
    const [statusLine = '', ...lines] = text.slice(0, end).split('\r\n')
    const headers = lines.map((line): [string, string] => {
      const colon = line.indexOf(': ')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 2)]
    })
    const isChunked = headers.some(([name, value]) => name === 'transfer-encoding' && value === 'chunked')
    const body = text.slice(end + 4)
    return {
      status: Number(statusLine.split(' ')[1]),
      headers: ownHeaders(headers),
      body: isChunked ? joinChunks(body) : body,
    }
  }
}

/** Takes the sizes out (RFC 9112 §7.1). They count bytes. */
function joinChunks(text: string): string {
  let left = Buffer.from(text)
  let body = ''
  for (;;) {
    const start = left.indexOf('\r\n') + 2
    const size = Number.parseInt(left.subarray(0, start).toString(), 16)
    if (!(size > 0)) return body
    body += left.subarray(start, start + size).toString()
    left = left.subarray(start + size + 2)
  }
}

function ownHeaders(headers: [string, string][]): Record<string, string> {
  return Object.fromEntries(headers.filter(([name]) => !ADDED_BY_SERVERS.includes(name)))
}

export function portOf(server: NetServer): number {
  return (server.address() as AddressInfo).port
}

export function listen(server: NetServer): Promise<void> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
}

export function close(server: NetServer): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

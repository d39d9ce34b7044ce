import { createServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import type { Server as NetServer } from 'node:net'
import type { Readable } from 'node:stream'
import express from 'express'
import fastify from 'fastify'
import { onTestFinished } from 'vitest'
import { WebSocketServer } from 'ws'
import { readPath } from './clients'
import type { Crowd } from './crowd'

/** Opens a server, until the test ends, that serves the questions in the paths of its requests. */
export type OpenServer = (crowd: Crowd) => Promise<NetServer>

/** One request, whatever it came by. */
interface Exchange {
  path: string
  body: Readable
  request: unknown
  response: unknown
  answer(text: string): void
}

type Handle = (crowd: Crowd, exchange: Exchange) => void

/** Opens the scope, then reads the body with `for await`. */
export const withPromises: Handle = (crowd, { path, body, request, response, answer }) => {
  const question = readPath(path)
  crowd.openings[question.opening](request, response, async () => {
    for await (const _chunk of body);
    answer(JSON.stringify(await crowd.serve(question)))
  })
}

/** Opens the scope, then listens to the body: Node calls back outside the scope where the body comes later. */
export const withCallbacks: Handle = (crowd, { path, body, request, response, answer }) => {
  const question = readPath(path)
  crowd.openings[question.opening](request, response, () => {
    const respond = () => void crowd.serve(question).then((reply) => answer(JSON.stringify(reply)))
    body.on('data', () => {}).on('end', respond)
  })
}

/** Listens to the body, then opens the scope. */
export const withLateScope: Handle = (crowd, { path, body, request, response, answer }) => {
  const question = readPath(path)
  const respond = () => void crowd.serve(question).then((reply) => answer(JSON.stringify(reply)))
  body.on('data', () => {}).on('end', () => crowd.openings[question.opening](request, response, respond))
}

export function http(handle: Handle): OpenServer {
  return (crowd) => {
    const server = createServer((request, response) => {
      const answer = (text: string) => void response.end(text)
      handle(crowd, { path: String(request.url), body: request, request, response, answer })
    })
    return listen(server)
  }
}

export function http2(handle: Handle): OpenServer {
  return (crowd) => {
    const server = createHttp2Server((request, response) => {
      const answer = (text: string) => void response.end(text)
      handle(crowd, { path: request.url, body: request, request, response, answer })
    })
    return listen(server)
  }
}

/** Serves the streams themselves, without the request and response objects. */
export function http2Core(handle: Handle): OpenServer {
  return (crowd) => {
    const server = createHttp2Server().on('stream', (stream, { ':path': path }) => {
      const answer = (text: string) => void stream.end(text)
      handle(crowd, { path: String(path), body: stream, request: stream, response: stream, answer })
    })
    return listen(server)
  }
}

/** The scope is opened before the body is parsed. */
export const express5: OpenServer = (crowd) => {
  const app = express()
  for (const [opening, middleware] of Object.entries(crowd.openings)) app.use(`/${opening}`, middleware)
  app.use(express.json())
  app.use(async (request, response) => void response.json(await crowd.serve(readPath(request.url))))
  return listen(createServer(app))
}

/** The scope is opened before the body is parsed. */
export const fastify5: OpenServer = async (crowd) => {
  const app = fastify({ forceCloseConnections: true })
  for (const [opening, onRequest] of Object.entries(crowd.openings)) {
    app.all(`/${opening}`, { onRequest }, (request) => crowd.serve(readPath(request.url)))
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  onTestFinished(() => app.close())
  return app.server
}

/** Each message is a request of its own. */
export function webSocket(perMessageDeflate: boolean): OpenServer {
  return (crowd) => {
    const server = createServer()
    const sockets = new WebSocketServer({ server, perMessageDeflate: perMessageDeflate && { threshold: 0 } })
    sockets.on('connection', (socket) => {
      socket.on('message', (data) => {
        const question = readPath(String(data))
        const respond = () => void crowd.serve(question).then((reply) => socket.send(JSON.stringify(reply)))
        crowd.openings[question.opening](undefined, undefined, respond)
      })
    })
    return listen(server)
  }
}

async function listen(server: NetServer): Promise<NetServer> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => new Promise<void>((resolve) => server.close(() => resolve())))
  return server
}

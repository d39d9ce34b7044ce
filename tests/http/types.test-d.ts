import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createHttp2Server, type Http2ServerRequest } from 'node:http2'
import type { INestApplication } from '@nestjs/common'
import { createJobHandler, createNodeHandler } from 'after-jobs/http'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { expectTypeOf } from 'vitest'
import type { JsonValue } from '../../src/core/json'
import type { AfterJobs } from '../../src/core/runtime'
import { jobHeaders } from '../../src/http/headers'

declare const jobs: AfterJobs

// Every server takes the handler as it is.
createServer(createNodeHandler(jobs))
createHttp2Server(createNodeHandler(jobs))
express().use(createNodeHandler(jobs))
express().use('/jobs', createNodeHandler(jobs, { basePath: '/jobs' }))
const handler = createNodeHandler(jobs)
fastify().all('/jobs/*', (request, reply) => handler(request.raw, reply.raw))
fastify().addHook('onRequest', (request, reply, done) => handler(request.raw, reply.raw, done))
declare const nest: INestApplication
nest.use(createNodeHandler(jobs))
new Koa().use((context) => handler(context.req, context.res))
new Hono().all('/jobs/*', (context) => createJobHandler(jobs)(context.req.raw))

// `authorize` gets the request of its server, inferred or as it says.
createNodeHandler(jobs, {
  authorize(request, { context, token, action }) {
    expectTypeOf(request).toEqualTypeOf<IncomingMessage>()
    expectTypeOf(context).toEqualTypeOf<JsonValue>()
    expectTypeOf(token).toEqualTypeOf<string>()
    expectTypeOf(action).toEqualTypeOf<'read' | 'cancel'>()
    return request.headers.cookie !== undefined
  },
})
express().use(createNodeHandler(jobs, { authorize: (request: express.Request) => request.ip === '127.0.0.1' }))
express().use(createNodeHandler<express.Request>(jobs, { authorize: async (request) => request.ip === '127.0.0.1' }))
createHttp2Server(createNodeHandler(jobs, { authorize: (request: Http2ServerRequest) => request.stream.id === 1 }))

createJobHandler(jobs, {
  authorize(request) {
    expectTypeOf(request).toEqualTypeOf<Request>()
    return request.headers.has('cookie')
  },
})
class OwnRequest extends Request {
  readonly user: string = 'ada'
}
const own = createJobHandler(jobs, { authorize: (request: OwnRequest, { context }) => request.user === context })
expectTypeOf(own).toEqualTypeOf<(request: OwnRequest) => Promise<Response>>()

// @ts-expect-error authorize decides; it does not give back what it found
createJobHandler(jobs, { authorize: () => 'ada' })
// @ts-expect-error a misspelt option
createNodeHandler(jobs, { authorise: () => true })

expectTypeOf(jobHeaders('')).toExtend<HeadersInit>()

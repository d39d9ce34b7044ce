import { AsyncResource } from 'node:async_hooks'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server, type Http2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { type AfterJobs, attachAfterJobs } from 'after-jobs'
import express from 'express'
import fastify from 'fastify'
import { beforeAll, expect, onTestFinished, test } from 'vitest'
import { type Crowd, gatherCrowd, makeQuestions } from './crowd'
import { acceptConnection } from './serving'
import { expected } from './verdicts'

/**
 * Keeps one connection, and like many a driver calls everybody back in the asynchronous context in which it was opened: in
 * the scope of whoever needed it first. When that scope is over, it must not answer those who came later.
 */
class Pool {
  #connection: AsyncResource | undefined

  query<T>(callback: () => T): T {
    this.#connection ??= new AsyncResource('Connection')
    return this.#connection.runInAsyncScope(callback)
  }
}

type Connect = () => void

/** Those who need the connection first. */
const FIRST: Record<string, (crowd: Crowd, connect: Connect) => Promise<unknown>> = {
  'a scope': ({ jobs }, connect) => jobs.scope(async () => connect()),
  'a scope that has started a job': ({ jobs, serve }, connect) =>
    jobs.scope(() => serve({ n: 0, opening: 'scope', isCached: false }).then(connect)),
  'a scope that has failed': ({ jobs }, connect) => {
    const failing = jobs.scope(async () => {
      connect()
      throw new Error('too late')
    })
    return expect(failing).rejects.toThrow('too late')
  },
  'a scope that has failed at once': async ({ jobs }, connect) => {
    const fail = () => {
      connect()
      throw new Error('too late')
    }
    expect(() => jobs.scope(fail)).toThrow('too late')
  },
  'a request that was answered': ({ jobs }, connect) => {
    const open = jobs.middleware()
    return serveOne(createServer((request, response) => open(request, response, () => answer(response, connect))))
  },
  'a request of HTTP/2 that was answered': ({ jobs }, connect) => {
    const open = jobs.middleware()
    const server = createHttp2Server((request, response) => open(request, response, () => answer(response, connect)))
    return serveOne(server)
  },
  'a request of Express that was answered': ({ jobs }, connect) => {
    const app = express().use(jobs.middleware())
    return serveOne(createServer(app.use((_request, response) => answer(response, connect))))
  },
  'a request of Fastify that was answered': async ({ jobs }, connect) => {
    const app = fastify().addHook('onRequest', jobs.middleware())
    app.get('/', async () => connect())
    await app.ready()
    return serveOne(app.server)
  },
  'a request that was over before its scope was opened': async ({ jobs }, connect) => {
    const response = await serveOne(createServer((_request, response) => void response.end()))
    jobs.middleware()(undefined, response, connect)
  },
  'a request of HTTP/2 that was over before its scope was opened': async ({ jobs }, connect) => {
    const response = await serveOne(createHttp2Server((_request, response) => void response.end()))
    jobs.middleware()(undefined, response, connect)
  },
  'a job': (crowd, connect) => runJob(crowd, async () => connect()),
  'a job of one step': (crowd, connect) => runJob(crowd, connect),
  'a job that has failed at once': (crowd, connect) =>
    runJob(crowd, () => {
      connect()
      throw new Error('too late')
    }),
}

async function runJob({ jobs }: Crowd, body: () => void | Promise<void>): Promise<void> {
  const service = attachAfterJobs({ afterCreateJob: () => body() }, { jobs, name: 'first' })
  const token = await service.executeJob('after', 'create', 7)
  await jobs.settled(String(token))
}

function answer(response: { end(): unknown }, connect: Connect): void {
  connect()
  response.end()
}

/** Serves one request, until its response has closed. */
async function serveOne(server: Server | Http2Server): Promise<unknown> {
  const closed = new Promise((resolve) => {
    server.on('request', (_request, response) => response.on('close', () => resolve(response)))
  })
  server.listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  if ('closeAllConnections' in server) await (await fetch(`http://127.0.0.1:${port}`)).text()
  else await getByHttp2(port)
  return closed
}

async function getByHttp2(port: number): Promise<void> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  await once(session.request({ ':path': '/' }).resume(), 'close')
  session.close()
}

beforeAll(() => acceptConnection())

test.each(Object.entries(FIRST))('who is called back in the context of %s is in no scope', async (_name, needFirst) => {
  const [crowd, pool] = [gatherCrowd(), new Pool()]
  await needFirst(crowd, () => pool.query(() => {}))
  const questions = makeQuestions(['none'], false)
  const replies = await Promise.all(questions.map((question) => pool.query(() => crowd.serve(question))))
  expect(crowd.judge(replies)).toEqual(expected(questions))
})

const JOBS = Object.entries(FIRST).filter(([name]) => name.startsWith('a job'))

test.each(JOBS)('who is called back in the context of %s is not its child', async (_name, needFirst) => {
  const [crowd, pool] = [gatherCrowd(), new Pool()]
  await needFirst(crowd, () => pool.query(() => {}))
  const service = attachAfterJobs({ afterCreateJob: async () => {} }, { jobs: crowd.jobs, name: 'second' })
  const token = await pool.query(() => service.executeJob('after', 'create', 7))
  expect(await crowd.jobs.status(String(token))).toMatchObject({ parent: null })
})

// A server in the style of callbacks tells no promise and no response: its scope is there for what comes later.
test.each<[string, (jobs: AfterJobs, run: () => void) => void]>([
  ['a function that answers no promise', (jobs, run) => jobs.scope(run)],
  ['a middleware without a response', (jobs, run) => jobs.middleware()(undefined, undefined, run)],
  ['a middleware with a response that tells of no end', (jobs, run) => jobs.middleware()({}, { raw: {} }, run)],
])('the scope of %s stays open', async (_name, open) => {
  const { jobs } = gatherCrowd()
  const service = attachAfterJobs({ afterCreateJob: async () => {} }, { jobs, name: 'late' })
  const told = new Promise((resolve) => {
    open(jobs, () => {
      const act = async () => [await service.executeJob('after', 'create', 7), service.getJobToken()]
      setImmediate(() => resolve(act()))
    })
  })
  const [token, answered] = (await told) as string[]
  expect(answered).toBe(token)
  expect(token).toBeDefined()
})

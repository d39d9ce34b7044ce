import { createServer } from 'node:http'
import { createNodeHandler } from 'after-jobs/http'
import express from 'express'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { askOf, askRaw, close, listen, NEXT_STATUS, openHttp } from './faces'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const STATUS_PATH = `/jobs/status/${TOKENS.done}`

test('an Express router cuts its mount path off url; the whole path counts', async () => {
  const { jobs } = createStubJobs()
  const app = express()
  const router = express.Router()
  router.use('/jobs', createNodeHandler<express.Request>(jobs, { basePath: '/api/jobs' }))
  app.use('/api', router)
  app.use((_request, response) => void response.status(NEXT_STATUS).end())
  const ask = askOf(await open(app))
  expect((await ask('GET', `/api${STATUS_PATH}`)).status).toBe(200)
  expect((await ask('GET', STATUS_PATH)).status).toBe(NEXT_STATUS)
})

test('headers that a middleware has set stay, and ours win', async () => {
  const app = express()
  app.use((_request, response, next) => {
    response.set({ 'X-Frame-Options': 'DENY', 'Cache-Control': 'public' })
    next()
  })
  app.use(createNodeHandler<express.Request>(createStubJobs().jobs))
  const { headers } = await askOf(await open(app))('GET', STATUS_PATH)
  expect(headers).toMatchObject({ 'x-frame-options': 'DENY', 'cache-control': 'no-store' })
})

test('the absolute form of a request target is served', async () => {
  const ask = askOf(await openHttp(createStubJobs().jobs))
  expect((await ask('GET', `http://localhost:80${STATUS_PATH}?x=http://y/`)).status).toBe(200)
  expect((await ask('GET', `http://localhost?x=${STATUS_PATH}`)).status).toBe(404)
  expect((await ask('OPTIONS', '*')).status).toBe(404)
})

test('Content-Length counts bytes, and a head has it too', async () => {
  const server = await openHttp(createStubJobs().jobs)
  const length = `Content-Length: ${Buffer.byteLength(JSON.stringify(STATUSES.done))}\r\n`
  const [get, head] = [await askRaw(server, 'GET', STATUS_PATH), await askRaw(server, 'HEAD', STATUS_PATH)]
  expect(get).toContain(length)
  expect(get).not.toContain('Transfer-Encoding')
  const withoutDate = (text: string): string => text.replace(/^Date: .*\r\n/m, '')
  expect(withoutDate(head)).toBe(withoutDate(get).slice(0, withoutDate(get).indexOf('\r\n\r\n') + 4))
})

test('a server that refuses a body in the answer to HEAD is served', async () => {
  const stub = createStubJobs()
  const server = createServer({ rejectNonStandardBodyWrites: true }, createNodeHandler(stub.jobs))
  await listen(server)
  onTestFinished(() => close(server))
  expect((await askOf(server)('HEAD', STATUS_PATH)).status).toBe(200)
  expect(stub.logger.error).not.toHaveBeenCalled()
})

test('Koa with ctx.respond = false: a status set before does not matter', async () => {
  const handler = createNodeHandler(createStubJobs().jobs)
  const server = await open((request, response) => {
    response.statusCode = 404
    handler(request, response)
  })
  expect((await askOf(server)('GET', STATUS_PATH)).status).toBe(200)
})

describe('called by hand', () => {
  test.each(['größe-🚀', '%E0%A4%A', '\u0000', '\ud800', '__proto__', 'x'.repeat(100_000)])(
    'a token like %j is unknown',
    async (token) => {
      const stub = createStubJobs()
      const response = createResponse()
      createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/status/${token}` } as never, response)
      await vi.waitFor(() =>
        expect(response.end).toHaveBeenCalledWith('{"status":"unknown","progress":0,"message":null}'),
      )
      expect(stub.record).not.toHaveBeenCalled()
    },
  )

  test('next is called once, at once, with nothing, and nothing is written', () => {
    const next = vi.fn()
    const response = createResponse()
    createNodeHandler(createStubJobs().jobs)({ method: 'GET', url: '/other' } as never, response, next)
    expect(next.mock.calls).toEqual([[]])
    expect(response.writeHead).not.toHaveBeenCalled()
  })

  test('next is not called for a path of ours', async () => {
    const next = vi.fn()
    const handler = createNodeHandler(createStubJobs().jobs)
    for (const [method, url] of [
      ['GET', STATUS_PATH],
      ['GET', '/jobs/status/nope'],
      ['DELETE', STATUS_PATH],
      ['POST', '/jobs/start'],
      ['GET', `/jobs/events/${TOKENS.done}`],
    ]) {
      const response = createResponse()
      handler({ method, url } as never, response, next)
      await vi.waitFor(() => expect(response.end).toHaveBeenCalledTimes(1))
    }
    expect(next).not.toHaveBeenCalled()
  })
})

function createResponse() {
  return { headersSent: false, writeHead: vi.fn(), write: vi.fn(() => true), on: vi.fn(), end: vi.fn() }
}

async function open(listener: Parameters<typeof createServer>[1]): Promise<ReturnType<typeof createServer>> {
  const server = createServer(listener)
  await listen(server)
  onTestFinished(() => close(server))
  return server
}

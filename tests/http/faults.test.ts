import { createServer } from 'node:http'
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2'
import { connect, type Server, type Socket } from 'node:net'
import { createJobHandler, createNodeHandler } from 'after-jobs/http'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { AfterJobsError } from '../../src/core/errors'
import type { JobStatusRecord } from '../../src/core/runtime'
import { close, FACES, listen, portOf } from './faces'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

const AWAY = new AfterJobsError('CACHE_UNAVAILABLE', 'redis://secret@10.0.0.7 does not answer')
const PROBLEM = {
  'content-type': 'application/problem+json',
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
}
const UNAVAILABLE = {
  status: 503,
  headers: { ...PROBLEM, 'retry-after': '2' },
  body: '{"type":"about:blank","title":"Service Unavailable","status":503}',
}
const FAILED = {
  status: 500,
  headers: PROBLEM,
  body: '{"type":"about:blank","title":"Internal Server Error","status":500}',
}

describe.each(FACES)('$name', (face) => {
  test('the cache away: 503, and the log has the rest', async () => {
    const stub = createStubJobs()
    stub.record.mockRejectedValue(AWAY)
    const ask = await face.serve(stub.jobs, { cancel: true })
    expect(await ask('GET', `/jobs/status/${TOKENS.done}`)).toEqual(UNAVAILABLE)
    expect(await ask('HEAD', `/jobs/status/${TOKENS.done}`)).toEqual({ ...UNAVAILABLE, body: '' })
    expect(await ask('POST', `/jobs/cancel/${TOKENS.done}`)).toEqual(UNAVAILABLE)
    expect(await ask('GET', `/jobs/events/${TOKENS.done}`)).toEqual(UNAVAILABLE)
    expect(stub.logger.error.mock.calls[0]).toEqual([{ err: AWAY, token: TOKENS.done.slice(0, 8) }, expect.any(String)])
    expect(stub.logger.error).toHaveBeenCalledTimes(4)
  })

  test('a cancellation that cannot be stored: 503', async () => {
    const stub = createStubJobs()
    stub.cancel.mockRejectedValue(AWAY)
    const ask = await face.serve(stub.jobs, { cancel: true })
    expect(await ask('POST', `/jobs/cancel/${TOKENS.running}`)).toEqual(UNAVAILABLE)
    expect(stub.logger.error).toHaveBeenCalledTimes(1)
  })

  test('a throw at once is a rejection', async () => {
    const stub = createStubJobs()
    stub.record.mockImplementation(() => {
      throw AWAY
    })
    const ask = await face.serve(stub.jobs)
    expect(await ask('GET', `/jobs/status/${TOKENS.done}`)).toEqual(UNAVAILABLE)
    expect(await ask('GET', `/jobs/events/${TOKENS.done}`)).toEqual(UNAVAILABLE)
  })

  test('a status that cannot be shown: 500, logged', async () => {
    const stub = createStubJobs()
    stub.record.mockResolvedValue({ ...STATUSES.done, result: 1n } as object as JobStatusRecord)
    const ask = await face.serve(stub.jobs)
    expect(await ask('GET', `/jobs/status/${TOKENS.done}`)).toEqual(FAILED)
    expect(stub.logger.error.mock.calls).toEqual([
      [{ err: expect.any(TypeError), token: TOKENS.done.slice(0, 8) }, expect.any(String)],
    ])
  })

  test('a logger that throws costs no answer', async () => {
    const stub = createStubJobs()
    stub.record.mockRejectedValue(AWAY)
    stub.logger.error.mockImplementation(() => {
      throw new Error('the disk is full')
    })
    const ask = await face.serve(stub.jobs)
    expect(await ask('GET', `/jobs/status/${TOKENS.done}`)).toEqual(UNAVAILABLE)
  })

  test('a start that fails is logged and has been answered', async () => {
    for (const fail of [() => Promise.reject(AWAY), () => throwError()]) {
      const stub = createStubJobs()
      stub.runNext.mockImplementation(fail)
      const ask = await face.serve(stub.jobs, { start: true })
      expect((await ask('POST', '/jobs/start')).status).toBe(202)
      await vi.waitFor(() => expect(stub.logger.error).toHaveBeenCalledTimes(1))
    }
  })
})

describe.each(['status', 'events'])('the client is gone before the answer to %s', (route) => {
  test('HTTP/1.1', async () => {
    const stub = createStubJobs()
    const server = createServer(createNodeHandler(stub.jobs))
    const { gone } = await serveUntilGone(server)
    const { arrived, answer } = holdRecord(stub)
    const socket = connect(portOf(server), '127.0.0.1')
    socket.write(`GET /jobs/${route}/${TOKENS.running} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await arrived
    socket.destroy()
    await gone
    await answer()
    expectNoTrace(stub)
  })

  test('HTTP/2', async () => {
    const stub = createStubJobs()
    const server = createHttp2Server(createNodeHandler(stub.jobs))
    const { gone } = await serveUntilGone(server)
    const { arrived, answer } = holdRecord(stub)
    const session = connectHttp2(`http://127.0.0.1:${portOf(server)}`)
    session.request({ ':path': `/jobs/${route}/${TOKENS.running}` }).on('error', () => {})
    await arrived
    session.destroy()
    await gone
    await answer()
    expectNoTrace(stub)
  })
})

/** Nothing was logged, and nothing watches a job for nobody. */
function expectNoTrace({ logger, watch }: ReturnType<typeof createStubJobs>): void {
  expect(logger.error).not.toHaveBeenCalled()
  for (const [, options] of watch.mock.calls) expect(options?.signal?.aborted).toBe(true)
}

test('nothing is sent where someone has answered in the meantime', async () => {
  const stub = createStubJobs()
  const writeHead = vi.fn()
  const response = { headersSent: false, writeHead, write: vi.fn(), on: vi.fn(), end: vi.fn() }
  const { answer } = holdRecord(stub)
  createNodeHandler(stub.jobs)({ method: 'GET', url: `/jobs/status/${TOKENS.done}` } as never, response)
  response.headersSent = true
  await answer()
  expect(writeHead).not.toHaveBeenCalled()
  expect(stub.logger.error).not.toHaveBeenCalled()
})

test('a response that cannot be written is logged', async () => {
  const stub = createStubJobs()
  const response = { headersSent: false, writeHead: throwError, write: vi.fn(), on: vi.fn(), end: vi.fn() }
  createNodeHandler(stub.jobs)({ method: 'GET', url: '/jobs/status/nope' } as never, response)
  await vi.waitFor(() => expect(stub.logger.error).toHaveBeenCalledTimes(1))
})

/** Serves until the test ends; the inner promise resolves when the server has seen its client leave. */
async function serveUntilGone(server: Server): Promise<{ gone: Promise<void> }> {
  const gone = new Promise<void>((resolve) => {
    server.on('connection', (socket: Socket) => socket.on('close', () => resolve()))
  })
  await listen(server)
  onTestFinished(() => close(server))
  return { gone }
}

/** Keeps the record back: tells when it was asked for, and gives it, with every consequence, when told. */
function holdRecord(stub: ReturnType<typeof createStubJobs>): { arrived: Promise<void>; answer: () => Promise<void> } {
  let give = (_: JobStatusRecord): void => {}
  const record = new Promise<JobStatusRecord>((resolve) => {
    give = resolve
  })
  const arrived = new Promise<void>((resolve) => {
    stub.record.mockImplementation(() => {
      resolve()
      return record
    })
  })
  const answer = async (): Promise<void> => {
    give(STATUSES.running)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return { arrived, answer }
}

function throwError(): never {
  throw new Error('broken')
}

test('a reader of a stream whose request is aborted is told its end', async () => {
  const stub = createStubJobs()
  const going = new AbortController()
  const ask = createJobHandler(stub.jobs)
  const open = () => ask(new Request(`http://localhost/jobs/events/${TOKENS.running}`, { signal: going.signal }))
  const [read, unread] = [await open(), await open()]
  const text = read.text()
  going.abort()
  expect(await text).toContain('running')
  expect(await unread.text()).toContain('running')
  expect(await (await open()).text()).toContain('running')
})

test('a quick read that throws is answered like a slow one', async () => {
  const stub = createStubJobs()
  const record = Object.assign(() => Promise.reject(AWAY), {
    now() {
      throw AWAY
    },
  })
  const response = await createJobHandler({ ...stub.jobs, record })(
    new Request(`http://localhost/jobs/status/${TOKENS.done}`),
  )
  expect(response.status).toBe(503)
  const handle = createNodeHandler({ ...stub.jobs, record })
  const server = createServer((request, answer) => handle(request, answer))
  await listen(server)
  expect((await fetch(`http://localhost:${portOf(server)}/jobs/status/${TOKENS.done}`)).status).toBe(503)
})

import { IncomingMessage } from 'node:http'
import { Http2ServerRequest } from 'node:http2'
import type { JobAuthorize } from 'after-jobs/http'
import { describe, expect, test, vi } from 'vitest'
import { askRaw, FACES, openHttp } from './faces'
import { CONTEXT, createStubJobs, TOKENS } from './stub-jobs'

const UNKNOWN_BODY = '{"status":"unknown","progress":0,"message":null}'

describe.each(FACES)('$name', (face) => {
  test('authorize gets its own request, the token, the context and the action', async () => {
    const authorize = vi.fn<JobAuthorize<unknown>>(async () => true)
    const ask = await face.serve(createStubJobs().jobs, { authorize, cancel: true })
    await ask('GET', `/jobs/status/${TOKENS.running}`)
    await ask('HEAD', `/jobs/status/${TOKENS.running}`)
    await ask('POST', `/jobs/cancel/${TOKENS.running}`)
    await ask('GET', `/jobs/events/${TOKENS.done}`)
    const [request] = authorize.mock.calls[0] ?? []
    const kinds = [Request, IncomingMessage, Http2ServerRequest]
    expect(kinds.filter((kind) => request instanceof kind)).toHaveLength(1)
    expect(request instanceof Request).toBe(face.kind === 'fetch')
    const access = { token: TOKENS.running, context: CONTEXT }
    expect(authorize.mock.calls.map(([, given]) => given)).toEqual([
      { ...access, action: 'read' },
      { ...access, action: 'read' },
      { ...access, action: 'cancel' },
      { ...access, token: TOKENS.done, action: 'read' },
    ])
  })

  test('authorize is asked only where the job exists', async () => {
    const authorize = vi.fn<JobAuthorize<unknown>>(() => true)
    const ask = await face.serve(createStubJobs().jobs, { authorize, cancel: true })
    await ask('GET', `/jobs/status/${TOKENS.unknown}`)
    await ask('GET', '/jobs/status/nope')
    await ask('GET', `/jobs/events/${TOKENS.unknown}`)
    await ask('POST', `/jobs/cancel/${TOKENS.unknown}`)
    await ask('DELETE', `/jobs/status/${TOKENS.done}`)
    expect(authorize).not.toHaveBeenCalled()
  })

  test.each([false, undefined, null, 0, 1, 'true', {}, Promise.resolve(false), Promise.resolve('yes')])(
    'only true lets the caller in, not %o',
    async (verdict) => {
      const stub = createStubJobs()
      const ask = await face.serve(stub.jobs, { authorize: () => verdict as boolean, cancel: true })
      expect((await ask('GET', `/jobs/status/${TOKENS.done}`)).status).toBe(404)
      expect((await ask('GET', `/jobs/events/${TOKENS.done}`)).status).toBe(404)
      expect((await ask('POST', `/jobs/cancel/${TOKENS.running}`)).status).toBe(404)
      expect(stub.cancel).not.toHaveBeenCalled()
      expect(stub.logger.error).not.toHaveBeenCalled()
    },
  )

  test('true, at once or later, lets the caller in', async () => {
    for (const verdict of [true, Promise.resolve(true)]) {
      const ask = await face.serve(createStubJobs().jobs, { authorize: () => verdict })
      expect((await ask('GET', `/jobs/status/${TOKENS.done}`)).status).toBe(200)
    }
  })

  test('the right to read is not the right to cancel', async () => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs, { authorize: (_, { action }) => action === 'read', cancel: true })
    expect((await ask('POST', `/jobs/cancel/${TOKENS.running}`)).body).toBe(UNKNOWN_BODY)
    expect(stub.cancel).not.toHaveBeenCalled()
    expect((await ask('GET', `/jobs/status/${TOKENS.running}`)).status).toBe(200)
  })

  test.each([
    ['at once', () => throwError()],
    ['later', async () => throwError()],
  ])('a throw %s is logged and refuses', async (_, authorize) => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs, { authorize })
    expect(await ask('GET', `/jobs/status/${TOKENS.done}`)).toMatchObject({ status: 404, body: UNKNOWN_BODY })
    expect(stub.logger.error.mock.calls).toEqual([
      [{ err: new Error('no session'), token: TOKENS.done.slice(0, 8) }, expect.stringContaining('authorize')],
    ])
  })
})

test('unknown, malformed and refused are one answer, byte for byte', async () => {
  const { jobs } = createStubJobs()
  const server = await openHttp(jobs, { authorize: () => false, cancel: true })
  const thrown = await openHttp(jobs, { authorize: () => throwError() })
  const open = await openHttp(jobs)
  const answers = [
    await askRaw(server, 'GET', `/jobs/status/${TOKENS.done}`),
    await askRaw(server, 'GET', `/jobs/status/${TOKENS.running}`),
    await askRaw(server, 'POST', `/jobs/cancel/${TOKENS.running}`),
    await askRaw(server, 'GET', `/jobs/events/${TOKENS.running}`),
    await askRaw(open, 'GET', `/jobs/events/${TOKENS.unknown}`),
    await askRaw(open, 'GET', '/jobs/events/nope'),
    await askRaw(thrown, 'GET', `/jobs/status/${TOKENS.done}`),
    await askRaw(open, 'GET', `/jobs/status/${TOKENS.unknown}`),
    await askRaw(open, 'GET', '/jobs/status/nope'),
  ].map((answer) => answer.replace(/^Date: .*\r\n/m, ''))
  expect(answers[0]).toMatch(/^HTTP\/1\.1 404 /)
  expect(new Set(answers).size).toBe(1)
})

function throwError(): never {
  throw new Error('no session')
}

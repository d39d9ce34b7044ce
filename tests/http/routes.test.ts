import { describe, expect, test, vi } from 'vitest'
import { FACES, NEXT_STATUS, type Options, type Reply } from './faces'
import { CONTEXT, createStubJobs, STATUSES, type StubJobs, TOKENS } from './stub-jobs'

const ALWAYS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
const JSON_HEADERS = { 'content-type': 'application/json; charset=utf-8', ...ALWAYS }
// The jobs of the stub stand still since 1970.
const UNFINISHED_HEADERS = { ...JSON_HEADERS, 'retry-after': '5' }
const STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-store, no-transform',
  'x-content-type-options': 'nosniff',
  'x-accel-buffering': 'no',
}
const UNKNOWN: Reply = { status: 404, headers: JSON_HEADERS, body: '{"status":"unknown","progress":0,"message":null}' }
const NOT_FOUND = problem(404, 'Not Found')
const OPEN: Options = { start: true, cancel: true, exposeErrors: true }

function problem(status: number, title: string, headers: Record<string, string> = {}): Reply {
  const body = JSON.stringify({ type: 'about:blank', title, status })
  return { status, headers: { 'content-type': 'application/problem+json', ...ALWAYS, ...headers }, body }
}

function notAllowed(allow: string): Reply {
  return problem(405, 'Method Not Allowed', { allow })
}

interface Row {
  what: string
  method: string
  path: string
  options?: Options
  reply: Reply
}

const STATUS_ROWS: Row[] = (['pending', 'running', 'done', 'failed', 'unexpected'] as const).flatMap((name) => {
  const isFinal = name !== 'pending' && name !== 'running'
  const headers = isFinal ? JSON_HEADERS : UNFINISHED_HEADERS
  const reply = { status: 200, headers, body: JSON.stringify(STATUSES[name]) }
  const path = `/jobs/status/${TOKENS[name]}`
  return [
    { what: `${name}: the whole status`, method: 'GET', path, options: OPEN, reply },
    { what: `${name}: the head`, method: 'HEAD', path, options: OPEN, reply: { ...reply, body: '' } },
    { what: `${name}: a query is ignored`, method: 'GET', path: `${path}?a=/jobs/start&b=?`, options: OPEN, reply },
    { what: `${name}: a fragment is ignored`, method: 'GET', path: `${path}#/a?b`, options: OPEN, reply },
  ]
})

const EVENT_ROWS: Row[] = (['done', 'failed', 'unexpected'] as const).map((name) => {
  const body = `id: 3-${STATUSES[name].status}\ndata: ${JSON.stringify(STATUSES[name])}\n\n`
  const reply = { status: 200, headers: STREAM_HEADERS, body }
  return { what: `${name}: one event, and the end`, method: 'GET', path: eventsOf(name), options: OPEN, reply }
})

function eventsOf(name: keyof typeof TOKENS): string {
  return `/jobs/events/${TOKENS[name]}`
}

const UNKNOWN_ROWS: Row[] = [
  { what: 'events', method: 'GET', path: eventsOf('unknown'), reply: UNKNOWN },
  { what: 'nobody knows', method: 'GET', path: `/jobs/status/${TOKENS.unknown}`, reply: UNKNOWN },
  { what: 'the head', method: 'HEAD', path: `/jobs/status/${TOKENS.unknown}`, reply: { ...UNKNOWN, body: '' } },
  { what: 'cancel', method: 'POST', path: `/jobs/cancel/${TOKENS.unknown}`, options: OPEN, reply: UNKNOWN },
]

/** What is not the exact form of a token, as it stands in the path. */
const MALFORMED = [
  '',
  'nope',
  TOKENS.done.replace('a', 'A'),
  `${TOKENS.done}/`,
  `${TOKENS.done}/context`,
  `${TOKENS.done}0`,
  `%33${TOKENS.done.slice(1)}`,
  `${TOKENS.done}%0a`,
  `${TOKENS.done},${TOKENS.done}`,
  `/${TOKENS.done}`,
  '00000000-0000-0000-0000-000000000000',
  'ffffffff-ffff-ffff-ffff-ffffffffffff',
  '01890a5d-ac96-774b-bcce-b302099a8057',
  '__proto__',
  'constructor',
  '[object%20Object]',
  '%2e%2e%2fetc%2fpasswd',
  '%00',
  'gr%C3%B6%C3%9Fe-%F0%9F%9A%80',
  'x'.repeat(10_000),
].map((token) => ({ token, what: token.slice(0, 50) }))

const FOREIGN = [
  '/',
  '//',
  '/jobs',
  '/jobs/',
  '/jobs/status',
  '/jobs/cancel',
  '/jobs/events',
  '/jobs/start/',
  '/jobs/nope',
  '/jobs/__proto__',
  '/jobs/constructor/x',
  `/jobs//status/${TOKENS.done}`,
  `//jobs/status/${TOKENS.done}`,
  `/jobsx/status/${TOKENS.done}`,
  `/JOBS/status/${TOKENS.done}`,
  `/jobs/Status/${TOKENS.done}`,
  `/jobs/st%61tus/${TOKENS.done}`,
  `/api/jobs/status/${TOKENS.done}`,
  `/other?/jobs/status/${TOKENS.done}`,
]

const EVENT_METHOD_ROWS: Row[] = ['HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'].flatMap((method) =>
  ([eventsOf('running'), eventsOf('unknown'), '/jobs/events/nope'] as const).map((path) => {
    const reply = notAllowed('GET')
    const shown = method === 'HEAD' ? { ...reply, body: '' } : reply
    return { what: `${method} a stream`, method, path, reply: shown }
  }),
)

const METHOD_ROWS: Row[] = ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].flatMap((method) =>
  [TOKENS.done, TOKENS.unknown, 'nope'].map((token) => ({
    what: `${method} a status`,
    ...{ method, path: `/jobs/status/${token}`, reply: notAllowed('GET, HEAD') },
  })),
)

const POST_ROWS: Row[] = ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'].flatMap((method) =>
  ['/jobs/start', `/jobs/cancel/${TOKENS.running}`].map((path) => {
    const reply = notAllowed('POST')
    const bodyless = method === 'HEAD' ? { ...reply, body: '' } : reply
    return { what: `${method} where POST is meant`, method, path, options: OPEN, reply: bodyless }
  }),
)

const CLOSED_ROWS: Row[] = [
  ['POST', '/jobs/start'],
  ['GET', '/jobs/start'],
  ['POST', `/jobs/cancel/${TOKENS.running}`],
  ['POST', `/jobs/cancel/${TOKENS.unknown}`],
  ['POST', '/jobs/cancel/nope'],
].map(([method = '', path = '']) => ({ what: `${method} a closed route`, method, path, reply: NOT_FOUND }))

const ROWS = [
  ...[...STATUS_ROWS, ...EVENT_ROWS, ...UNKNOWN_ROWS],
  ...[...METHOD_ROWS, ...EVENT_METHOD_ROWS, ...POST_ROWS, ...CLOSED_ROWS],
]

describe.each(FACES)('$name', (face) => {
  test.each(ROWS)('$what: $method $path', async ({ method, path, options, reply }) => {
    const ask = await face.serve(createStubJobs().jobs, options)
    expect(await ask(method, path)).toEqual(reply)
  })

  test.each(MALFORMED)('a malformed token never reaches the jobs: "$what"', async ({ token }) => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs, OPEN)
    expect(await ask('GET', `/jobs/status/${token}`)).toEqual(UNKNOWN)
    expect(await ask('GET', `/jobs/events/${token}`)).toEqual(UNKNOWN)
    expect(await ask('POST', `/jobs/cancel/${token}`)).toEqual(UNKNOWN)
    expect(stub.record).not.toHaveBeenCalled()
    expect(stub.cancel).not.toHaveBeenCalled()
  })

  test.each(FOREIGN)('a path that is none of ours is handed on, else 404: %s', async (path) => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs, OPEN)
    const reply = await ask('GET', path)
    if (face.foreign === 'own') expect(reply).toEqual(NOT_FOUND)
    else expect(reply.status).toBe(face.foreign === 'next' ? NEXT_STATUS : 404)
    expect(stub.record).not.toHaveBeenCalled()
  })

  test('the context is in no answer', async () => {
    const ask = await face.serve(createStubJobs().jobs, OPEN)
    for (const token of Object.values(TOKENS)) {
      const replies = [await ask('GET', `/jobs/status/${token}`), await ask('POST', `/jobs/cancel/${token}`)]
      for (const reply of replies) expect(JSON.stringify(reply)).not.toContain(CONTEXT.tenant)
      for (const reply of replies) expect(JSON.parse(reply.body)).not.toHaveProperty('context')
    }
  })

  test('cancel ends the job and answers its status', async () => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs, OPEN)
    const reply = await ask('POST', `/jobs/cancel/${TOKENS.running}`)
    expect(reply).toMatchObject({ status: 200, headers: JSON_HEADERS })
    expect(reply.headers).not.toHaveProperty('retry-after')
    expect(JSON.parse(reply.body)).toMatchObject({ token: TOKENS.running, status: 'error', code: 'cancelled' })
    expect(stub.cancel.mock.calls).toEqual([[TOKENS.running]])
  })

  test('cancel of a job that has ended answers the status that it has', async () => {
    const ask = await face.serve(createStubJobs().jobs, OPEN)
    const reply = { status: 200, headers: JSON_HEADERS, body: JSON.stringify(STATUSES.done) }
    expect(await ask('POST', `/jobs/cancel/${TOKENS.done}`)).toEqual(reply)
  })

  test('start answers at once and runs one job behind it', async () => {
    const stub = createStubJobs()
    stub.runNext.mockReturnValue(new Promise(() => {}))
    const ask = await face.serve(stub.jobs, OPEN)
    expect(await ask('POST', '/jobs/start')).toEqual({ status: 202, headers: JSON_HEADERS, body: '{}' })
    await vi.waitFor(() => expect(stub.runNext).toHaveBeenCalledTimes(1))
  })

  test('a closed route calls nothing', async () => {
    const stub = createStubJobs()
    const ask = await face.serve(stub.jobs)
    for (const { method, path } of CLOSED_ROWS) await ask(method, path)
    expectNoCall(stub)
  })

  test('basePath moves every route', async () => {
    const ask = await face.serve(createStubJobs().jobs, { basePath: '/jobs/v1.0/' })
    expect((await ask('GET', `/jobs/v1.0/status/${TOKENS.done}`)).status).toBe(200)
    expect((await ask('GET', `/jobs/v1.0/status/${TOKENS.unknown}`)).body).toBe(UNKNOWN.body)
    expect((await ask('GET', `/jobs/status/${TOKENS.done}`)).status).not.toBe(200)
  })
})

function expectNoCall({ record, cancel, runNext }: StubJobs): void {
  for (const spy of [record, cancel, runNext]) expect(spy).not.toHaveBeenCalled()
}

import { describe, expect, test } from 'vitest'
import { askAll, type Client, http2Streams, keepAlive, messages, pipelined } from './clients'
import { gatherCrowd, makeQuestions } from './crowd'
import {
  express5,
  fastify5,
  http,
  http2,
  http2Core,
  type OpenServer,
  webSocket,
  withCallbacks,
  withLateScope,
  withPromises,
} from './servers'
import { expected, OPENINGS, type Opening, strangers } from './verdicts'

interface Way {
  name: string
  open: OpenServer
  client: Client
  /** Whether what `next()` starts stays in its asynchronous context until it answers. */
  keepsContext: boolean
}

const WAYS: Way[] = [
  { name: 'node:http, promises', open: http(withPromises), client: pipelined, keepsContext: true },
  { name: 'node:http, callbacks', open: http(withCallbacks), client: pipelined, keepsContext: false },
  { name: 'node:http, scope in a callback', open: http(withLateScope), client: pipelined, keepsContext: true },
  { name: 'HTTP/2, promises', open: http2(withPromises), client: http2Streams, keepsContext: true },
  { name: 'HTTP/2, callbacks', open: http2(withCallbacks), client: http2Streams, keepsContext: false },
  { name: 'HTTP/2 streams, callbacks', open: http2Core(withCallbacks), client: http2Streams, keepsContext: false },
  { name: 'Express 5', open: express5, client: pipelined, keepsContext: true },
  { name: 'Fastify 5', open: fastify5, client: pipelined, keepsContext: true },
  { name: 'WebSocket', open: webSocket(false), client: messages, keepsContext: true },
  { name: 'WebSocket, compressed', open: webSocket(true), client: messages, keepsContext: true },
]

describe.each(WAYS)('$name, $client.name', (way) => {
  test.each(OPENINGS)('every request opens: %s', (opening) => meet(way, [opening]))
  test('some requests open a scope, others none, on the same sockets', () => meet(way, OPENINGS))
})

test.each(WAYS.filter(({ client }) => client === pipelined))(
  '$name: one after the other on the same sockets',
  async (way) => {
    await meet({ ...way, client: keepAlive }, OPENINGS)
  },
)

/** Lets a crowd meet on one service behind a server, and looks at what each was told. */
async function meet({ open, client, keepsContext }: Way, openings: readonly Opening[]): Promise<void> {
  const crowd = gatherCrowd()
  const questions = makeQuestions(openings, keepsContext)
  const replies = await askAll(client, await open(crowd), questions)
  await crowd.jobs.drain()
  const told = crowd.judge(replies)
  expect(replies).toHaveLength(questions.length)
  expect(strangers(told)).toEqual([])
  if (keepsContext) expect(told).toEqual(expected(questions))
  expect(crowd.seenInJobs).toEqual(new Set([undefined]))
}

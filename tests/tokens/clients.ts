import { connect as connectHttp2 } from 'node:http2'
import { type AddressInfo, connect, type Server } from 'node:net'
import { WebSocket } from 'ws'
import { createRandom } from './chance'
import type { Question, Reply } from './verdicts'

/** A way to ask a server: many questions over few sockets, which stay open. */
export interface Client {
  name: string
  sockets: number
  /** Asks over one socket. */
  ask(port: number, questions: readonly Question[]): Promise<Reply[]>
}

/** Sends a request when the one before has been answered. */
export const keepAlive: Client = {
  name: 'keep-alive',
  sockets: 25,
  ask: (port, questions) => {
    return converse(port, questions.length, (write, answered) => {
      const question = questions[answered]
      if (question !== undefined) write(requestOf(question))
    })
  },
}

/** Sends all requests at once, cut into pieces that care for no boundary. */
export const pipelined: Client = {
  name: 'pipelined',
  sockets: 8,
  ask: (port, questions) => {
    const random = createRandom(questions.length)
    let text = questions.map(requestOf).join('')
    const writeOn = (write: (piece: string) => void) => {
      const length = 1 + Math.floor(random() * 2_000)
      write(text.slice(0, length))
      text = text.slice(length)
      if (text !== '') setImmediate(writeOn, write)
    }
    return converse(port, questions.length, (write, answered) => {
      if (answered === 0) writeOn(write)
    })
  },
}

/** Opens all streams of a session at once. */
export const http2Streams: Client = {
  name: 'streams',
  sockets: 4,
  ask: async (port, questions) => {
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    const replies = questions.map(async (question) => {
      const body = bodyOf(question)
      const stream = session.request(
        { ':method': body ? 'POST' : 'GET', ':path': pathOf(question) },
        { endStream: !body },
      )
      if (body) stream.end(body)
      let text = ''
      for await (const chunk of stream.setEncoding('utf8')) text += chunk
      return JSON.parse(text)
    })
    return Promise.all(replies).finally(() => session.close())
  },
}

/** Sends all messages of a connection at once. */
export const messages: Client = {
  name: 'messages',
  sockets: 8,
  ask: (port, questions) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}`)
      const replies: Reply[] = []
      socket.on('open', () => {
        for (const question of questions) socket.send(pathOf(question))
      })
      socket.on('message', (data) => {
        if (replies.push(JSON.parse(String(data))) === questions.length) socket.close()
      })
      socket.on('close', () => resolve(replies)).on('error', reject)
    }),
}

/** Deals the questions out to the sockets of a client, and gathers the replies. */
export async function askAll(
  { sockets, ask }: Client,
  server: Server,
  questions: readonly Question[],
): Promise<Reply[]> {
  const { port } = server.address() as AddressInfo
  const hands = Array.from({ length: sockets }, (_, socket) => questions.filter((_, turn) => turn % sockets === socket))
  return (await Promise.all(hands.map((hand) => ask(port, hand)))).flat()
}

/** The path holds the question, because every second request has no body. */
function pathOf({ n, opening, isCached }: Question): string {
  return `/${opening}?n=${n}${isCached ? '&cached' : ''}`
}

export function readPath(path: string): Question {
  const { pathname, searchParams } = new URL(path, 'http://localhost')
  const opening = pathname.slice(1) as Question['opening']
  return { n: Number(searchParams.get('n')), opening, isCached: searchParams.has('cached') }
}

function bodyOf({ n }: Question): string {
  return n % 2 === 0 ? '' : JSON.stringify({ text: 'x'.repeat(n) })
}

function requestOf(question: Question): string {
  const body = bodyOf(question)
  if (!body) return `GET ${pathOf(question)} HTTP/1.1\r\nHost: localhost\r\n\r\n`
  const headers = ['Host: localhost', 'Content-Type: application/json', `Content-Length: ${body.length}`].join('\r\n')
  return `POST ${pathOf(question)} HTTP/1.1\r\n${headers}\r\n\r\n${body}`
}

type Step = (write: (text: string) => void, answered: number) => void

/** Talks over one socket until so many replies have come; `step` is called at first and after each reply. */
function converse(port: number, count: number, step: Step): Promise<Reply[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1').setEncoding('utf8').setNoDelay()
    const replies: Reply[] = []
    let text = ''
    const advance = () => step((piece) => void socket.write(piece), replies.length)
    socket.on('connect', advance).on('data', (chunk) => {
      text += chunk
      for (let reply = findReply(text); reply !== undefined; reply = findReply(text)) {
        replies.push(JSON.parse(reply.body))
        text = text.slice(reply.end)
        advance()
      }
      if (replies.length === count) socket.end(() => resolve(replies))
    })
    socket.on('error', reject).on('close', () => reject(new Error(`Closed after ${replies.length} replies: ${text}`)))
  })
}

/** Finds the first whole response of a stream of them. */
function findReply(text: string): { body: string; end: number } | undefined {
  const start = text.indexOf('\r\n\r\n') + 4
  if (start < 4) return undefined
  const end = start + Number(/content-length: (\d+)/i.exec(text)?.[1])
  return text.length < end ? undefined : { body: text.slice(start, end), end }
}

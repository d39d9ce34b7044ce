import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { jobHeaders } from 'after-jobs'
import { createNodeHandler } from 'after-jobs/http'
import { type ImportOrder, ImportService, jobs } from './import-service'

const MAX_BODY = 1_000

/** `POST /imports` starts an import; `GET /jobs/status/{token}` tells how far it is. */
export function createImportServer(service = new ImportService()): Server {
  const serveJobs = createNodeHandler(jobs)
  return createServer((request, response) => {
    serveJobs(request, response, () => {
      serveImports(service, request, response).catch((error: unknown) => {
        console.error(error)
        sendProblem(response, 500, 'The server has made a mistake.')
      })
    })
  })
}

async function serveImports(service: ImportService, request: IncomingMessage, response: ServerResponse) {
  if (request.url !== '/imports') return sendProblem(response, 404, 'There is nothing here but /imports.')
  if (request.method !== 'POST') return sendProblem(response, 405, 'Only POST.', { Allow: 'POST' })
  const body = await readBody(request)
  if (body === undefined) return sendProblem(response, 413, `The body has more than ${MAX_BODY} bytes.`, CLOSE)
  const order = parseOrder(body)
  if (order === undefined) return sendProblem(response, 400, 'Expected JSON like {} or { "country": "FR" }.')
  const created = await service.create(order)
  const token = service.getJobToken(created)
  send(response, 201, { ...created, token }, jobHeaders(token))
}

/** Reads no further than the limit; `undefined` beyond it. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length
    if (size > MAX_BODY) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function parseOrder(body: string): ImportOrder | undefined {
  try {
    const order: unknown = JSON.parse(body)
    if (typeof order !== 'object' || order === null || Array.isArray(order)) return undefined
    const country: unknown = Reflect.get(order, 'country')
    if (country === undefined) return {}
    return typeof country === 'string' ? { country } : undefined
  } catch {
    return undefined
  }
}

const CLOSE = { Connection: 'close' }

/** Describes a failure in the form of RFC 9457. */
function sendProblem(response: ServerResponse, status: number, detail: string, headers = {}): void {
  send(response, status, { status, detail }, { ...headers, 'Content-Type': 'application/problem+json' })
}

function send(response: ServerResponse, status: number, body: object, headers: Record<string, string>): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(body))
}

import { readFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { createNodeHandler } from 'after-jobs/http'
import { jobs } from '../import-cities/import-service'
import { createImportServer } from '../import-cities/server'
import { RemoteImportService } from './remote-import'

/** Where each file is, and what it is. The page needs no build: the element is one file of the package. */
const FILES = new Map([
  ['/', { url: new URL('site/index.html', import.meta.url), type: 'text/html; charset=utf-8' }],
  ['/page.css', { url: new URL('site/page.css', import.meta.url), type: 'text/css' }],
  ['/page.js', { url: new URL('site/page.js', import.meta.url), type: 'text/javascript' }],
  ['/icon.svg', { url: new URL('site/icon.svg', import.meta.url), type: 'image/svg+xml' }],
  ['/after-jobs/element.js', { url: new URL(import.meta.resolve('after-jobs/element')), type: 'text/javascript' }],
])

/** Nothing but the page's own files, and neither inline scripts nor inline styles: the element needs none. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"

/** The page, `POST /imports`, and the jobs, which may be cancelled. Each import takes `seconds` and a little more. */
export function createPageServer(seconds: number): Server {
  const serveJobs = createNodeHandler(jobs, { cancel: true })
  const imports = createImportServer(new RemoteImportService(seconds))
  return createServer((request, response) => {
    serveJobs(request, response, () => {
      const file = FILES.get(request.url ?? '')
      if (file === undefined || request.method !== 'GET') return void imports.emit('request', request, response)
      sendFile(response, file).catch((error: unknown) => {
        console.error(error)
        response.writeHead(500).end()
      })
    })
  })
}

async function sendFile(response: ServerResponse, { url, type }: { url: URL; type: string }): Promise<void> {
  const body = await readFile(fileURLToPath(url))
  const headers = { 'Content-Type': type, 'Content-Security-Policy': POLICY, 'X-Content-Type-Options': 'nosniff' }
  response.writeHead(200, { ...headers, 'Cache-Control': 'no-cache', 'Content-Length': body.length }).end(body)
}

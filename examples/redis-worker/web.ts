// The web process: takes orders and tells how far they are. It runs no job.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { jobHeaders } from 'after-jobs'
import { createNodeHandler } from 'after-jobs/http'
import { AlbumService, jobs } from './album-service'

const service = new AlbumService('web')
const serveJobs = createNodeHandler(jobs)

const server = createServer((request, response) => {
  serveJobs(request, response, () => {
    createAlbum(request, response).catch((error: unknown) => {
      console.error(error)
      response.writeHead(500).end()
    })
  })
})

async function createAlbum(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST' || request.url !== '/albums') return void response.writeHead(404).end()
  const { photos } = (await json(request)) as { photos?: number }
  if (!Number.isInteger(photos) || Number(photos) > 1_000) return void response.writeHead(400).end()
  const album = await service.create(Number(photos))
  const headers = jobHeaders(service.getJobToken(album))
  response.writeHead(201, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify(album))
}

server.listen(0, '127.0.0.1', () => {
  process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})

process.once('disconnect', () => {
  server.close()
  void jobs.close()
})

import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAfterJobs, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { type EventStream, watchJob } from 'after-jobs/client'
import { createNodeHandler } from 'after-jobs/http'
import { expect, onTestFinished, test, vi } from 'vitest'

/** As much of an `EventSource` as a server notices, since Node has none: it opens, it reads, it is closed. */
function openEvents(url: string): EventStream {
  const leaving = new AbortController()
  const stream: EventStream = { onmessage: null, onerror: null, close: () => leaving.abort() }
  const run = async (): Promise<void> => {
    const { status, body } = await fetch(url, { signal: leaving.signal })
    let text = ''
    for await (const chunk of status === 200 && body ? body.pipeThrough(new TextDecoderStream()) : []) {
      const events = (text + chunk).split('\n\n')
      text = events.pop() ?? ''
      for (const event of events) {
        const data = /^data: (.*)$/m.exec(event)?.[1]
        if (data !== undefined) stream.onmessage?.(new MessageEvent('message', { data }))
      }
    }
  }
  const fail = (): unknown => !leaving.signal.aborted && stream.onerror?.(new Event('error'))
  run().then(fail, fail)
  return stream
}

/** Serves a job that takes steps when told, and notes each request. */
async function serveJob() {
  const jobs = createAfterJobs()
  let bar: ProgressReporter | undefined
  let end = (): void => {}
  class ImportService extends withAfterJobs({ jobs }) {
    afterCreateJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      bar = progress
      return new Promise((resolve) => {
        end = resolve
      })
    }
  }
  const token = (await new ImportService().executeJob('after', 'create', 1)) as string
  await vi.waitFor(() => expect(bar).toBeDefined())
  const requests: string[] = []
  let isStrict = false
  const authorize = ({ headers }: { headers: NodeJS.Dict<string | string[]> }) => headers.authorization !== 'none'
  const handler = createNodeHandler(jobs, { authorize })
  const server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url?.split('/').at(-2)}`)
    if (request.headers.authorization === undefined && isStrict) request.headers.authorization = 'none'
    handler(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => stop(server))
  const basePath = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jobs`
  const demandHeader = (): void => {
    isStrict = true
  }
  return { token, basePath, requests, demandHeader, set: (percent: number) => bar?.set(percent), end: () => end() }
}

async function stop(server: Server): Promise<void> {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
}

test('three watches of a job over a real connection are one request, and all see each step', async () => {
  const { token, basePath, requests, set, end } = await serveJob()
  const watches = Array.from({ length: 3 }, () => watchJob(token, { basePath, events: openEvents }))
  const seen = await Promise.all(
    watches.map(async (watch) => {
      const steps: string[] = []
      for await (const { status, progress } of watch) {
        steps.push(`${status} ${progress}`)
        if (progress === 0) set(40)
        if (progress === 40) end()
      }
      return steps
    }),
  )
  expect(new Set(seen.map(String))).toEqual(new Set(['running 0,running 40,done 100']))
  expect(requests).toEqual(['GET events'])
})

test('a server that demands a header, which no EventSource sends, is asked', async () => {
  const { token, basePath, requests, demandHeader, end } = await serveJob()
  demandHeader()
  const fetchWithHeader = (url: string, init: RequestInit) => fetch(url, { ...init, headers: { Authorization: 'Ada' } })
  const watch = watchJob(token, { basePath, fetch: fetchWithHeader, events: openEvents })
  for await (const { status } of watch) if (status === 'running') end()
  await expect(watch.done).resolves.toMatchObject({ status: 'done' })
  expect(requests).toEqual(['GET events', 'GET status', 'GET status'])
})

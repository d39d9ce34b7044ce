import { createServer } from 'node:http'
import { createNodeHandler } from 'after-jobs/http'
import compression from 'compression'
import express from 'express'
import { expect, onTestFinished, test, vi } from 'vitest'
import { askOf, close, listen } from './faces'
import { openLive } from './live'
import { createStubJobs, STATUSES, TOKENS } from './stub-jobs'

test.each([
  ['as it is', compression()],
  ['that compresses everything', compression({ filter: () => true, threshold: 0 })],
])('behind a compressing middleware %s each event arrives at once', async (_, middleware) => {
  const stub = createStubJobs()
  const app = express()
  app.use(middleware)
  app.use(createNodeHandler<express.Request>(stub.jobs))
  const server = createServer(app)
  await listen(server)
  onTestFinished(() => close(server))
  const live = openLive(askOf(server), TOKENS.running, { 'Accept-Encoding': 'gzip' })
  await vi.waitFor(() => expect(live.statuses()).toEqual([STATUSES.running]))
  stub.tell({ ...STATUSES.running, progress: 60 })
  await vi.waitFor(() => expect(live.statuses()).toHaveLength(2))
  stub.tell(STATUSES.done)
  const { headers } = await live.ended
  expect(headers).not.toHaveProperty('content-encoding')
  expect(live.statuses()).toHaveLength(3)
})

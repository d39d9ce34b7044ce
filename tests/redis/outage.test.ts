import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { AfterJobsError, type JobStatus } from 'after-jobs'
import { createJobHandler, createNodeHandler } from 'after-jobs/http'
import { afterAll, expect, test, vi } from 'vitest'
import type { Crew } from '../crew/crew'
import { endDuringOutage, failToStart, runAnother } from '../crew/outage'
import type { Setting } from '../crew/runtime'
import { type Finisher, openCrew } from '../crew/shared-engine'
import { rejection } from '../engine/support/runtime'
import type { RedisServer } from './support/redis-server'
import { describeWithServer, openServer } from './support/suite'

// They mostly wait, but their processes are many.
vi.setConfig({ maxConcurrency: 2 })
/** `timeout` is many times what each test takes on an idle machine. */
const OPTIONS = { concurrent: true, timeout: 60_000 }
const STATUS_LIMIT = 3_000
/** So short that a test sees what follows twice of it. */
const IMPATIENT = 1_000

// What a library prints past the logger is a flood, too.
const complaint = vi.spyOn(console, 'error')
const warnings: Error[] = []
process.on('warning', (warning) => warnings.push(warning))

afterAll(() => {
  expect(complaint).not.toHaveBeenCalled()
  expect(warnings).toEqual([])
})

/** Opens a crew of little patience, and connects it first: to load the libraries may take as long. */
async function openImpatientCrew(context: Finisher, setting: Omit<Setting, 'prefix'>): Promise<Crew> {
  const crew = openCrew(context, { ...setting, enqueueTimeout: IMPATIENT })
  await crew.isIdle()
  return crew
}

/** Asks for a status in each way there is, and answers what came. */
async function askForStatus({ onTestFinished }: Finisher, crew: Crew, token: string) {
  const node = createServer(createNodeHandler(crew.jobs)).listen(0, '127.0.0.1')
  onTestFinished(() => void node.close())
  await once(node, 'listening')
  const path = `/jobs/status/${token}`
  const begin = Date.now()
  const [error, fetched, served] = await Promise.all([
    rejection(crew.jobs.status(token)),
    createJobHandler(crew.jobs)(new Request(`http://localhost${path}`)),
    fetch(`http://127.0.0.1:${(node.address() as AddressInfo).port}${path}`),
  ])
  return { error, codes: [fetched.status, served.status], ms: Date.now() - begin }
}

const hasEnded = ({ status }: JobStatus): boolean => status === 'done' || status === 'error'

describeWithServer('while Redis is away', OPTIONS, () => {
  test.for(['before', 'after'])(
    '%s its first call, executeJob rejects in time, and leaves no ghost',
    async (when, context) => {
      const server = await openServer(context)
      const crew = openCrew(context, { url: server.url })
      if (when === 'after') await crew.jobs.health()
      await server.kill()
      const errors = await failToStart(crew, 101)
      expect(new Set(errors.map(({ token }) => token)).size).toBe(101)

      await server.restart()
      await crew.addWorker()
      await runAnother(crew)
      await crew.isIdle()
      expect(crew.journal.read().filter(({ id }) => typeof id === 'number')).toEqual([])
      const statuses = await Promise.all(errors.map(({ token }) => crew.jobs.status(token as string)))
      for (const { status } of statuses) expect(status).toMatch(/^(unknown|error)$/)
    },
  )

  test('frozen, executeJob rejects in time with the token, and says that nobody can tell', async (context) => {
    const server = await openServer(context)
    const crew = await openImpatientCrew(context, { url: server.url })
    await crew.addWorker()
    await runAnother(crew)
    server.freeze()
    const errors = await failToStart(crew, 100)
    for (const { accepted } of errors) expect(accepted).toBe('unknown')
    server.thaw()
    await runAnother(crew)
    // What got in has run, what did not is not known; none waits for ever.
    for (const { token = '' } of errors) {
      const { status } = await crew.sees(token, ({ status }) => !/pending|running/.test(status))
      expect(crew.journal.find(token, 'ended')).toHaveLength(status === 'done' ? 1 : 0)
    }
  })

  test.for([
    ['kill', ''],
    ['freeze', ''],
    ['freeze', '?commandTimeout=600000'],
  ] as const)(
    'after %s, at a URL with %j, a status rejects in time, and is 503 over HTTP',
    async ([blow, query], context) => {
      const server = await openServer(context)
      const crew = openCrew(context, { url: server.url + query })
      const token = await crew.start([])
      await server[blow]()
      const { error, codes, ms } = await askForStatus(context, crew, token)
      expect(AfterJobsError.is(error)).toBe(true)
      expect(error).toMatchObject({ code: 'CACHE_UNAVAILABLE' })
      expect(codes).toEqual([503, 503])
      expect(ms).toBeLessThan(STATUS_LIMIT)
      expect(await crew.jobs.health()).toMatchObject({ queue: 'down', cache: 'down' })
    },
  )

  test('ends wait until they can be stored, workers go on by themselves, and nobody floods the log', async (context) => {
    const server = await openServer(context, { appendonly: true })
    const crew = openCrew(context, { url: server.url })
    await endDuringOutage(
      crew,
      () => server.kill(),
      () => server.restart(),
    )
  })

  test('for longer than a lock, a job that has ended is not run again', async (context) => {
    const server = await openServer(context)
    const crew = openCrew(context, { url: server.url, lockDuration: 1_000, stalledInterval: 300 })
    await crew.addWorker(2)
    const token = await crew.start([
      { do: 'wait', gate: 'end' },
      { do: 'return', result: 'kept' },
    ])
    await crew.happened(token, 'started')
    server.freeze()
    crew.openGate('end')
    await crew.happened(token, 'ended')
    await pause(2_000)
    server.thaw()
    expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'kept' })
    await crew.isIdle()
    expect(crew.journal.find(token, 'started')).toHaveLength(1)
  })
})

const EMPTYINGS: Readonly<Record<string, (server: RedisServer) => Promise<void>>> = {
  FLUSHALL: (server) => server.flush(),
  'a restart without persistence': (server) => server.restart(),
}

describeWithServer('when Redis is emptied in mid-job', OPTIONS, () => {
  test.for(Object.keys(EMPTYINGS))(
    'by %s, the running hook ends and its end is written, and workers go on',
    async (how, context) => {
      const server = await openServer(context)
      const crew = await openImpatientCrew(context, { url: server.url })
      const worker = await crew.addWorker()
      const running = await crew.start([
        { do: 'wait', gate: 'end' },
        { do: 'return', result: 'late' },
      ])
      await crew.happened(running, 'started')
      const waiting = await crew.start([])
      await EMPTYINGS[how]?.(server)
      await crew.sees(waiting, ({ status }) => status === 'unknown')
      crew.openGate('end')
      expect(await crew.ended(running)).toMatchObject({ status: 'done', result: 'late', progress: 100 })
      await runAnother(crew)
      expect(crew.journal.find(waiting)).toEqual([])
      expect(worker.stderr).toBe('')
    },
  )

  test.for(Object.keys(EMPTYINGS))(
    'by %s, records that are elsewhere end as worker_lost where their job is gone',
    async (how, context) => {
      const [server, other] = await Promise.all([openServer(context), openServer(context)])
      const crew = await openImpatientCrew(context, { url: server.url, cacheUrl: other.url })
      await crew.addWorker()
      const running = await crew.start([{ do: 'wait', gate: 'end' }])
      await crew.happened(running, 'started')
      const waiting = await crew.start([])
      const emptiedAt = Date.now()
      await EMPTYINGS[how]?.(server)
      const end = await crew.sees(waiting, hasEnded)
      expect(end).toMatchObject({ status: 'error', code: 'worker_lost', attempt: 0 })
      expect(Date.now() - emptiedAt).toBeGreaterThan(2 * IMPATIENT)
      expect(await crew.jobs.status(running)).toMatchObject({ status: 'running' })
      crew.openGate('end')
      expect(await crew.ended(running)).toMatchObject({ status: 'done' })
      await runAnother(crew)
    },
  )
})

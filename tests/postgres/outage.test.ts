import { setTimeout as pause } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { endDuringOutage, failToStart, runAnother } from '../crew/outage'
import { openCrew } from '../crew/shared-engine'
import { describeWithServer, openServer } from './support/suite'

// They mostly wait, but their processes are many.
vi.setConfig({ maxConcurrency: 2 })
/** `timeout` is many times what each test takes on an idle machine. */
const OPTIONS = { concurrent: true, timeout: 90_000 }

describeWithServer('while PostgreSQL is away', OPTIONS, () => {
  test.for(['before', 'after'])(
    '%s its first call, executeJob rejects in time, and leaves no ghost',
    async (when, context) => {
      const server = await openServer(context)
      const crew = openCrew(context, { url: server.url })
      if (when === 'after') await crew.jobs.health()
      await server.stop()
      const errors = await failToStart(crew, 101)
      expect(new Set(errors.map(({ token }) => token)).size).toBe(101)
      await server.restart()
      await crew.addWorker()
      await runAnother(crew)
      await crew.isIdle()
      expect(crew.journal.read().filter(({ id }) => typeof id === 'number')).toEqual([])
    },
  )

  test('frozen, executeJob rejects in time, and what got in all the same ends', async (context) => {
    const server = await openServer(context)
    const crew = openCrew(context, { url: server.url, enqueueTimeout: 1_000 })
    await crew.isIdle()
    await crew.addWorker()
    await runAnother(crew)
    server.freeze()
    const errors = await failToStart(crew, 20)
    for (const { accepted } of errors) expect(accepted).toBe('unknown')
    server.thaw()
    await runAnother(crew)
    for (const { token = '' } of errors) {
      const { status } = await crew.sees(token, ({ status }) => !/pending|running/.test(status))
      expect(crew.journal.find(token, 'ended')).toHaveLength(status === 'done' ? 1 : 0)
    }
  })

  test('ends wait until they can be stored, workers go on by themselves, and nobody floods the log', async (context) => {
    const server = await openServer(context, { durable: true })
    const crew = openCrew(context, { url: server.url })
    await endDuringOutage(
      crew,
      () => server.crash(),
      () => server.restart(),
    )
  })

  test('for longer than a lock, a job whose body lives is not given to another worker', async (context) => {
    const server = await openServer(context, { durable: true })
    const crew = openCrew(context, { url: server.url, lockDuration: 3_000, stalledInterval: 500 })
    await Promise.all([crew.addWorker(), crew.addWorker()])
    const token = await crew.start([
      { do: 'wait', gate: 'end' },
      { do: 'return', result: 'kept' },
    ])
    await crew.happened(token, 'started')
    await server.stop()
    await pause(4_000)
    await server.restart()
    // The next two locks are over, too.
    await pause(6_000)
    crew.openGate('end')
    expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'kept' })
    expect(crew.journal.find(token, 'started')).toHaveLength(1)
  })

  test('a worker that is started then begins to work when it is back', async (context) => {
    const server = await openServer(context, { durable: true })
    const crew = openCrew(context, { url: server.url })
    const token = await crew.start([{ do: 'return', result: 'late' }])
    await server.stop()
    const worker = await crew.addWorker()
    await pause(2_000)
    expect(worker.isAlive).toBe(true)
    await server.restart()
    expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'late' })
  })

  test('a runtime closes all the same, in time', async (context) => {
    const server = await openServer(context)
    const crew = openCrew(context, { url: server.url, enqueueTimeout: 1_000 })
    await crew.isIdle()
    crew.jobs.work()
    const token = await crew.start([])
    expect(await crew.sees(token, ({ status }) => status === 'pending' || status === 'done')).toBeDefined()
    server.freeze()
    const begin = Date.now()
    await crew.jobs.close({ grace: 0 })
    expect(Date.now() - begin).toBeLessThan(10_000)
    server.thaw()
  })
})

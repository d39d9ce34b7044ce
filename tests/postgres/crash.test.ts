import { expect, test, vi } from 'vitest'
import { openCrew } from '../crew/shared-engine'
import { testCrashes } from '../crew/suites/crash'
import { postgresEngine } from './support/engine'
import { describeWithPostgres, usePostgres } from './support/suite'

/** As tight as makes sense beside processes that need half a second to start. */
const TIGHT = { lockDuration: 1_500, stalledInterval: 500 }
// The one that takes half a minute runs beside all others.
vi.setConfig({ maxConcurrency: 2 })
/** Many times what each test takes on an idle machine. */
const OPTIONS = { concurrent: true, timeout: 60_000 }

testCrashes(postgresEngine, { least: TIGHT, tight: { lockDuration: 10_000, stalledInterval: 2_000 }, limit: 15_000 })

describeWithPostgres('a worker on PostgreSQL that lives', OPTIONS, () => {
  const postgres = usePostgres()

  test('keeps its job for as many lock durations as the body takes', async (context) => {
    const crew = openCrew(context, { url: postgres.url, lockDuration: 500, stalledInterval: 100 })
    await Promise.all([crew.addWorker(), crew.addWorker()])
    // Eight times its lock.
    const token = await crew.start([{ do: 'tick', count: 40, ms: 100 }])
    expect(await crew.ended(token)).toMatchObject({ status: 'done', attempt: 1 })
    expect(crew.journal.find(token, 'started')).toHaveLength(1)
  })

  test('but was blocked for longer than its lock sees its signal, and changes nothing of the other one', async (context) => {
    const crew = openCrew(context, { url: postgres.url, ...TIGHT })
    await Promise.all([crew.addWorker(), crew.addWorker()])
    const token = await crew.start([
      { do: 'set', percent: 5 },
      { do: 'block', ms: 5_000, starts: 1 },
      { do: 'set', percent: 90, starts: 1 },
      { do: 'wait', gate: 'never', starts: 1 },
      { do: 'set', percent: 40 },
      { do: 'wait', gate: 'end' },
      { do: 'return', result: 'winner' },
    ])
    const [zombie, winner] = await crew.happened(token, 'started', 2)
    expect(zombie?.pid).not.toBe(winner?.pid)
    await crew.sees(token, ({ progress }) => progress === 40)
    const [aborted] = await crew.happened(token, 'aborted')
    expect(aborted?.pid).toBe(zombie?.pid)
    expect(await crew.jobs.status(token)).toMatchObject({ status: 'running', progress: 40 })
    crew.openGate('end')
    expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'winner' })
    expect(crew.journal.find(token, 'started')).toHaveLength(2)
    expect(crew.journal.find(token, 'compensated')).toEqual([])
  })
})

describeWithPostgres('a dedupe key in PostgreSQL', OPTIONS, () => {
  const postgres = usePostgres()

  test('stands for the job of a process that died, until that has started, and is free from then on', async (context) => {
    const crew = openCrew(context, { url: postgres.url, ...TIGHT })
    const producer = await crew.addWorker()
    const parent = await crew.start([
      { do: 'order', steps: [{ do: 'wait', gate: 'end' }], dedupe: 'key', starts: 1 },
      { do: 'die', starts: 1 },
    ])
    await producer.exited()
    const token = await crew.start([], { dedupe: 'key' })
    expect(await crew.jobs.status(token)).toMatchObject({ status: 'pending', parent })
    const worker = await crew.addWorker(2)
    await crew.happened(token, 'started')
    const next = await crew.start([], { dedupe: 'key' })
    expect(next).not.toBe(token)
    // Not even the death of the worker that runs the first one brings its key back.
    await worker.kill()
    await crew.addWorker(3)
    crew.openGate('end')
    for (const one of [parent, token, next]) expect(await crew.ended(one)).toMatchObject({ status: 'done' })
    expect(await crew.start([], { dedupe: 'key' })).not.toBe(next)
  })
})

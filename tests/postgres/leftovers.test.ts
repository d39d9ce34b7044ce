import { JobError } from 'after-jobs'
import { expect, test } from 'vitest'
import { eventually, type Finisher } from '../crew/shared-engine'
import { aborted, type Bench } from '../engine/support/runtime'
import { openClient, openNeighbours, SCHEMA } from './support/neighbours'
import { describeWithPostgres, usePostgres } from './support/suite'

/** The two ways in which jobs are run. */
const WAYS: Readonly<Record<string, (worker: Bench) => Promise<void>>> = {
  'by work()': async ({ jobs }) => {
    const worker = jobs.work({ concurrency: 10 })
    await jobs.drain()
    await worker.close()
  },
  'by runNext()': async ({ jobs }) => {
    while (await jobs.runNext());
  },
}

describeWithPostgres('what the queue keeps in PostgreSQL of jobs that ended', {}, () => {
  const postgres = usePostgres()

  /** A service whose jobs end as their ids say. */
  async function openStage(context: Finisher) {
    const neighbours = openNeighbours(context, postgres)
    const worker = neighbours.add({
      async afterCreateJob(id, _token, _progress, { signal }) {
        if (id === 'unexpected') throw new Error('secret: admin:hunter2@db', { cause: new Error('secret cause') })
        if (id === 'failed') throw new JobError('No such city', { cause: new Error('secret cause') })
        if (id === 'timeout') await aborted(signal)
        return { result: 7 }
      },
      afterCreateJobFailed: () => Promise.reject(new Error('secret compensation')),
    })
    return { ...neighbours, worker, client: await openClient(context, postgres) }
  }

  test.for(Object.keys(WAYS))('is no stack and no message of an unexpected error, run %s', async (way, context) => {
    const { worker, client, queue } = await openStage(context)
    const token = await worker.start('unexpected', { attempts: 2 })
    await worker.start('failed')
    await worker.start('timeout', { timeout: 50 })
    await WAYS[way]?.(worker)
    const { rows } = await client.query(`SELECT job::text AS text FROM ${SCHEMA}.job WHERE name = $1`, [queue])
    const text = rows.map((row) => row.text).join('\n')
    expect(rows).toHaveLength(3)
    expect(text).toContain(token)
    expect(text).toContain('No such city')
    expect(text).not.toMatch(/secret|hunter2/)
    expect(text).not.toMatch(/\bat .*(:\d+){2}|\.ts\b|node_modules/)
  })

  test('is enough to tell their end to whoever asks, where the record was lost', async (context) => {
    const { worker, client } = await openStage(context)
    const tokens = [await worker.start('done'), await worker.start('failed'), await worker.start('unexpected')]
    await WAYS['by work()']?.(worker)
    await client.query('DELETE FROM after_jobs_status WHERE token = ANY($1)', [tokens])
    const statuses = await Promise.all(tokens.map((token) => worker.jobs.status(token)))
    expect(statuses).toMatchObject([
      { status: 'done', result: 7, progress: 100 },
      { status: 'error', code: 'failed', message: 'No such city' },
      { status: 'error', code: 'unexpected', message: 'The job failed unexpectedly' },
    ])
  })

  test.for(Object.keys(WAYS))('is gone after an hour, run %s', async (way, context) => {
    const { worker, client, queue } = await openStage(context)
    await worker.service.executeJobs('after', 'create', Array(20).fill('done'))
    await worker.start('failed')
    const waiting = await worker.start('done', { delay: 3_600_000 })
    const drain = async () => {
      await WAYS['by runNext()']?.(worker)
    }
    await drain()
    await client.query(
      `UPDATE ${SCHEMA}.job SET completed_on = now() - interval '61 minutes', created_on = now() - interval '1 day'
       WHERE name = $1 AND completed_on IS NOT NULL`,
      [queue],
    )
    const young = [await worker.start('done'), await worker.start('failed')]
    if (way === 'by work()') worker.jobs.work()
    else await drain()
    const left = async () => {
      const { rows } = await client.query(`SELECT id::text AS id FROM ${SCHEMA}.job WHERE name = $1`, [queue])
      return rows.map(({ id }) => id).toSorted()
    }
    await eventually(async () => expect(await left()).toEqual([...young, waiting].toSorted()))
  })
})

describeWithPostgres('a job that is started while a worker idles', {}, () => {
  const postgres = usePostgres()

  test('starts long before the next look into the queue, whatever started it', async (context) => {
    const neighbours = openNeighbours(context, postgres)
    const web = neighbours.add({ afterCreateJob() {} })
    const worker = neighbours.add({ afterCreateJob() {} }, { pollInterval: 60_000 })
    worker.jobs.work()
    await web.jobs.settled(await web.start())
    const waits: number[] = []
    for (let id = 0; id < 20; id++) {
      const status = await web.jobs.settled(await web.start(id, id % 2 ? { delay: 20 } : {}))
      if (status.status !== 'done') throw new Error('It failed.')
      waits.push((status.startedAt ?? 0) - status.createdAt - (id % 2 ? 20 : 0))
    }
    expect(waits.toSorted((a, b) => a - b)[10]).toBeLessThan(500)
  })

  test('starts with the next look where no notification comes', async (context) => {
    const neighbours = openNeighbours(context, postgres)
    const web = neighbours.add({ afterCreateJob() {} })
    const worker = neighbours.add({ afterCreateJob() {} }, { pollInterval: 300 })
    worker.jobs.work()
    await web.jobs.settled(await web.start())
    const client = await openClient(context, postgres)
    // As another program would, that knows only the table.
    const { rows } = await client.query(
      `INSERT INTO ${SCHEMA}.job (name, data) SELECT name, data FROM ${SCHEMA}.job WHERE name = $1 RETURNING id::text AS id`,
      [neighbours.queue],
    )
    await eventually(async () => expect(await web.jobs.status(rows[0]?.id)).toMatchObject({ status: 'done' }))
  })
})

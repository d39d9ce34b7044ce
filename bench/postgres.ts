/**
 * What do the status and the hook cost beside bare pg-boss, on one PostgreSQL that is started for it? Both sides add jobs with
 * ids of their own and keep the ended ones; ours also writes and reads the status of each. pg-boss takes jobs in batches and
 * answers for them at once, as fast as it goes; only for the time until a hook starts does it work with its defaults. The
 * sides take turns, each in a new process every time.
 */
import { randomUUID } from 'node:crypto'
import { PostgresServer } from '../tests/postgres/support/postgres-server'
import { IS_QUICK } from './rounds'
import {
  addInBulk,
  addInFlight,
  type Body,
  drain,
  latency,
  makeOurs,
  readStatus,
  runComparison,
  type Side,
} from './sides'

const JOBS = IS_QUICK ? 200 : 4_000
const BATCH = 100
const LATENCIES = IS_QUICK ? 3 : 25
/** pg-boss takes a second for each. */
const LATENCY_ROUNDS = IS_QUICK ? 1 : 2

// Each side imports its own libraries alone.
async function makeBare(url: string): Promise<Side> {
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ connectionString: url, schema: 'bare' })
  boss.on('error', () => {})
  await boss.start()
  const name = `bare-${process.pid}`
  await boss.createQueue(name)
  const data = (id: number) => ({ service: 'bench', hook: 'afterCreateJob', id })
  const drain = async (body: Body) => {
    for (;;) {
      const jobs = await boss.fetch(name, { batchSize: BATCH })
      for (let index = 0; index < jobs.length; index++) void body()
      if (jobs.length === 0) return
      await boss.complete(
        name,
        jobs.map(({ id }) => id),
      )
    }
  }
  return {
    add: (id) => boss.send(name, data(id), { id: randomUUID() }),
    addMany: (ids) =>
      boss.insert(
        name,
        ids.map((id) => ({ id: randomUUID(), data: data(id) })),
      ),
    drain,
    async work(body) {
      await boss.work(name, async () => body())
    },
    async makeReader() {
      const { default: pg } = await import('pg')
      const pool = new pg.Pool({ connectionString: url })
      await pool.query('CREATE TABLE IF NOT EXISTS bare.status (token uuid PRIMARY KEY, record jsonb NOT NULL)')
      const token = randomUUID()
      const record = { version: 3, status: 'done', progress: 100, attempt: 1, createdAt: 1, finishedAt: 2 }
      await pool.query('INSERT INTO bare.status VALUES ($1, $2)', [token, record])
      return () => pool.query('SELECT record FROM bare.status WHERE token = $1', [token])
    },
  }
}

async function openOurs(url: string, name: string) {
  const { createAfterJobs } = await import('after-jobs')
  const { postgresCache, postgresQueue } = await import('after-jobs/postgres')
  return createAfterJobs({ queue: postgresQueue({ url, name }), cache: postgresCache({ url }) })
}

/** At moments that have nothing to do with when a worker polls. */
const anyMoment = () => 100 + Math.random() * 100

await runComparison(import.meta.filename, {
  raw: 'pg-boss',
  sides: {
    'pg-boss': makeBare,
    'after-jobs': (url) => makeOurs((name) => openOurs(url, name), { drain: BATCH, work: 1 }),
  },
  measures: {
    'add, one after the other': addInFlight(JOBS / 2, 1),
    'add, 20 in flight': addInFlight(JOBS, 20),
    'add in bulk, by the thousand': addInBulk(5 * JOBS),
    'drain, a hook that does nothing': drain(3 * JOBS, () => {}),
    'status read': readStatus(JOBS),
    'call until the hook starts, p50 ms': latency(LATENCIES, 0.5, anyMoment),
    'call until the hook starts, p99 ms': latency(LATENCIES, 0.99, anyMoment),
  },
  urlOf: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
  latencyRounds: LATENCY_ROUNDS,
  async start() {
    // It waits for its disk, because a commit is what most of this is about. And it keeps no statistics: with those of other
    // queues the planner lets pg-boss read a whole queue for each job, and then there would be nothing to compare.
    const server = await new PostgresServer({ durable: true, directives: { autovacuum: 'off' } }).start()
    return { port: server.port, close: () => server.close() }
  },
})

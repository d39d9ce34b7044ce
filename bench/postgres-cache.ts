/**
 * What does a status in PostgreSQL cost beside the bare SELECT, does it cost more among a million of them, and how large does
 * their table grow? On one server that is started for it. The sides of the first table take turns, each in a new process every
 * time.
 */
import { randomUUID } from 'node:crypto'
import type { Pool } from 'pg'
import { writeStatusStatements } from '../src/postgres/status-statements'
import { newRecord, nextOf } from '../src/testing/cache-fixtures'
import { PostgresServer } from '../tests/postgres/support/postgres-server'
import {
  checkBuild,
  IS_QUICK,
  measureVariant,
  printTable,
  quantile,
  ratios,
  runBenchmark,
  show,
  type Variants,
} from './rounds'

const ROUNDS = IS_QUICK ? 1 : 7
const WARM_UP = IS_QUICK ? 50 : 2_000
const CALLS = IS_QUICK ? 200 : 10_000
const FEW = 1_000
const MANY = IS_QUICK ? 5_000 : 1_000_000
const UPDATED = 1_000
const UPDATES = IS_QUICK ? 5_000 : 200_000
const IN_FLIGHT = 20
const SLICE = 1_000
const HOUR = 3_600_000
const TOKEN = '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10'

type Run = (index: number) => Promise<unknown>

const urlOf = (port: number): string => `postgres://postgres@127.0.0.1:${port}/postgres`

async function openPool(port: number): Promise<Pool> {
  const { Pool } = await import('pg')
  return new Pool({ connectionString: urlOf(port) })
}

async function openCache(port: number, table = 'after_jobs_status') {
  checkBuild()
  const { postgresCache } = await import('after-jobs/postgres')
  return postgresCache({ url: urlOf(port), table })
}

/** What is read: by itself as lean as it can be, as the same columns, through the cache, and as a status. */
const READERS: Record<string, (port: number) => Promise<Run>> = {
  async 'bare SELECT'(port) {
    const pool = await openPool(port)
    return () => pool.query('SELECT record FROM bare_status WHERE token = $1', [TOKEN])
  },
  async 'SELECT of the same columns'(port) {
    const pool = await openPool(port)
    const columns = 'status, progress, label, message, code, version, incarnation, rest'
    return () => pool.query(`SELECT ${columns} FROM after_jobs_status WHERE token = $1`, [TOKEN])
  },
  async 'cache.read'(port) {
    const cache = await openCache(port)
    return () => cache.read(TOKEN)
  },
  async 'jobs.status'(port) {
    const { createAfterJobs, memoryQueue } = await import('after-jobs')
    const jobs = createAfterJobs({ queue: memoryQueue(), cache: await openCache(port) })
    return () => jobs.status(TOKEN)
  },
}

async function eachInTurn(count: number, run: Run): Promise<void> {
  for (let index = 0; index < count; index++) await run(index)
}

async function inFlight(count: number, run: Run): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < count) await run(next++)
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

async function measure(count: number, run: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await run()
  return ((performance.now() - start) * 1_000) / count
}

/** Calls a second: alone, and with others in flight. */
async function readAll(run: Run): Promise<[number, number]> {
  await eachInTurn(WARM_UP, run)
  const alone = await measure(CALLS, () => eachInTurn(CALLS, run))
  const together = await measure(CALLS, () => inFlight(CALLS, run))
  return [1e6 / alone, 1e6 / together]
}

async function compareReads(port: number): Promise<void> {
  const names = Object.keys(READERS)
  const figures = new Map(names.map((name) => [name, [] as [number, number][]]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const name of names) {
      figures.get(name)?.push(await measureVariant<[number, number]>(import.meta.filename, name, port))
    }
  }
  const of = (name: string, side: 0 | 1) => (figures.get(name) ?? []).map((pair) => pair[side])
  const row = (name: string) => [
    name,
    ...([0, 1] as const).flatMap((side) => [
      show(of(name, side), 0),
      show(ratios(of(name, side), of('bare SELECT', side)), 2),
    ]),
  ]
  console.log(`Reads a second; median (middle half) of ${ROUNDS} processes\n`)
  printTable(['what', 'one by one', 'ratio', `${IN_FLIGHT} in flight`, 'ratio'], names.map(row))
}

/** Fills a table with finished statuses in one statement. */
async function fill(pool: Pool, table: string, count: number): Promise<void> {
  const { postgresSchema } = await import('after-jobs/postgres')
  const { status, progress, label, message, code, version, incarnation, ...rest } = newRecord()
  await pool.query(postgresSchema({ table }))
  await pool.query(
    `INSERT INTO ${table} (token, status, progress, label, message, code, version, incarnation, rest, prefix, updated_at,
       expires_at, sweep_after)
     SELECT gen_random_uuid(), 'done', 100, NULL, NULL, NULL, 3, 1, $2, 'traitement', now(), now() + interval '1 hour',
       to_timestamp(ceil(extract(epoch FROM now() + interval '1 hour') / 600) * 600) FROM generate_series(1, $1)`,
    [count, JSON.stringify({ ...rest, startedAt: 1, finishedAt: 2 })],
  )
}

/** Measures reads, writes and the sweep beside so many rows, in microseconds for each. */
async function measureAmong(port: number, count: number): Promise<number[]> {
  const pool = await openPool(port)
  const table = `among_${count}`
  await fill(pool, table, count)
  const cache = await openCache(port, table)
  const picked = await pool.query<{ token: string }>(`SELECT token FROM ${table} ORDER BY random() LIMIT $1`, [FEW])
  const tokens = picked.rows.map(({ token }) => token)
  const own = Array.from({ length: FEW }, () => ({ token: randomUUID(), record: newRecord() }))
  const read: Run = (index) => cache.read(tokens[index % FEW] ?? '')
  const create: Run = (index) => cache.write(own[index]?.token ?? '', own[index]?.record ?? newRecord(), HOUR)
  const change: Run = (index) => {
    const job = own[index % FEW] ?? { token: '', record: newRecord() }
    job.record = nextOf(job.record, { progress: index % 99 })
    return cache.write(job.token, job.record, HOUR)
  }
  await eachInTurn(FEW, read)
  const figures = [
    await measure(CALLS, () => eachInTurn(CALLS, read)),
    await measure(FEW, () => eachInTurn(FEW, create)),
    await measure(CALLS / 2, () => eachInTurn(CALLS / 2, change)),
    await sweepAll(pool, table, count),
  ]
  await cache.close()
  await pool.query(`DROP TABLE ${table}`)
  await pool.end()
  return figures
}

/** Lets all rows expire, and sweeps them slice by slice; tells the median of the slices, for each row. */
async function sweepAll(pool: Pool, table: string, count: number): Promise<number> {
  const { sweep } = writeStatusStatements(table)
  await pool.query(`UPDATE ${table} SET expires_at = now(), sweep_after = now()`)
  await pool.query(`VACUUM ${table}`)
  const slices: number[] = []
  for (let left = count; left > 0; left -= SLICE) {
    slices.push(await measure(SLICE, () => pool.query(sweep, [SLICE])))
  }
  return quantile(slices, 0.5)
}

async function compareSizes(port: number): Promise<void> {
  const names = ['read', 'first write', 'later write', 'sweep, each row']
  const few = await measureVariant<number[]>(import.meta.filename, 'among', port + FEW * 100_000)
  const many = await measureVariant<number[]>(import.meta.filename, 'among', port + MANY * 100_000)
  console.log('\nMicroseconds for each, one after the other\n')
  const row = (name: string, index: number) => [
    name,
    ...[few[index], many[index]].map((us = Number.NaN) => us.toFixed(1)),
  ]
  printTable(['what', `among ${FEW.toLocaleString('en')}`, `among ${MANY.toLocaleString('en')}`], names.map(row))
}

async function measureGrowth(port: number): Promise<void> {
  const pool = await openPool(port)
  const cache = await openCache(port, 'growing')
  const jobs = Array.from({ length: UPDATED }, () => ({ token: randomUUID(), record: newRecord() }))
  await cache.writeMany(jobs.map((job) => ({ ...job, ttl: HOUR })))
  const rows: string[][] = []
  const look = async (writes: number) => {
    const sizes = `SELECT pg_table_size('growing') AS heap, pg_indexes_size('growing') AS indexes`
    const { heap, indexes } = (await pool.query(sizes)).rows[0]
    rows.push([writes.toLocaleString('en'), ...[heap, indexes].map((bytes) => (Number(bytes) / 1_024).toFixed(0))])
  }
  await look(0)
  const update: Run = (index) => {
    const job = jobs[index % UPDATED] ?? { token: '', record: newRecord() }
    job.record = nextOf(job.record, { progress: index % 99, label: `Step ${index}` })
    return cache.write(job.token, job.record, HOUR)
  }
  for (let part = 1; part <= 4; part++) {
    await inFlight(UPDATES / 4, update)
    await look((part * UPDATES) / 4)
  }
  // Its connections tell what they counted when they end.
  await cache.close()
  const hot = `SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'growing'`
  const { all, hot: inPlace } = (await pool.query(hot)).rows[0]
  console.log(`\nThe table of ${UPDATED.toLocaleString('en')} running jobs, in KiB\n`)
  printTable(['updates', 'table', 'indexes'], rows)
  console.log(`\n${((100 * inPlace) / Math.max(1, all)).toFixed(1)} % of the updates touched no index`)
  await pool.end()
}

const VARIANTS: Variants<unknown> = {
  ...Object.fromEntries(
    Object.entries(READERS).map(([name, open]) => [name, async (port: number) => readAll(await open(port))]),
  ),
  among: (parameter: number) => measureAmong(parameter % 100_000, Math.floor(parameter / 100_000)),
}

async function main(): Promise<void> {
  const server = await new PostgresServer().start()
  try {
    await server.ask(async (client) => {
      await client.query('CREATE TABLE bare_status (token uuid PRIMARY KEY, record jsonb NOT NULL)')
      const record = { version: 3, status: 'done', progress: 100, attempt: 1, createdAt: 1, finishedAt: 2 }
      await client.query('INSERT INTO bare_status VALUES ($1, $2)', [TOKEN, record])
    })
    const cache = await openCache(server.port)
    await cache.write(TOKEN, newRecord(), HOUR)
    await cache.close()
    await compareReads(server.port)
    await compareSizes(server.port)
    await measureGrowth(server.port)
  } finally {
    await server.close()
  }
}

await runBenchmark(VARIANTS, main)

/**
 * What would one take instead? A thousand calls in flight start jobs that tell their progress once, ten at a time, in one process
 * and on one server; the clock runs from the first call until the last body has ended. The peers are used as their own pages
 * show it. Of them all only ours keeps a status for whoever has a token; what the others keep is said beside them.
 */
import { randomUUID } from 'node:crypto'
import type { ProgressReporter } from 'after-jobs'
import { PostgresServer } from '../tests/postgres/support/postgres-server'
import { RedisServer } from '../tests/redis/support/redis-server'
import { checkBuild, IS_QUICK, measureVariant, printTable, ratios, runBenchmark, show, type Variants } from './rounds'

const MANY = IS_QUICK ? { jobs: 100, warmUp: 20 } : { jobs: 5_000, warmUp: 500 }
/** pg-boss looks for jobs twice a second at the most, and takes ten then: it would need hours for more. */
const FEW = { jobs: IS_QUICK ? 20 : 400, warmUp: 20 }
const IN_FLIGHT = 1_000
const CONCURRENCY = 10
const ROUNDS = IS_QUICK ? 1 : 5

/** What a body tells of itself, in whole percent. */
type Tell = (percent: number) => unknown
/** Starts a worker that runs the body, and answers how a job is started. */
type Peer = (body: (tell: Tell) => Promise<void>) => Promise<(id: number) => Promise<unknown>>

const redisUrl = (port: number): string => `redis://127.0.0.1:${port}`
const postgresUrl = (port: number): string => `postgres://postgres@127.0.0.1:${port}/postgres`

/** By the engine that they need, ours first. Each imports its own libraries alone. */
const PEERS: Readonly<Record<string, Readonly<Record<string, (port: number) => Peer>>>> = {
  memory: {
    'after-jobs': () => (body) => startOurs(() => ({}), body),
    'better-queue, progressBatch': () => async (body) => {
      const { default: BetterQueue } = await import('better-queue')
      interface Self {
        progressBatch(complete: number, total: number): void
      }
      const work = function (this: Self, _input: unknown, done: (error?: unknown) => void): void {
        body((percent) => this.progressBatch(percent, 100)).then(() => done(), done)
      }
      const queue = new BetterQueue(work, { concurrent: CONCURRENCY })
      return async (id) => queue.push({ id })
    },
  },
  Redis: {
    'after-jobs': (port) => async (body) => {
      const { redisCache, redisQueue } = await import('after-jobs/redis')
      const url = redisUrl(port)
      return startOurs((name) => ({ queue: redisQueue({ url, name }), cache: redisCache({ url }) }), body)
    },
    'BullMQ, updateProgress': (port) => async (body) => {
      const { Queue, Worker } = await import('bullmq')
      const connection = { url: redisUrl(port), maxRetriesPerRequest: null }
      const name = randomUUID()
      const queue = new Queue(name, { connection })
      const work = (job: { updateProgress(percent: number): unknown }) => body((percent) => job.updateProgress(percent))
      await new Worker(name, work, { connection, concurrency: CONCURRENCY }).waitUntilReady()
      return (id) => queue.add('import', { id })
    },
    'bee-queue, reportProgress': (port) => async (body) => {
      const { default: BeeQueue } = await import('bee-queue')
      const queue = new BeeQueue(randomUUID(), { redis: { host: '127.0.0.1', port } })
      queue.process(CONCURRENCY, (job) => body((percent) => job.reportProgress(percent)))
      return (id) => queue.createJob({ id }).save()
    },
  },
  PostgreSQL: {
    'after-jobs': (port) => async (body) => {
      const { postgresCache, postgresQueue } = await import('after-jobs/postgres')
      const url = postgresUrl(port)
      return startOurs((name) => ({ queue: postgresQueue({ url, name }), cache: postgresCache({ url }) }), body)
    },
    'pg-boss, no progress': (port) => async (body) => {
      const { PgBoss } = await import('pg-boss')
      const boss = new PgBoss(postgresUrl(port))
      boss.on('error', () => {})
      await boss.start()
      const name = randomUUID()
      await boss.createQueue(name)
      const options = { batchSize: CONCURRENCY, pollingIntervalSeconds: 0.5 }
      await boss.work(name, options, async (jobs) => void (await Promise.all(jobs.map(() => body(() => {})))))
      return (id) => boss.send(name, { id })
    },
    'agenda, touch': (port) => async (body) => {
      const { Agenda } = await import('agenda')
      const { PostgresBackend } = await import('@agendajs/postgres-backend')
      const backend = new PostgresBackend({ connectionString: postgresUrl(port) })
      const agenda = new Agenda({ backend, maxConcurrency: CONCURRENCY, defaultConcurrency: CONCURRENCY })
      agenda.define('import', (job) => body((percent) => job.touch(percent)))
      await agenda.start()
      return (id) => agenda.now('import', { id })
    },
  },
}

const VARIANTS: Variants<number> = Object.fromEntries(
  Object.entries(PEERS).flatMap(([engine, peers]) =>
    Object.entries(peers).map(([name, open]) => [
      `${engine}: ${name}`,
      (port: number) => measure(open(port), engine === 'PostgreSQL' ? FEW : MANY),
    ]),
  ),
)

type Engines = Parameters<typeof import('after-jobs').createAfterJobs>[0]

async function startOurs(open: (name: string) => Engines, body: Parameters<Peer>[0]): ReturnType<Peer> {
  checkBuild()
  const { createAfterJobs, withAfterJobs } = await import('after-jobs')
  const jobs = createAfterJobs(open(randomUUID()))
  class Service extends withAfterJobs({ jobs }) {
    static readonly jobName = 'bench'
    afterImportJob(_id: number, _token: string, progress: ProgressReporter): Promise<void> {
      return body((percent) => progress.set(percent))
    }
  }
  const service = new Service()
  jobs.register(Service, () => service)
  jobs.work({ concurrency: CONCURRENCY })
  return (id) => service.executeJob('after', 'import', id)
}

/** Jobs a second. */
async function measure(open: Peer, { jobs, warmUp }: typeof MANY): Promise<number> {
  let left = 0
  let end = (): void => {}
  const start = await open(async (tell) => {
    await tell(50)
    if (--left === 0) end()
  })
  const runAll = async (count: number): Promise<void> => {
    left = count
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < count) await start(next++)
    }
    await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
    await ended
  }
  await runAll(warmUp)
  const begin = performance.now()
  await runAll(jobs)
  return jobs / ((performance.now() - begin) / 1_000)
}

async function compare(engine: string, port: number): Promise<string[][]> {
  const names = Object.keys(PEERS[engine] ?? {})
  const rates = new Map<string, number[]>(names.map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, own] of rates) {
      own.push(await measureVariant<number>(import.meta.filename, `${engine}: ${name}`, port))
    }
  }
  const ours = rates.get('after-jobs') ?? []
  return [...rates].map(([name, own]) => [`${name} (${engine})`, show(own, 0), show(ratios(own, ours), 2)])
}

async function main(): Promise<void> {
  const redis = await new RedisServer().start()
  const postgres = await new PostgresServer({ durable: true }).start()
  try {
    const ports = { memory: 0, Redis: redis.port, PostgreSQL: postgres.port }
    const rows: string[][] = []
    for (const [engine, port] of Object.entries(ports)) rows.push(...(await compare(engine, port)))
    console.log(`Median (middle half) of ${ROUNDS} processes; the ratio is to ours on the same engine\n`)
    printTable(['what', 'jobs/s', 'ratio'], rows)
  } finally {
    await Promise.all([redis.close(), postgres.close()])
  }
}

await runBenchmark(VARIANTS, main)

import { randomUUID } from 'node:crypto'
import type { AfterJobsOptions } from 'after-jobs'
import { type PostgresQueueOptions, postgresCache, postgresQueue } from 'after-jobs/postgres'
import { Client } from 'pg'
import { readSettings } from '../../../src/postgres/settings'
import type { Finisher, Neighbours } from '../../crew/shared-engine'
import { type Bench, type Hooks, makeBench } from '../../engine/support/runtime'
import type { PostgresPlace } from './suite'

type QueueTimes = Pick<PostgresQueueOptions, 'lockDuration' | 'stalledInterval' | 'pollInterval'>

/** Neighbours on one PostgreSQL. */
export interface PostgresNeighbours extends Neighbours {
  /** The name of the queue. */
  readonly queue: string
  /** The channel on which its workers are told of jobs and cancellations. */
  readonly channel: string
  add(hooks: Hooks, options?: AfterJobsOptions & QueueTimes): Bench
}

/** The schema in which pg-boss has its tables. */
export const SCHEMA = 'after_jobs'

/** Begins a neighbourhood that lasts as long as the test. */
export function openNeighbours({ onTestFinished }: Finisher, { url, makeName }: PostgresPlace): PostgresNeighbours {
  const prefix = makeName()
  const queue = `${prefix}-queue`
  return {
    queue,
    channel: readSettings({ url, name: queue }).channel,
    makeQueue: () => postgresQueue({ url, name: queue }),
    add(hooks, { lockDuration, stalledInterval, pollInterval, ...options } = {}) {
      const times = {
        ...(lockDuration && { lockDuration }),
        ...(stalledInterval && { stalledInterval }),
        ...(pollInterval && { pollInterval }),
      }
      const engines = { queue: postgresQueue({ url, name: queue, ...times }), cache: postgresCache({ url, prefix }) }
      const bench = makeBench(hooks, { ...engines, ...options })
      bench.jobs.register('bench', () => bench.service)
      onTestFinished(() => bench.jobs.close({ grace: 0 }))
      return bench
    },
  }
}

/** Opens a connection of the test's own, in order to look at what is stored, or to forge it. */
export async function openClient({ onTestFinished }: Finisher, { url }: Pick<PostgresPlace, 'url'>): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

/** Writes a job into the queue past the library, as whoever may write to the database can; answers its token. */
export async function forgeJob(client: Client, queue: string, data: unknown, columns = ''): Promise<string> {
  const token = randomUUID()
  const text = data === undefined ? null : JSON.stringify(data)
  await client.query(`INSERT INTO ${SCHEMA}.job (id, name, data) VALUES ($1, $2, $3)`, [token, queue, text])
  if (columns !== '') await client.query(`UPDATE ${SCHEMA}.job SET ${columns} WHERE id = $1`, [token])
  return token
}

import { createHash } from 'node:crypto'
import { wrongOption } from '../core/job'
import type { DatabaseSource } from './database'
import { readOptions, sourceOf } from './source'

/** What is used of a pg-boss instance of the application's. */
export interface PgBossLike {
  getDb(): {
    executeSql(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
    listen?(
      channel: string,
      onNotice: (payload: string) => void,
      onReconnect: () => void,
    ): Promise<{ close(): Promise<void> }>
  }
  getQueue(name: string): Promise<unknown>
  createQueue(name: string, options?: object): Promise<void>
}

/** Options of `postgresQueue`: where the database is, or what is there already. Times are in milliseconds. */
export interface PostgresQueueOptions {
  /** `postgres://user:password@host:5432/database` */
  url?: string
  /** A `pg.Pool` of yours. The queue leaves it open. */
  pool?: DatabaseSource['pool']
  /** A pg-boss of yours, which was started; `schema` is then its schema. The queue leaves it running. */
  boss?: PgBossLike
  /** A folder that a database in this process works in, or a PGlite of yours. */
  pglite?: DatabaseSource['pglite']
  /** Where pg-boss has its tables; made on the first use. Default `'after_jobs'`, with `boss` what that one uses. */
  schema?: string
  /** Programs that use the same schema, prefix and name share their jobs. Default `'after-jobs'`. */
  name?: string
  /** What the queue's name in pg-boss begins with. Default: nothing. */
  prefix?: string
  /** How long a worker may be silent before its job is given to another. Default 30,000. */
  lockDuration?: number
  /** How often each worker looks for jobs whose worker has died. Default 5,000. */
  stalledInterval?: number
  /** How often an idle worker looks for jobs of which no notification told it. Default 2,000. */
  pollInterval?: number
}

/** The options of a queue, checked and complete. */
export interface Settings {
  readonly source: DatabaseSource | undefined
  readonly boss: PgBossLike | undefined
  readonly schema: string
  /** The queue's name in pg-boss. */
  readonly queue: string
  /** The channel of NOTIFY, on which new jobs and cancellations are announced. */
  readonly channel: string
  readonly lockDuration: number
  readonly stalledInterval: number
  readonly pollInterval: number
}

const KINDS = ['url', 'pool', 'boss', 'pglite'] as const
const OTHERS = ['schema', 'name', 'prefix', 'lockDuration', 'stalledInterval', 'pollInterval']

/** Checks the options of a queue. @throws AfterJobsError `INVALID_OPTION` */
export function readSettings(target: unknown): Settings {
  const options = readOptions<PostgresQueueOptions>('postgresQueue', target, KINDS, OTHERS)
  const { name = 'after-jobs', prefix = '' } = options
  const { lockDuration = 30_000, stalledInterval = 5_000, pollInterval = 2_000 } = options
  const schema = options.schema ?? schemaOf(options.boss)
  // What pg-boss takes without quotes: it writes the name into its statements.
  if (typeof schema !== 'string' || !/^[a-z_][a-z0-9_]{0,49}$/.test(schema)) {
    throw wrongOption('postgresQueue({ schema })', schema, 'up to 50 lower-case letters, digits and underscores')
  }
  const queue = `${prefix}${name}`
  for (const [option, value, min] of [['name', name, 1] as const, ['prefix', prefix, 0] as const]) {
    if (typeof value === 'string' && value.length >= min && /^[\w./-]{0,100}$/.test(value)) continue
    throw wrongOption(
      `postgresQueue({ ${option} })`,
      value,
      'up to 100 letters, digits, hyphens, underscores, full stops and slashes',
    )
  }
  for (const [option, value] of Object.entries({ lockDuration, stalledInterval, pollInterval })) {
    if (typeof value === 'number' && value >= 100 && value < 2 ** 31) continue
    throw wrongOption(`postgresQueue({ ${option} })`, value, 'at least 100 milliseconds')
  }
  const { boss, ...source } = options
  const isOwn = boss === undefined
  const channel = `after_jobs_${createHash('sha256').update(`${schema}\n${queue}`).digest('hex').slice(0, 24)}`
  return {
    ...{ source: isOwn ? sourceOf(source) : undefined, boss, schema, queue, channel },
    ...{ lockDuration, stalledInterval, pollInterval },
  }
}

/** pg-boss keeps its options on the database that it made itself. */
function schemaOf(boss: PgBossLike | undefined): string {
  if (boss === undefined) return 'after_jobs'
  const { config } = boss.getDb() as { config?: { schema?: string } }
  return config?.schema ?? 'pgboss'
}

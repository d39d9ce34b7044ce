import { wrongOption } from '../core/job'

/** Which table {@link postgresSchema} is asked for. */
export interface PostgresSchemaOptions {
  /** Its name, also with a schema, `'app.job_status'`. Default `'after_jobs_status'`. */
  table?: string
}

/** The table of `postgresCache`, unless it is told another. */
export const DEFAULT_TABLE = 'after_jobs_status'

/** Taken while the table is made, because processes that start together all try to. Any number that nobody else takes. */
const CREATION_LOCK = 4_736_251_908_113_377
const NAME = /^[a-z_][a-z0-9_]{0,49}$/

/**
 * Writes the SQL that makes the table of statuses: for whoever wants to run it himself, under another role or with his other
 * migrations. `postgresCache` runs the same on its first use where the table is missing, and afterwards only needs to read,
 * insert, update and delete. It may be run again, and by many at once; it opens no transaction of its own.
 *
 * @throws AfterJobsError `INVALID_OPTION`
 * @example
 * console.log(postgresSchema({ table: 'app.job_status' }))
 */
export function postgresSchema({ table = DEFAULT_TABLE }: PostgresSchemaOptions = {}): string {
  const name = quoteTable(table, 'postgresSchema')
  const index = `"${table.split('.').at(-1)}_sweep"`
  // Most writes change no column of an index and find room on their own page, so that they leave nothing for a vacuum.
  // Statistics of a few rows would have the planner read all of them, and later, by plans that are kept, all of many.
  return `SELECT pg_advisory_xact_lock(${CREATION_LOCK});

CREATE TABLE IF NOT EXISTS ${name} (
  token uuid NOT NULL,
  status text NOT NULL,
  progress smallint NOT NULL,
  label text,
  message text,
  code text,
  updated_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  sweep_after timestamptz NOT NULL,
  prefix text NOT NULL,
  version integer NOT NULL,
  incarnation double precision NOT NULL,
  rest json NOT NULL,
  PRIMARY KEY (token, prefix)
) WITH (
  fillfactor = 60,
  autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_threshold = 1000,
  autovacuum_analyze_scale_factor = 0.1,
  autovacuum_analyze_threshold = 1000
);

CREATE INDEX IF NOT EXISTS ${index} ON ${name} (sweep_after);

COMMENT ON TABLE ${name} IS 'after-jobs: one row for the status of each job, gone some minutes after expires_at';
`
}

/** Quotes the name of a table. @throws AfterJobsError `INVALID_OPTION` */
export function quoteTable(table: unknown, who: string): string {
  const parts = typeof table === 'string' ? table.split('.') : []
  if (parts.length > 0 && parts.length <= 2 && parts.every((part) => NAME.test(part))) {
    return parts.map((part) => `"${part}"`).join('.')
  }
  const expected =
    "up to 50 lower-case letters, digits and underscores, or such a name after a schema's and a full stop"
  throw wrongOption(`${who}({ table })`, table, expected)
}

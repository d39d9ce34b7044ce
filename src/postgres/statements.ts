/** Where the jobs are, and who is told of them. */
export interface Place {
  readonly schema: string
  /** The table of the queue: the partition itself, because a plan for all of them costs more than most statements. */
  readonly table: string
  readonly queue: string
  readonly channel: string
  /** Whether the database is in this process, so that whoever held a lock when it was opened has died. */
  readonly isEmbedded: boolean
  /** Milliseconds for which a lock holds at least after a start of the server. */
  readonly grace: number
}

/** What is asked of a database, as text. */
export interface Statements {
  readonly insert: string
  readonly standing: string
  readonly withdraw: string
  readonly take: string
  readonly answer: string
  readonly answerMoved: string
  readonly start: string
  readonly renew: string
  readonly recover: string
  readonly find: string
  readonly cancel: string
  readonly count: string
  readonly attend: string
  readonly leave: string
  readonly sweep: string
}

/** A key stands as long as this is in `singleton_on`: in pg-boss's index of throttled jobs there is then one of each key. */
const STANDS = "timestamp 'epoch'"
/** Ended jobs are kept so that a lost status can be told again. Seconds. */
const KEPT = 3_600
/** pg-boss deletes what has waited for longer, and gives what has run for longer to another worker: neither must happen. */
const NEVER = { keepUntil: "interval '100 years'", expireSeconds: 2 ** 31 - 1, retryLimit: 2 ** 31 - 1 }
/** Kept with the job, because its status may have expired before a worker takes it. */
const IS_CANCELLED = "COALESCE(output->>'cancelled' = 'true', false)"
/** So many rows are deleted in one statement, so that nobody waits for it. */
const SWEEP_SIZE = 1_000
/** A worker is taken for dead after so many missed signs of life. */
const MISSED_BEATS = 3

/**
 * Writes the statements that work on pg-boss's tables. pg-boss's own methods would do in several round trips what is one
 * statement here, count a crash and a job handed back as attempts, and leave the time of the next attempt to the queue.
 *
 * Rows are named by an array, of their places where those are locked: the planner, which knows little of a table that fills
 * and empties, would join them by reading the whole queue for each. For the same reason it is not told how many jobs a look
 * takes: with a limit that it knows it would sort all that wait, having taken them for few.
 *
 * Three columns are used in a way of our own: `heartbeat_on` is the time at which the lock of an active job ends,
 * `retry_count` counts deliveries, as it does for pg-boss, and so tells whether an answer is one to the last of them, and
 * `output` of a job that has not ended holds the number of the last attempt that failed, and whether it was cancelled.
 */
export function writeStatements(place: Place): Statements {
  return {
    ...{ ...writeForProducers(place), ...writeForReaders(place) },
    ...{ ...writeForWorkers(place), ...writeForLocks(place), ...writeForStaff(place) },
  }
}

type Part<K extends keyof Statements> = Pick<Statements, K>

function writeForProducers({ schema, table, queue, channel }: Place): Part<'insert' | 'standing' | 'withdraw'> {
  const jobs = `${schema}.${table}`
  const delay = "(item->>3)::float8 * interval '1 millisecond'"
  return {
    // $1: rows as JSON, $2: whether somebody is to be told. Later rows get later times, so that they keep their order.
    insert: `
      WITH added AS (
        INSERT INTO ${jobs} (id, name, data, priority, singleton_key, singleton_on, start_after, created_on, keep_until,
          policy, retry_limit, retry_delay, retry_backoff, expire_seconds, deletion_seconds)
        SELECT (item->>0)::uuid, '${queue}', item->1, (item->>2)::int, item->>4, CASE WHEN item->>4 <> '' THEN ${STANDS} END,
          now() + ${delay}, clock_timestamp() + place * interval '1 microsecond', now() + ${delay} + ${NEVER.keepUntil},
          'standard', ${NEVER.retryLimit}, 0, false, ${NEVER.expireSeconds}, ${KEPT}
        FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS row (item, place)
        ON CONFLICT DO NOTHING
        RETURNING id
      ), told AS (
        SELECT pg_notify('${channel}', '') WHERE $2::text = 'tell' AND EXISTS (SELECT FROM added)
      )
      SELECT (SELECT count(*) FROM added)::int AS added, (SELECT count(*) FROM told)::int AS told`,
    // $1: rows as JSON. Which job stands for each.
    standing: `
      SELECT COALESCE(own.id, other.id)::text AS token
      FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY AS row (item, place)
      LEFT JOIN ${jobs} own ON own.name = '${queue}' AND own.id = (item->>0)::uuid
      LEFT JOIN ${jobs} other ON other.name = '${queue}' AND other.singleton_on = ${STANDS}
        AND COALESCE(other.singleton_key, '') = item->>4 AND other.state <> 'cancelled'
      ORDER BY place`,
    // $1: tokens as JSON.
    withdraw: `
      WITH withdrawn AS (
        DELETE FROM ${jobs} WHERE name = '${queue}' AND state < 'active'
          AND id = ANY (ARRAY(SELECT value::uuid FROM json_array_elements_text($1::text::json)))
        RETURNING id
      )
      SELECT count(*)::int AS withdrawn FROM withdrawn`,
  }
}

function writeForWorkers({ schema, table, queue, channel }: Place): Part<'take' | 'answer' | 'answerMoved'> {
  const jobs = `${schema}.${table}`
  // One look into an index for each state.
  const nextDue = (state: string) =>
    `(SELECT min(start_after) FROM ${jobs} WHERE name = '${queue}' AND state = '${state}' AND NOT blocked AND start_after > now())`
  // $1: answers as JSON; one with a delay is due again after it, one without has ended. $2: whether somebody is to be told.
  const writeAnswer = (isNamed: string) => `
      WITH answer AS (
        SELECT * FROM json_to_recordset($1::text::json)
          AS answer (token uuid, place text, delivery int, state text, delay float8, output jsonb)
      ), answered AS (
        UPDATE ${jobs} job SET state = answer.state::${schema}.job_state, heartbeat_on = NULL,
          output = CASE WHEN delay IS NULL THEN answer.output ELSE COALESCE(job.output, '{}') || COALESCE(answer.output, '{}') END,
          completed_on = CASE WHEN delay IS NULL THEN now() END,
          start_after = CASE WHEN delay IS NULL THEN job.start_after ELSE now() + delay * interval '1 millisecond' END,
          singleton_on = CASE WHEN delay IS NULL THEN NULL ELSE job.singleton_on END
        FROM answer WHERE ${isNamed} AND job.state = 'active'
          AND job.id = answer.token AND job.retry_count = answer.delivery
        RETURNING job.id
      ), told AS (
        SELECT pg_notify('${channel}', '') WHERE $2::text = 'tell' AND EXISTS (SELECT FROM answered)
      )
      SELECT id::text AS token FROM answered LEFT JOIN told ON true`
  return {
    // $1: how many, $2: milliseconds of their lock. Where there is none, it says when the next one is due.
    take: `
      WITH due AS (
        SELECT ctid FROM ${jobs}
        WHERE name = '${queue}' AND state < 'active' AND NOT blocked AND start_after <= now()
        ORDER BY priority DESC, created_on LIMIT (SELECT $1::int)
        FOR UPDATE SKIP LOCKED
      ), taken AS (
        UPDATE ${jobs} job SET state = 'active', started_on = now(),
          heartbeat_on = now() + $2::float8 * interval '1 millisecond',
          retry_count = retry_count + CASE WHEN started_on IS NULL THEN 0 ELSE 1 END
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM due))
        RETURNING id, ctid, data, retry_count, output, singleton_on, priority, created_on
      )
      SELECT id::text AS token, ctid::text AS place, data::text AS data, retry_count AS delivery, output->>'attempt' AS failures,
        singleton_on IS NOT NULL AS stands, ${IS_CANCELLED} AS cancelled, NULL::float8 AS wait
      FROM (SELECT * FROM taken ORDER BY priority DESC, created_on) ordered
      UNION ALL
      SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        (extract(epoch FROM LEAST(${nextDue('created')}, ${nextDue('retry')}) - clock_timestamp()) * 1000)::float8
      WHERE NOT EXISTS (SELECT FROM taken)`,
    answer: writeAnswer('job.ctid = ANY (ARRAY(SELECT place::tid FROM answer))'),
    // For jobs whose row has moved, because somebody else has changed it.
    answerMoved: writeAnswer(`job.name = '${queue}' AND job.id = ANY (ARRAY(SELECT token FROM answer))`),
  }
}

function writeForLocks(place: Place): Part<'start' | 'renew' | 'recover'> {
  const { schema, table, queue, channel } = place
  const jobs = `${schema}.${table}`
  return {
    // $1: a token, $2: its delivery. The job has started, and stands for its key no more.
    start: `
      UPDATE ${jobs} SET singleton_on = NULL
      WHERE name = '${queue}' AND id = $1::text::uuid AND state = 'active' AND retry_count = $2::int
      RETURNING ctid::text AS place`,
    // $1: deliveries as JSON, $2: milliseconds of their lock. Answers those that still are ours.
    renew: `
      WITH held AS (SELECT * FROM json_to_recordset($1::text::json) AS held (token uuid, delivery int))
      UPDATE ${jobs} job SET heartbeat_on = now() + $2::float8 * interval '1 millisecond'
      FROM held
      WHERE job.name = '${queue}' AND job.id = ANY (ARRAY(SELECT token FROM held)) AND job.state = 'active'
        AND job.id = held.token AND job.retry_count = held.delivery
      RETURNING job.id::text AS token, job.retry_count AS delivery, job.ctid::text AS place`,
    recover: `
      WITH lost AS (
        UPDATE ${jobs} SET state = 'retry', heartbeat_on = NULL
        WHERE name = '${queue}' AND state = 'active' AND NOT ${holds(place)}
        RETURNING id
      ), told AS (
        SELECT pg_notify('${channel}', '') WHERE EXISTS (SELECT FROM lost)
      )
      SELECT id::text AS token FROM lost LEFT JOIN told ON true`,
  }
}

/**
 * Tells whether the lock of an active job holds. While a server was away nobody could renew one, and those who still live get
 * the time to do so.
 */
function holds({ isEmbedded, grace }: Place): string {
  const opened = 'pg_postmaster_start_time()'
  const end = isEmbedded ? 'heartbeat_on' : `GREATEST(heartbeat_on, ${opened} + ${grace} * interval '1 millisecond')`
  return `COALESCE(${end} >= now()${isEmbedded ? ` AND started_on >= ${opened}` : ''}, false)`
}

function writeForReaders(place: Place): Part<'find' | 'cancel' | 'count'> {
  const { schema, table, queue, channel } = place
  const jobs = `${schema}.${table}`
  return {
    // $1: a token.
    find: `
      SELECT state::text AS state, data::text AS data, output::text AS output, ${holds(place)} AS holds,
        ${IS_CANCELLED} AS cancelled
      FROM ${jobs} WHERE name = '${queue}' AND id = $1::text::uuid`,
    // $1: a token. The worker that takes the job compensates for it, so one that is not due is made due.
    cancel: `
      WITH freed AS (
        UPDATE ${jobs} SET singleton_on = NULL,
          start_after = CASE WHEN state < 'active' THEN LEAST(start_after, now()) ELSE start_after END,
          output = COALESCE(output, '{}') || '{"cancelled": true}'
        WHERE name = '${queue}' AND id = $1::text::uuid AND state < 'completed' AND NOT ${IS_CANCELLED}
        RETURNING id
      )
      SELECT pg_notify('${channel}', $1::text), (SELECT count(*) FROM freed)::int AS freed`,
    count: `
      SELECT count(*) FILTER (WHERE state < 'active')::int AS waiting,
        count(*) FILTER (WHERE state = 'active')::int AS active,
        (SELECT count(*)::int FROM ${schema}.instance WHERE ${attends(queue)}) AS workers
      FROM ${jobs} WHERE name = '${queue}' AND state IN ('created', 'retry', 'active')`,
  }
}

/** pg-boss's table of its instances holds our workers, too: one row for each, by the name of its queue. */
function writeForStaff({ schema, table, queue }: Place): Part<'attend' | 'leave' | 'sweep'> {
  const jobs = `${schema}.${table}`
  return {
    // $1: id of the worker, $2: host, $3: pid, $4: version of Node, $5: seconds between two signs of life, $6: its concurrency.
    attend: `
      INSERT INTO ${schema}.instance (id, name, host, pid, version, node_version, heartbeat_seconds, supervise, schedule,
        migrate, persist_queue_stats, persist_warnings, workers)
      VALUES ($1::text::uuid, '${queue}', $2, $3::int, 'after-jobs', $4, $5::int, false, false, false, false, false,
        json_build_array(json_build_object('name', '${queue}', 'concurrency', $6::int))::jsonb)
      ON CONFLICT (id) DO UPDATE SET heartbeat_on = now()`,
    leave: `DELETE FROM ${schema}.instance WHERE id = $1::text::uuid`,
    sweep: `
      WITH dead AS (
        DELETE FROM ${schema}.instance
        WHERE name = '${queue}' AND version = 'after-jobs' AND heartbeat_on < now() - ${KEPT} * interval '1 second'
      ), swept AS (
        DELETE FROM ${jobs} WHERE name = '${queue}' AND id = ANY (ARRAY(
          SELECT id FROM ${jobs}
          WHERE name = '${queue}' AND completed_on < now() - ${KEPT} * interval '1 second'
          ORDER BY completed_on LIMIT ${SWEEP_SIZE} FOR UPDATE SKIP LOCKED
        ))
        RETURNING id
      )
      SELECT count(*)::int AS swept FROM swept`,
  }
}

function attends(queue: string): string {
  const limit = `heartbeat_seconds * ${MISSED_BEATS} * interval '1 second'`
  return `name = '${queue}' AND version = 'after-jobs' AND stopped_on IS NULL AND heartbeat_on > now() - ${limit}`
}

/** What is asked of the table of statuses, as text. */
export interface StatusStatements {
  /** For a token. */
  readonly read: string
  readonly readMany: string
  readonly create: string
  /** For an item. */
  readonly change: string
  readonly changeMany: string
  readonly sweep: string
}

/** Rows may be swept together with all that expire within so many seconds: few writes then touch the index. */
const BUCKET = 600
/** Taken while one process sweeps, for as long as its statement. Any number that nobody else takes. */
const SWEEP_LOCK = 4_736_251_908_113_378

/** Writes the statements on a table, whose name is quoted. In all but the sweep, $1 is what it is about and $2 the prefix. */
export function writeStatusStatements(table: string): StatusStatements {
  // $1: items as JSON, as the rows to be.
  const items = `json_to_recordset($1::text::json) AS item (token uuid, status text, progress smallint, label text,
      message text, code text, version integer, incarnation float8, rest text, ttl float8)
    CROSS JOIN LATERAL (SELECT now() + ttl * interval '1 millisecond' AS expires_at) life
    CROSS JOIN LATERAL (SELECT to_timestamp(ceil(extract(epoch FROM life.expires_at) / ${BUCKET}) * ${BUCKET}) AS sweep_after) bucket`
  const fields = 'status, progress, label, message, code, version, incarnation, rest::text AS rest'
  const columns =
    'status, progress, label, message, code, version, incarnation, rest, updated_at, expires_at, sweep_after'
  const values = `item.status, item.progress, item.label, item.message, item.code, item.version, item.incarnation,
      item.rest::json, now(), life.expires_at, bucket.sweep_after`
  const change = (isMeant: string) => `
    UPDATE ${table} AS stored SET (${columns}) = ROW (${values}) FROM ${items}
    WHERE stored.token ${isMeant} AND stored.prefix = $2::text AND stored.token = item.token
      AND stored.version = item.version - 1 AND stored.incarnation = item.incarnation AND stored.expires_at > now()
    RETURNING stored.token::text AS token`
  return {
    read: `SELECT ${fields} FROM ${table} WHERE token = $1::uuid AND prefix = $2 AND expires_at > now()`,
    // $1: tokens as an array.
    readMany: `
    SELECT token::text AS token, ${fields} FROM ${table}
    WHERE token = ANY ($1::text::uuid[]) AND prefix = $2::text AND expires_at > now()`,
    // A row that has expired counts for none.
    create: `
    INSERT INTO ${table} AS stored (token, prefix, ${columns})
    SELECT item.token, $2::text, ${values} FROM ${items}
    ON CONFLICT (token, prefix) DO UPDATE SET (${columns}) = (${columns.replace(/\w+/g, 'excluded.$&')})
    WHERE stored.expires_at <= now()
    RETURNING stored.token::text AS token`,
    // $3: the token once more, or all of them as an array: the planner sees how few they are, and reads no more than their rows.
    change: change('= $3::uuid'),
    changeMany: change('= ANY ($3::text::uuid[])'),
    // $1: at most how many. Those that are being written at this moment are left for the next time.
    sweep: `
    WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(${SWEEP_LOCK}) AS is_ours)
    , swept AS (
      DELETE FROM ${table} WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM ${table} WHERE sweep_after <= now() AND (SELECT is_ours FROM turn)
        ORDER BY sweep_after LIMIT $1::integer FOR UPDATE SKIP LOCKED
      ))
      RETURNING 1
    )
    SELECT count(*)::integer AS swept FROM swept`,
  }
}

import { postgresCache } from 'after-jobs/postgres'
import { Pool } from 'pg'
import { expect, test } from 'vitest'
import { openEngine, openQueueDatabase } from '../../src/postgres/engine'
import { addJobs } from '../../src/postgres/insertion'
import { readSettings } from '../../src/postgres/settings'
import { HOUR, newRecord, newToken, nextOf } from '../../src/testing/cache-fixtures'
import { makeEnvelope } from '../engine/support/stub-queue'
import { openClient } from './support/neighbours'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  Plans?: Node[]
}

/** Counts the rows that a plan has read in a table. */
function countRead(node: Node, table: string): number {
  const own = node['Relation Name'] === table ? node['Actual Rows'] * node['Actual Loops'] : 0
  return (node.Plans ?? []).reduce((sum, plan) => sum + countRead(plan, table), own)
}

describeWithPostgres('a look for jobs', {}, () => {
  const postgres = usePostgres()

  // Until there are statistics, the planner takes a full queue for an empty one, and would sort all that wait.
  test.for([false, true])('reads those it takes and no others, with statistics: %s', async (hasStatistics, context) => {
    const settings = readSettings({ url: postgres.url, schema: makeName() })
    const database = openQueueDatabase(settings)
    context.onTestFinished(() => database.close())
    const engine = await openEngine(database, settings)
    const client = await openClient(context, postgres)
    const table = `${settings.schema}.job_common`
    await client.query(`ALTER TABLE ${table} SET (autovacuum_enabled = false)`)
    const envelopes = Array.from({ length: 10_000 }, () => makeEnvelope())
    await addJobs(engine, engine.query, envelopes, 0)
    if (hasStatistics) await client.query(`ANALYZE ${table}`)
    const { rows } = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${engine.statements.take}`, [10, 30_000])
    const { Plan } = rows[0]['QUERY PLAN'][0] as { Plan: Node }
    // Found, updated, and read in between.
    expect(countRead(Plan, 'job_common')).toBeLessThanOrEqual(30)
  })
})

describeWithPostgres('the statements on statuses', {}, () => {
  const postgres = usePostgres()

  // PostgreSQL keeps the plan of a prepared statement after its fifth run, and asks for no new one as the table grows.
  test('find their rows by the index, by plans from when there were few', async ({ onTestFinished }) => {
    const pool = new Pool({ connectionString: postgres.url, max: 1 })
    const table = postgres.makeName()
    const cache = postgresCache({ pool, table })
    onTestFinished(async () => {
      await cache.close()
      await pool.end()
    })
    for (const count of Array.from({ length: 20 }, (_, turn) => 1 + (turn % 2))) {
      const tokens = Array.from({ length: count }, newToken)
      const record = newRecord()
      await Promise.all(tokens.map((token) => cache.write(token, record, HOUR)))
      await Promise.all(tokens.map((token) => cache.write(token, nextOf(record, { status: 'running' }), HOUR)))
      await Promise.all(tokens.map((token) => cache.read(token)))
    }
    const { rows: statements } = await pool.query<{ name: string; parameters: number }>(
      `SELECT name, cardinality(parameter_types) AS parameters FROM pg_prepared_statements
       WHERE generic_plans > 0 AND statement NOT LIKE '%INSERT%'`,
    )
    expect(statements).toHaveLength(4)
    for (const { name, parameters } of statements) {
      const values = Array.from({ length: parameters }, () => 'NULL')
      const { rows } = await pool.query(`EXPLAIN (FORMAT JSON) EXECUTE ${name} (${values})`)
      expect(listScans(rows[0]['QUERY PLAN'][0].Plan, table)).toEqual(['Index Scan'])
    }
  })
})

/** Lists how a plan reads a table. */
function listScans(node: Node, table: string): string[] {
  const isScan = node['Relation Name'] === table && node['Node Type'] !== 'ModifyTable'
  return [...(isScan ? [node['Node Type']] : []), ...(node.Plans ?? []).flatMap((plan) => listScans(plan, table))]
}

import { expect, test } from 'vitest'
import { openEngine, openQueueDatabase } from '../../src/postgres/engine'
import { addJobs } from '../../src/postgres/inbox'
import { readSettings } from '../../src/postgres/settings'
import { makeEnvelope } from '../engine/support/stub-queue'
import { openClient } from './support/neighbours'
import { describeWithPostgres, makeName, usePostgres } from './support/suite'

interface Node {
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

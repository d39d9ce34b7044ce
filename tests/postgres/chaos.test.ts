import { expect, test } from 'vitest'
import { runChaos, SHORT_FORM } from '../crew/chaos'
import { postgresPlace } from './support/chaos-place'
import { describeWithServer } from './support/suite'

// The long form: npx tsx bench/chaos.ts --engine postgres
describeWithServer('when workers and PostgreSQL die while jobs run', { timeout: 180_000 }, () => {
  test('each job that was accepted ends as it may, once, and after its hook has run', async () => {
    const seed = Date.now() % 1_000_000
    const report = await runChaos(postgresPlace, SHORT_FORM, seed, () => {})
    expect(report.faults, `npx tsx bench/chaos.ts --engine postgres --quick --seed ${seed}`).toEqual([])
    expect(report.accepted).toBeGreaterThanOrEqual(SHORT_FORM.jobs)
    expect(report.ends.get('done')).toBeGreaterThan(SHORT_FORM.jobs / 2)
    // Otherwise nothing has been shown.
    expect(report.deaths).toBeGreaterThanOrEqual(4)
    expect(report.reruns).toBeGreaterThan(0)
    expect(report.writes).toBeGreaterThan(2 * SHORT_FORM.jobs)
  })
})

import { postgresQueue } from 'after-jobs/postgres'
import { expect } from 'vitest'
import { eventually, type Finisher, type SharedEngine } from '../../crew/shared-engine'
import { openClient, openNeighbours } from './neighbours'
import { describeWithPostgres, type PostgresPlace, usePostgres } from './suite'

const LISTENING = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"

/** PostgreSQL, for the suites that hold for every engine. */
export const postgresEngine: SharedEngine = {
  name: 'PostgreSQL',
  describe: describeWithPostgres,
  use() {
    const place = usePostgres()
    return {
      get url() {
        return place.url
      },
      openNeighbours: (context) => openNeighbours(context, place),
      makeQueue: (url) => postgresQueue(url),
      cutAnnouncements: (context) => cutAnnouncements(context, place),
    }
  },
}

async function cutAnnouncements(context: Finisher, place: PostgresPlace): Promise<void> {
  const client = await openClient(context, place)
  const { rowCount } = await client.query(`SELECT pg_terminate_backend(pid) ${LISTENING}`)
  expect(rowCount).toBeGreaterThan(0)
  await eventually(async () => expect((await client.query(`SELECT ${LISTENING}`)).rows).not.toEqual([]))
}

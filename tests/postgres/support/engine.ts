import { postgresQueue } from 'after-jobs/postgres'
import { expect } from 'vitest'
import { eventually, type Finisher, type SharedEngine } from '../../crew/shared-engine'
import { openClient, openNeighbours, type PostgresNeighbours } from './neighbours'
import { describeWithPostgres, type PostgresPlace, usePostgres } from './suite'

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
      cutAnnouncements: (context, neighbours) => cutAnnouncements(context, place, neighbours as PostgresNeighbours),
    }
  },
}

async function cutAnnouncements(
  context: Finisher,
  place: PostgresPlace,
  { channel }: PostgresNeighbours,
): Promise<void> {
  const client = await openClient(context, place)
  const listening = async () => {
    const { rows } = await client.query(`SELECT pid FROM pg_stat_activity WHERE query = $1`, [`LISTEN "${channel}"`])
    return rows.map(({ pid }) => pid as number)
  }
  const findOther = (known?: number) =>
    eventually(async () => {
      // One that is cut is there for a moment longer.
      const others = (await listening()).filter((pid) => pid !== known)
      expect(others).toHaveLength(1)
      return others[0]
    })
  const cut = await findOther()
  await client.query('SELECT pg_terminate_backend($1)', [cut])
  await findOther(cut)
}

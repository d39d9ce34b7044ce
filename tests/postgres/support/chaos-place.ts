import type { ChaosPlace, ChaosServer } from '../../crew/chaos'
import { PostgresServer } from './postgres-server'
import { PostgresWitness } from './witness'

/** A PostgreSQL that waits for its disk, and that crashes rather than ends. */
export const postgresPlace: ChaosPlace = {
  async start(): Promise<ChaosServer> {
    const server = await new PostgresServer({ durable: true }).start()
    return {
      name: 'PostgreSQL',
      url: server.url,
      kill: () => server.crash(),
      restart: () => server.restart(),
      freeze: () => server.freeze(),
      thaw: () => server.thaw(),
      close: () => server.close(),
    }
  },
  watch: ({ url }, prefix) => PostgresWitness.open(url, prefix),
}

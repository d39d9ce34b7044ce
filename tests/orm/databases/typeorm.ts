import { DataSource, type EntityManager, EntitySchema } from 'typeorm'
import { type Access, type Database, makeTurnstile } from './database'

const Row = new EntitySchema<{ id: number }>({ name: 'rows', columns: { id: { type: 'int', primary: true } } })

/** Opens a SQLite in memory, behind TypeORM, which lets two transactions of its one connection get into each other. */
export async function openTypeOrm(): Promise<Database> {
  const source = await new DataSource({ type: 'sqljs', entities: [Row], synchronize: true }).initialize()
  const turn = makeTurnstile()
  const { insert, has, count, transaction } = accessTo(source.manager)
  const database: Database = {
    beforeCommit: async () => {},
    insert: (id) => turn(() => insert(id)),
    has: (id) => turn(() => has(id)),
    count: () => turn(count),
    transaction: (run) => turn(() => transaction(run)),
    close: () => source.destroy(),
  }
  source.subscribers.push({ beforeTransactionCommit: () => database.beforeCommit() })
  return database
}

function accessTo(manager: EntityManager): Access {
  return {
    insert: async (id) => void (await manager.insert(Row, { id })),
    has: (id) => manager.existsBy(Row, { id }),
    count: () => manager.count(Row),
    transaction: (run) => manager.transaction((inner) => run(accessTo(inner))),
  }
}

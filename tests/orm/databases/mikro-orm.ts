import { type EntityManager, EntitySchema, MikroORM } from '@mikro-orm/libsql'
import type { Access, Database } from './database'

const Row = new EntitySchema<{ id: number }>({
  name: 'rows',
  properties: { id: { type: 'integer', primary: true, autoincrement: false } },
})

/** Opens a libSQL in memory, behind MikroORM. Its pool has one connection, for which everybody waits. */
export async function openMikroOrm(): Promise<Database> {
  const orm = await MikroORM.init({ entities: [Row], dbName: ':memory:' })
  await orm.schema.createSchema()
  const database: Database = {
    beforeCommit: async () => {},
    // Each caller has an entity manager of its own, as each request has.
    insert: (id) => accessTo(orm.em.fork()).insert(id),
    has: (id) => accessTo(orm.em.fork()).has(id),
    count: () => accessTo(orm.em.fork()).count(),
    transaction: (run) => accessTo(orm.em.fork()).transaction(run),
    close: () => orm.close(),
  }
  orm.em.getEventManager().registerSubscriber({ beforeTransactionCommit: () => database.beforeCommit() })
  return database
}

function accessTo(em: EntityManager): Access {
  return {
    insert: (id) => em.persist(em.create(Row, { id })).flush(),
    has: async (id) => (await em.count(Row, { id })) > 0,
    count: () => em.count(Row),
    transaction: (run) => em.transactional((inner) => run(accessTo(inner))),
  }
}

import { DataSource, type EntityManager } from 'typeorm'
import { type Access, type Database, makeTurnstile } from './database'

/** What Prisma's client has inside of an interactive transaction. */
interface TransactionClient {
  row: {
    create(query: { data: { id: number } }): Promise<{ id: number }>
    findUnique(query: { where: { id: number } }): Promise<{ id: number } | null>
    count(): Promise<number>
  }
  $executeRawUnsafe(sql: string): Promise<unknown>
}

/** What Prisma's client has. */
interface Client extends TransactionClient {
  $transaction<T>(run: (tx: TransactionClient) => Promise<T>): Promise<T>
}

/** Opens a SQLite in memory behind a client of Prisma's shape, whose transactions know no inner ones. */
export async function openPrismaLike(): Promise<Database> {
  const source = await new DataSource({ type: 'sqljs' }).initialize()
  await source.query('CREATE TABLE rows (id integer PRIMARY KEY)')
  const turn = makeTurnstile()
  const client: Client = {
    ...clientOf(source.manager),
    $transaction: (run) => {
      const transact = async (manager: EntityManager) => {
        const result = await run(clientOf(manager))
        await database.beforeCommit()
        return result
      }
      return source.transaction(transact)
    },
  }
  const { insert, has, count } = accessTo(client)
  const database: Database = {
    beforeCommit: async () => {},
    insert: (id) => turn(() => insert(id)),
    has: (id) => turn(() => has(id)),
    count: () => turn(count),
    transaction: (run) => turn(() => client.$transaction((tx) => run(accessTo(tx)))),
    close: () => source.destroy(),
  }
  return database
}

function clientOf(manager: EntityManager): TransactionClient {
  return {
    row: {
      create: async ({ data }) => {
        await manager.query('INSERT INTO rows VALUES (?)', [data.id])
        return data
      },
      findUnique: async ({ where }) => (await manager.query('SELECT * FROM rows WHERE id = ?', [where.id]))[0] ?? null,
      count: async () => (await manager.query('SELECT count(*) AS count FROM rows'))[0].count,
    },
    $executeRawUnsafe: (sql) => manager.query(sql),
  }
}

function accessTo(client: TransactionClient): Access {
  return {
    insert: async (id) => void (await client.row.create({ data: { id } })),
    has: async (id) => (await client.row.findUnique({ where: { id } })) !== null,
    count: () => client.row.count(),
    transaction: async (run) => {
      await client.$executeRawUnsafe('SAVEPOINT inner_one')
      try {
        const result = await run(accessTo(client))
        await client.$executeRawUnsafe('RELEASE inner_one')
        return result
      } catch (error) {
        await client.$executeRawUnsafe('ROLLBACK TO inner_one')
        throw error
      }
    },
  }
}

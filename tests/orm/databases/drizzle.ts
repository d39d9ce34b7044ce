import { PGlite, type Transaction } from '@electric-sql/pglite'
import { eq } from 'drizzle-orm'
import { integer, type PgDatabase, pgTable } from 'drizzle-orm/pg-core'
import { drizzle, type PgliteQueryResultHKT } from 'drizzle-orm/pglite'
import type { Access, Database } from './database'

const rows = pgTable('rows', { id: integer('id').primaryKey() })

/** A PGlite that can be kept from committing. It lets one transaction in after the other by itself. */
class SlowPGlite extends PGlite {
  beforeCommit = async (): Promise<void> => {}

  override transaction<T>(run: (transaction: Transaction) => Promise<T>): Promise<T> {
    return super.transaction(async (transaction) => {
      const result = await run(transaction)
      await this.beforeCommit()
      return result
    })
  }
}

/** Opens a PGlite in memory, behind Drizzle. */
export async function openDrizzle(): Promise<Database> {
  const client = new SlowPGlite()
  await client.exec('CREATE TABLE rows (id integer PRIMARY KEY)')
  return {
    ...accessTo(drizzle({ client })),
    get beforeCommit() {
      return client.beforeCommit
    },
    set beforeCommit(wait) {
      client.beforeCommit = wait
    },
    close: () => client.close(),
  }
}

function accessTo(db: PgDatabase<PgliteQueryResultHKT>): Access {
  return {
    insert: async (id) => void (await db.insert(rows).values({ id })),
    has: async (id) => (await db.select().from(rows).where(eq(rows.id, id))).length > 0,
    count: () => db.$count(rows),
    transaction: (run) => db.transaction((inner) => run(accessTo(inner))),
  }
}

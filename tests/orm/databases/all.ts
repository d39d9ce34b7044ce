import type { Database } from './database'
import { openDrizzle } from './drizzle'
import { openMikroOrm } from './mikro-orm'
import { openPrismaLike } from './prisma-like'
import { openTypeOrm } from './typeorm'

/** The databases that every promise is put to the test with, by what stands before them. */
export const DATABASES: Readonly<Record<string, () => Promise<Database>>> = {
  'Drizzle on PGlite': openDrizzle,
  'TypeORM on sql.js': openTypeOrm,
  'MikroORM on libSQL': openMikroOrm,
  'a client like Prisma’s': openPrismaLike,
}

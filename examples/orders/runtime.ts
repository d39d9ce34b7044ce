import { createAfterJobs } from 'after-jobs'
import { postgresCache, postgresQueue } from 'after-jobs/postgres'
import { database, type Transaction } from './shop'

const pglite = database.$client

/** Where the jobs of the shop are: in memory, or with `--in-database` beside its orders. */
export const isInDatabase: boolean = process.argv.includes('--in-database')

export const jobs = isInDatabase
  ? createAfterJobs({ queue: postgresQueue({ pglite }), cache: postgresCache({ pglite }) })
  : createAfterJobs()

/**
 * Runs a transaction whose jobs stand and fall with it. In memory they wait for the commit; in the database they are rows like
 * the others, so that not even a crash can part an order from its job.
 */
export function transact<T>(run: (transaction: Transaction) => Promise<T>): Promise<T> {
  return isInDatabase
    ? database.transaction((transaction) => jobs.transaction(() => run(transaction), { db: transaction }))
    : jobs.transaction(() => database.transaction(run))
}

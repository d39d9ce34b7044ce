import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, type TestOptions } from 'vitest'
import { describeUnless, type Finisher } from '../../crew/shared-engine'
import { isPostgresInstalled, type PostgresOptions, PostgresServer } from './postgres-server'

const isInstalled = isPostgresInstalled()
const ABSENT = 'PostgreSQL is not installed'
const lack = (what: string) => ({ what, cure: 'install postgresql' })

/** Describes what needs any PostgreSQL: one of our own, else the one of `DATABASE_URL`. */
export function describeWithPostgres(name: string, options: TestOptions, body: () => void): void {
  const isThere = isInstalled || process.env.DATABASE_URL !== undefined
  describeUnless(isThere ? undefined : lack(`${ABSENT}, and DATABASE_URL is not set`), name, options, body)
}

/** Describes what needs a PostgreSQL that it can stop, kill and freeze. */
export function describeWithServer(name: string, options: TestOptions, body: () => void): void {
  describeUnless(isInstalled ? undefined : lack(ABSENT), name, options, body)
}

/** Starts a PostgreSQL for the suite that calls it, and ends it afterwards. */
export function useServer(options: PostgresOptions = {}): PostgresServer {
  const server = new PostgresServer(options)
  // To make a cluster takes a while where others work, too.
  beforeAll(async () => {
    await server.start()
  }, 60_000)
  afterAll(() => server.close(), 60_000)
  return server
}

/** Where a suite finds its PostgreSQL. */
export interface PostgresPlace {
  readonly url: string
  /** Makes a name that nobody else uses, of a schema, a table or a prefix, because the database may be shared. */
  makeName(): string
}

/** Gives a suite a PostgreSQL that it does not control. */
export function usePostgres(): PostgresPlace {
  if (!isInstalled) return { makeName, url: process.env.DATABASE_URL ?? '' }
  const server = useServer()
  return {
    makeName,
    get url() {
      return server.url
    },
  }
}

/** Makes a name that nobody else uses, and that SQL takes without quotes. */
export function makeName(): string {
  return `test_${randomUUID().slice(0, 8)}`
}

/** Starts a PostgreSQL that lasts as long as the test. */
export async function openServer({ onTestFinished }: Finisher, options: PostgresOptions = {}): Promise<PostgresServer> {
  const server = new PostgresServer(options)
  onTestFinished(() => server.close(), 60_000)
  return server.start()
}

/** Makes a folder that lasts as long as the test. */
export function makeFolder({ onTestFinished }: Finisher): string {
  const folder = mkdtempSync(join(tmpdir(), 'after-jobs-pglite-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 }))
  return folder
}

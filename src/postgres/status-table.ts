import { AfterJobsError } from '../core/errors'
import { withTimeLimit } from '../core/timer'
import type { JobCacheEntry } from '../ports/cache'
import type { CacheSettings } from './cache-settings'
import { type Database, openDatabase } from './database'
import { timeLeft } from './deadline'
import { type StatusRow, toItems } from './row'
import { postgresSchema } from './schema'
import { isMissingTable } from './sql-state'
import { nameOf } from './statement-name'
import { type StatusStatements, writeStatusStatements } from './status-statements'
import { Sweeper } from './sweeper'

type ReadRow = Omit<StatusRow, 'token'> | undefined

interface Named {
  readonly token: string
}

/** Milliseconds that looking for the table may take. */
const LOOK_LIMIT = 2_000
/** Milliseconds that the making of the table may take, and its sweep. */
const UPKEEP_LIMIT = 10_000

/** The table of statuses, which is made where it is missing. Several rows are read or written in one statement. */
export class StatusTable {
  readonly #settings: CacheSettings
  readonly #database: Database
  readonly #statements: StatusStatements
  /** All but the sweep stay prepared: they find their rows by the index, also by a plan from when there were few. */
  readonly #names: ReadonlyMap<string, string>
  readonly #sweeper: Sweeper
  #making: Promise<void> | undefined
  #isMade = false
  #isClosed = false
  /** Whether the database can be asked without waiting for it to open. */
  isOpen = false

  constructor(settings: CacheSettings) {
    this.#settings = settings
    this.#database = openDatabase(settings.source, 'postgresCache')
    this.#statements = writeStatusStatements(settings.quotedTable)
    const { sweep, ...prepared } = this.#statements
    this.#names = new Map(Object.values(prepared).map((text) => [text, nameOf(text)]))
    this.#sweeper = new Sweeper((most) => this.#sweep(most), settings.sweepInterval)
  }

  async open(): Promise<void> {
    if (this.#isClosed) throw new AfterJobsError('CACHE_UNAVAILABLE', 'The Postgres cache is closed.')
    await this.#database.ready()
    this.isOpen = !this.#isClosed
  }

  readonly read = async (wanted: readonly Named[], limit: number): Promise<ReadRow[]> => {
    const { read, readMany } = this.#statements
    const { prefix } = this.#settings
    const [first] = wanted
    if (first !== undefined && wanted.length === 1) return this.#ask(limit, read, [first.token, prefix])
    const rows = await this.#ask<StatusRow>(limit, readMany, [toArray(wanted), prefix])
    const found = new Map(rows.map((row) => [row.token, row]))
    return wanted.map(({ token }) => found.get(token))
  }

  /** Stores records where there are none, or where they have expired. */
  readonly create = async (entries: readonly JobCacheEntry[], limit: number): Promise<boolean[]> => {
    const values = [toItems(entries), this.#settings.prefix]
    return tell(entries, await this.#ask(limit, this.#statements.create, values))
  }

  /** Stores records over those of the version before. */
  readonly change = async (entries: readonly JobCacheEntry[], limit: number): Promise<boolean[]> => {
    const { change, changeMany } = this.#statements
    const values = [toItems(entries), this.#settings.prefix]
    const [first] = entries
    if (first !== undefined && entries.length === 1) {
      return tell(entries, await this.#ask(limit, change, [...values, first.token]))
    }
    return tell(entries, await this.#ask(limit, changeMany, [...values, toArray(entries)]))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.isOpen = false
    this.#sweeper.stop()
    await this.#database.close()
  }

  async #ask<R>(limit: number, text: string, values: readonly unknown[]): Promise<R[]> {
    const end = performance.now() + limit
    if (!this.#isMade)
      await withTimeLimit(this.#make(), limit, () => new Error(`its table was not there in ${limit} ms`))
    try {
      return (await this.#database.query<R>(text, values, timeLeft(end), this.#names.get(text))).rows
    } catch (error) {
      // Dropped by somebody: the next call makes it again.
      if (isMissingTable(error)) this.#isMade = false
      throw error
    }
  }

  #make(): Promise<void> {
    this.#making ??= this.#makeTable().finally(() => {
      this.#making = undefined
    })
    return this.#making
  }

  /** Where the table is there, nothing is asked that needs the right to make one. */
  async #makeTable(): Promise<void> {
    const { table, quotedTable } = this.#settings
    const look = 'SELECT to_regclass($1::text) IS NOT NULL AS is_there'
    const { rows } = await this.#database.query<{ is_there: boolean }>(look, [quotedTable], LOOK_LIMIT)
    if (rows[0]?.is_there !== true) await this.#database.query(postgresSchema({ table }), undefined, UPKEEP_LIMIT)
    this.#isMade = true
    if (!this.#isClosed) this.#sweeper.start()
  }

  async #sweep(most: number): Promise<number> {
    const { rows } = await this.#database.query<{ swept: number }>(this.#statements.sweep, [most], UPKEEP_LIMIT)
    return rows[0]?.swept ?? 0
  }
}

function toArray(items: readonly Named[]): string {
  return `{${items.map(({ token }) => token).join(',')}}`
}

function tell(entries: readonly JobCacheEntry[], rows: readonly { token: string }[]): boolean[] {
  const written = new Set(rows.map(({ token }) => token))
  return entries.map(({ token }) => written.has(token))
}

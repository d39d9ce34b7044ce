import type { JobRecord } from '../core/status'

/**
 * The records, as rows without gaps in three arrays. An object per row would take 40 to 56 bytes more than these, and a
 * list of tokens by time would keep an entry for each write that moved an expiry.
 */
export interface Table {
  /** The row of each token. */
  readonly rows: Map<string, number>
  readonly tokens: string[]
  readonly records: JobRecord[]
  /** Epoch milliseconds. */
  readonly expiries: number[]
  /** The token that was last looked for, and its row. */
  lastToken: string | undefined
  lastRow: number | undefined
}

/** Makes an empty table. */
export function createTable(): Table {
  return { rows: new Map(), tokens: [], records: [], expiries: [], lastToken: undefined, lastRow: undefined }
}

/**
 * Finds the row of a token. In a large table a look into the Map costs as much as a small hook; but one change reads,
 * compares and writes the same row, and jobs start in the order in which they were made.
 */
export function findRow(table: Table, token: string): number | undefined {
  const { lastToken, lastRow, tokens } = table
  if (token === lastToken) return lastRow
  table.lastToken = token
  const isNext = lastRow !== undefined && tokens[lastRow + 1] === token
  table.lastRow = isNext ? lastRow + 1 : table.rows.get(token)
  return table.lastRow
}

/** Tells whether a row has not expired. */
export function isAlive(expiry: number | undefined, now: number): boolean {
  return expiry !== undefined && now < expiry
}

/** Stores a record in the row of its token. */
export function put(table: Table, token: string, record: JobRecord, expiry: number): void {
  const row = findRow(table, token) ?? table.tokens.length
  if (row === table.tokens.length) {
    table.rows.set(token, row)
    table.tokens.push(token)
    table.lastRow = row
  }
  table.records[row] = record
  table.expiries[row] = expiry
}

/** Removes a row by moving the last one into its place, so that nothing stays behind it. */
function remove(table: Table, row: number): void {
  table.rows.delete(table.tokens[row] ?? '')
  table.lastToken = undefined
  const token = table.tokens.pop()
  const record = table.records.pop()
  const expiry = table.expiries.pop()
  if (row === table.tokens.length || token === undefined || record === undefined || expiry === undefined) return
  table.rows.set(token, row)
  table.tokens[row] = token
  table.records[row] = record
  table.expiries[row] = expiry
}

const SOONEST = 100
/** Timers go by another clock than expiries, so that a machine that slept or was set right is noticed. */
const LATEST = 3_600_000
/** A slice makes so many looks at rows, or a thousand removals, which take a microsecond or more each. */
const SLICE = 100_000
const REMOVAL = 100

/** Gives expired records back: a pass over all rows when the first may have expired, in slices, and no timer when empty. */
export class Sweeper {
  readonly #table: Table
  #timer: NodeJS.Timeout | undefined
  #timerAt = 0
  #earliest = Number.POSITIVE_INFINITY
  #isStopped = false
  /** The row at which a pass goes on, downwards: the rows moved by a removal are then ones it has seen. -1: no pass. */
  #cursor = -1

  constructor(table: Table) {
    this.#table = table
  }

  /** Takes note that a record expires then. */
  expect(expiry: number): void {
    if (expiry >= this.#earliest) return
    this.#earliest = expiry
    if (this.#cursor < 0 && !this.#isStopped) this.#armForEarliest()
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #arm(at: number): void {
    if (this.#timer !== undefined && this.#timerAt <= at) return
    clearTimeout(this.#timer)
    this.#timerAt = at
    this.#timer = setTimeout(() => this.#sweep(), at - Date.now())
    this.#timer.unref()
  }

  #armForEarliest(): void {
    const now = Date.now()
    // Between two passes lies a thousand times what one takes, however many rows there are.
    const soonest = Math.max(SOONEST, this.#table.tokens.length / 1000)
    this.#arm(Math.min(now + LATEST, Math.max(now + soonest, this.#earliest)))
  }

  #sweep(): void {
    this.#timer = undefined
    if (this.#cursor < 0) {
      this.#cursor = this.#table.tokens.length - 1
      this.#earliest = Number.POSITIVE_INFINITY
    }
    this.#sweepSlice()
    if (this.#cursor >= 0) this.#arm(Date.now() + 1)
    else if (this.#table.tokens.length > 0) this.#armForEarliest()
  }

  #sweepSlice(): void {
    const now = Date.now()
    for (let budget = SLICE; this.#cursor >= 0 && budget > 0; this.#cursor--, budget--) {
      const expiry = this.#table.expiries[this.#cursor] ?? 0
      if (isAlive(expiry, now)) {
        this.#earliest = Math.min(this.#earliest, expiry)
        continue
      }
      remove(this.#table, this.#cursor)
      budget -= REMOVAL
    }
  }
}

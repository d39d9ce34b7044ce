import { AfterJobsError } from '../core/errors'
import type { JobEnvelope } from '../core/job'
import type { Engine } from './engine'
import { type MessageRow, toRow, writeRows } from './message'

/** Runs a statement somewhere, be it in a transaction of the caller's. */
export type Ask = <R>(text: string, values: readonly unknown[]) => Promise<R[]>

/** A job that stood for a key may have started just now; nobody has such bad luck more often. */
const TRIES = 10

/**
 * Puts jobs into the table, each once, and answers which job stands for each of them.
 *
 * @param horizon how soon a job must be due for a worker to be told of it, in milliseconds.
 */
export async function addJobs(
  { statements }: Pick<Engine, 'statements'>,
  ask: Ask,
  envelopes: readonly JobEnvelope[],
  horizon: number,
): Promise<string[]> {
  const rows = envelopes.map(toRow)
  const tokens = new Map<MessageRow, string>()
  let open: readonly MessageRow[] = rows
  for (let turn = 0; open.length > 0; turn++) {
    if (turn === TRIES) throw new AfterJobsError('QUEUE_UNAVAILABLE', 'The jobs of a dedupe key change too fast.')
    const text = writeRows(open)
    const isNear = envelopes.some(({ delay }) => delay <= horizon)
    const [result] = await ask<{ added: number }>(statements.insert, [text, isNear ? 'tell' : ''])
    if (result?.added === open.length) {
      for (const row of open) tokens.set(row, row[0])
      break
    }
    const standing = await ask<{ token: string | null }>(statements.standing, [text])
    for (const [index, row] of open.entries()) {
      const token = standing[index]?.token
      if (token != null) tokens.set(row, token)
    }
    open = open.filter((row) => !tokens.has(row))
  }
  return rows.map((row) => tokens.get(row) as string)
}

import { eq } from 'drizzle-orm'
import type { Papers } from './papers'
import { countStock, database, type Order, orders, payments, reservations } from './shop'

/** What must be equal if nothing was lost, doubled or left half done. */
export interface Check {
  readonly what: string
  readonly expected: number
  readonly found: number
  /** Not only as many, but the same ones. */
  readonly isEqual: boolean
}

/** What is known outside of the database. */
export interface Day {
  readonly papers: Papers
  /** The orders that were answered to customers. */
  readonly placed: readonly Order[]
  /** The orders whose jobs have run, one entry for each time. */
  readonly ran: readonly number[]
  /** Pieces on all shelves in the morning. */
  readonly stock: number
}

/** Compares all that the shop has with what was answered to its customers. */
export async function audit({ papers, placed, ran, stock }: Day): Promise<Check[]> {
  const numbersOf = async (status: Order['status']) => {
    return idsOf(await database.select({ id: orders.id }).from(orders).where(eq(orders.status, status)))
  }
  const [shipped, cancelled] = await Promise.all([numbersOf('shipped'), numbersOf('cancelled')])
  const reserved = await database.select({ id: reservations.orderId }).from(reservations)
  const paid = await database.select({ id: payments.orderId }).from(payments)
  const piecesShipped = placed.filter(({ id }) => shipped.includes(id)).reduce((sum, { pieces }) => sum + pieces, 0)
  const pieces = piecesShipped + (await countStock())
  return [
    compare('jobs of placed orders', idsOf(placed), ran),
    compare('orders shipped or cancelled', idsOf(placed), [...shipped, ...cancelled]),
    compare('payments kept', shipped, idsOf(paid)),
    compare('reservations', shipped, idsOf(reserved)),
    compare('invoices', shipped, await papers.list('invoices')),
    compare('mails', shipped, await papers.list('mails')),
    { what: 'pieces on the shelves and shipped', expected: stock, found: pieces, isEqual: stock === pieces },
  ]
}

function idsOf(rows: readonly { id: number }[]): number[] {
  return rows.map(({ id }) => id)
}

/** Compares two lists of order numbers, in which nothing may be twice. */
function compare(what: string, expected: readonly number[], found: readonly number[]): Check {
  const isEqual = expected.toSorted().join() === found.toSorted().join()
  return { what, expected: expected.length, found: found.length, isEqual }
}

import { JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { and, eq, gte, sql } from 'drizzle-orm'
import type { Papers } from './papers'
import { jobs, transact } from './runtime'
import { articles, database, type NewOrder, type Order, orders, payments, reservations, type Transaction } from './shop'

/** Takes orders. `place()` answers once the order is in the database; what it sets in motion happens in the background. */
export class OrderService extends withAfterJobs({ jobs, auto: ['create'] }) {
  static readonly jobName = 'orders'
  readonly #papers: Papers

  constructor(papers: Papers) {
    super()
    this.#papers = papers
  }

  /** The job that `create()` starts inside runs when the transaction has committed, and never when it has not. */
  place(order: NewOrder, pay: () => void): Promise<Order> {
    return transact(async (transaction) => {
      const placed = await this.create(order, transaction)
      await transaction.insert(payments).values({ orderId: placed.id })
      pay()
      return placed
    })
  }

  /** The transaction is an argument: a service that kept it would have a closed one when its job runs. */
  async create(order: NewOrder, transaction: Transaction): Promise<Order> {
    const [placed] = await transaction
      .insert(orders)
      .values({ ...order, status: 'placed' })
      .returning()
    return placed as Order
  }

  async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
    const order = await this.#find(id)
    progress.total(3)
    progress.label('Reserving the goods')
    await this.#reserve(order)
    progress.tick()

    progress.label('Writing the invoice')
    await this.#papers.writeInvoice(id, `Invoice ${id}: ${order.pieces} pieces of article ${order.articleId}\n`)
    progress.tick()

    // Last, because a mail cannot be called back.
    progress.label('Sending the mail')
    if (!order.address.includes('@')) throw new JobError(`“${order.address}” is no address.`)
    await database.update(orders).set({ status: 'shipped' }).where(eq(orders.id, id))
    await this.#papers.sendMail(id, `To ${order.address}: your order ${id} is on its way.\n`)
    progress.tick()
  }

  /** Takes back whatever the job had done when it failed. */
  async afterCreateJobFailed(id: number, _token: string, error: Error) {
    await this.#papers.tearUpInvoice(id)
    await database.transaction(async (transaction) => {
      const [reserved] = await transaction.delete(reservations).where(eq(reservations.orderId, id)).returning()
      if (reserved) await moveStock(transaction, reserved.articleId, reserved.pieces)
      await transaction.delete(payments).where(eq(payments.orderId, id))
      await transaction.update(orders).set({ status: 'cancelled' }).where(eq(orders.id, id))
    })
    console.log(`Order ${id} is cancelled: ${error.message}`)
  }

  async #find(id: number): Promise<Order> {
    const [order] = await database.select().from(orders).where(eq(orders.id, id))
    if (!order) throw new JobError(`Order ${id} does not exist.`)
    return order
  }

  /** Both or neither: the reservation, and the goods that leave the shelf. */
  async #reserve({ id: orderId, articleId, pieces }: Order): Promise<void> {
    await database.transaction(async (transaction) => {
      const isNew = await transaction
        .insert(reservations)
        .values({ orderId, articleId, pieces })
        .onConflictDoNothing()
        .returning()
      if (isNew.length === 0) return
      if (!(await moveStock(transaction, articleId, -pieces))) throw new JobError(`There are no ${pieces} pieces left.`)
    })
  }
}

/** Puts pieces on a shelf, or takes them off; tells whether there were enough. */
async function moveStock(transaction: Transaction, articleId: number, pieces: number): Promise<boolean> {
  const moved = await transaction
    .update(articles)
    .set({ stock: sql`${articles.stock} + ${pieces}` })
    .where(and(eq(articles.id, articleId), gte(articles.stock, -pieces)))
    .returning()
  return moved.length > 0
}

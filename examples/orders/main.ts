// Fifty orders at once: some cards are refused, some jobs fail, and in the end a table shows that nothing is half done.
// Run it after a build: npx tsx --tsconfig examples/tsconfig.json examples/orders/main.ts [--in-database]
import { formatTable } from '../terminal'
import { audit } from './audit'
import { OrderService } from './order-service'
import { Papers } from './papers'
import { isInDatabase, jobs } from './runtime'
import { countStock, database, type NewOrder, type Order, openShop } from './shop'

const ORDERS = 50

async function main(): Promise<void> {
  await openShop()
  const papers = await Papers.open()
  const stock = await countStock()
  const service = new OrderService(papers)
  if (isInDatabase) {
    // Opens the queue, which shares the one connection of PGlite with the transactions to come.
    await jobs.health()
    jobs.register(OrderService, () => service)
    jobs.work({ concurrency: 4 })
  }
  const ran: number[] = []
  jobs.on('started', ({ id }) => ran.push(Number(id)))

  const placing = Array.from({ length: ORDERS }, (_, index) => service.place(makeOrder(index), () => pay(index)))
  const outcomes = await Promise.allSettled(placing)
  const placed: Order[] = []
  for (const [index, outcome] of outcomes.entries()) {
    if (outcome.status === 'fulfilled') placed.push(outcome.value)
    else console.log(`Customer ${index + 1} has no order: ${outcome.reason.message}`)
  }
  // The customers have their answers; the jobs and compensations of the orders may still run.
  await jobs.drain()

  const checks = await audit({ papers, placed, ran, stock })
  await Promise.all([jobs.close(), papers.close()])
  await database.$client.close()
  console.log(`\n${ORDERS} orders: ${placed.length} placed, ${ORDERS - placed.length} rolled back\n`)
  console.log(formatTable(checks.map(({ isEqual, ...check }) => ({ ...check, '': isEqual ? 'equal' : 'NOT EQUAL' }))))
  if (checks.some(({ isEqual }) => !isEqual)) throw new Error('Something was lost, doubled or left half done.')
}

/** One order in ten cannot be carried out, for one of two reasons. */
function makeOrder(index: number): NewOrder {
  const order = { address: `customer-${index + 1}@example.com`, articleId: (index % 3) + 1, pieces: (index % 2) + 1 }
  if (index % 20 === 2) return { ...order, pieces: 1_000 }
  return index % 20 === 12 ? { ...order, address: 'the house by the lake' } : order
}

/** One card in five is refused, when all that the order needs is written already. */
function pay(index: number): void {
  if (index % 5 === 4) throw new Error('The card was refused.')
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})

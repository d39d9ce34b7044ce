// A process that does nothing but transactions which start jobs, until it is killed.
import { attachAfterJobs } from 'after-jobs'
import { makeRuntime } from '../../crew/runtime'
import { spyLogger } from '../../engine/support/spies'
import { ORDERS, Order, openOrders, type ProducerSetting } from './orders'

/** So many transactions until the code is warm. */
const WARM_UP = 30

const { file, firstId, ...setting } = JSON.parse(process.argv[2] ?? '') as ProducerSetting
const jobs = makeRuntime(setting, spyLogger())
const orders = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: ORDERS })

async function produce(): Promise<never> {
  const orm = await openOrders(file)
  await jobs.health()
  for (let id = firstId; ; id++) {
    if (id === firstId + WARM_UP) process.send?.('warm')
    await jobs.transaction(() =>
      orm.em.fork().transactional(async (em) => {
        const token = (await orders.executeJob('after', 'create', id)) as string
        em.persist(em.create(Order, { id, token }))
      }),
    )
  }
}

void produce()
// A test that has died leaves no producer behind.
process.once('disconnect', () => process.exit())

// A process that does nothing but transactions which write a row and start its job in them, until it is killed.
import { attachAfterJobs } from 'after-jobs'
import { Client } from 'pg'
import { makeRuntime, type Setting } from '../../crew/runtime'
import { spyLogger } from '../../engine/support/spies'

/** What a producer is told on its command line. */
export interface ProducerSetting extends Setting {
  readonly firstId: number
}

/** So many transactions until the code is warm. */
const WARM_UP = 60

class Rollback extends Error {}

/** One order in three is rolled back; one in two starts its job by way of `jobs.transaction()`. */
async function produce({ firstId, ...setting }: ProducerSetting): Promise<never> {
  const jobs = makeRuntime(setting, spyLogger())
  const orders = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'orders' })
  const db = new Client({ connectionString: setting.url })
  await db.connect()
  const start = async (id: number): Promise<string> => {
    const token =
      id % 2 === 0
        ? await jobs.transaction(() => orders.executeJob('after', 'create', id), { db })
        : await orders.executeJob('after', 'create', id, { db })
    return token as string
  }
  for (let id = firstId; ; id++) {
    if (id === firstId + WARM_UP) process.send?.('warm')
    await db.query('BEGIN')
    try {
      await db.query('INSERT INTO orders (id, token) VALUES ($1, $2)', [id, await start(id)])
      if (id % 3 === 0) throw new Rollback()
      await db.query('COMMIT')
    } catch (error) {
      if (!(error instanceof Rollback)) throw error
      await db.query('ROLLBACK')
    }
  }
}

void produce(JSON.parse(process.argv[2] ?? '') as ProducerSetting)
// A test that has died leaves no producer behind.
process.once('disconnect', () => process.exit())

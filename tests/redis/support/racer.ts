// One of several processes that change the same records: it applies what it is sent, and answers what was stored.
import { redisCache } from 'after-jobs/redis'
import type { JobChange, JobRecord } from '../../../src/core/status'
import { RecordStore } from '../../../src/engine/record-store'
import type { JobCache } from '../../../src/ports/cache'

/** The changes that one process makes to one record, one after the other. */
export interface Leg {
  readonly token: string
  readonly changes: readonly JobChange[]
}

/** What came of a leg. */
export interface Trace {
  /** The changes that were stored, and as what. */
  readonly steps: readonly { readonly change: JobChange; readonly record: JobRecord }[]
  /** How often another process was faster. */
  readonly lost: number
}

const [, , url = '', prefix = ''] = process.argv
const cache = redisCache({ url, prefix })
let lost = 0
const counting: JobCache = {
  ...cache,
  async write(...entry) {
    const isStored = await cache.write(...entry)
    if (!isStored) lost++
    return isStored
  },
}
const store = new RecordStore(counting, { ttl: 60_000, liveTtl: 60_000 }, () => {})

async function run({ token, changes }: Leg): Promise<Trace> {
  const steps: Trace['steps'][number][] = []
  lost = 0
  let held: JobRecord | undefined
  for (const change of changes) {
    // As its tracker does, a run begins with the record that it stored last; all others read it first.
    const isOwn = 'runId' in change && change.type !== 'started' && held?.runId === change.runId
    const { isStored, record } = await store.apply(token, change, isOwn ? held : undefined)
    if (isStored && record !== undefined) steps.push({ change, record })
    if (isStored) held = record
  }
  return { steps, lost }
}

process.on('message', async (leg: Leg) => process.send?.(await run(leg)))
process.once('disconnect', () => cache.close())
/** Known to be there, so that no race is won by the slowness of a start; on a busy machine that may outlast one call. */
const isThere = () =>
  cache.read('00000000-0000-4000-8000-000000000000').then(
    () => true,
    () => false,
  )
while (!(await isThere()));
process.send?.('ready')

// A process that reads and writes statuses when it is told to.
import { postgresCache } from 'after-jobs/postgres'
import type { JobRecord } from '../../../src/core/status'
import { newRecord } from '../../../src/testing/cache-fixtures'

/** Where its statuses are: plain data, because it gets them on its command line. */
export interface CacheSetting {
  readonly url?: string
  readonly pglite?: string
  readonly table?: string
}

/** What it can be told. */
export type Errand =
  | { readonly do: 'read'; readonly token: string }
  | { readonly do: 'write'; readonly token: string; readonly record: JobRecord }
  | { readonly do: 'write on' }
  | { readonly do: 'close' }

/** What it answers. */
export interface Answer {
  readonly value?: unknown
  readonly error?: { readonly code: string; readonly message: string }
}

const HOUR = 3_600_000
const cache = postgresCache(JSON.parse(process.argv[2] ?? '') as CacheSetting)

async function run(errand: Errand): Promise<unknown> {
  switch (errand.do) {
    case 'read':
      return cache.read(errand.token)
    case 'write':
      return cache.write(errand.token, errand.record, HOUR)
    case 'write on':
      for (;;) {
        const token = crypto.randomUUID()
        if (await cache.write(token, newRecord(), HOUR)) process.send?.({ value: token })
      }
    case 'close':
      await cache.close()
      return process.disconnect()
    default:
      return errand satisfies never
  }
}

process.on('message', async (errand: Errand) => {
  try {
    const value = await run(errand)
    if (process.connected) process.send?.({ value } satisfies Answer)
  } catch (error) {
    const { code, message } = error as { code: string; message: string }
    process.send?.({ error: { code, message } } satisfies Answer)
  }
})
process.send?.({ value: 'ready' } satisfies Answer)

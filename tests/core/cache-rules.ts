import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type JobChange, type JobRecord, transition } from '../../src/core/status'
import { RecordStore } from '../../src/engine/record-store'
import type { JobCache } from '../../src/ports/cache'
import { changes, changesByWriter } from './status-changes'
import { expectRules, isAllowed } from './status-rules'

const PATIENT = { timeout: 120_000 }
const LIVES = { ttl: 3_600_000, liveTtl: 3_600_000 }

/** A change that was stored: over what, and as what. */
interface Stored {
  before: JobRecord | undefined
  change: JobChange
  after: JobRecord
}

/** Tests that a cache lets every rule of a job's life hold, with so many random lives. */
export function testRules(makeCache: () => JobCache, numRuns: number): void {
  test('the same changes end in the same record as without a cache', PATIENT, async ({ onTestFinished }) => {
    const cache = makeCache()
    onTestFinished(() => cache.close())
    await fc.assert(
      fc.asyncProperty(changes, async (sequence) => {
        const token = crypto.randomUUID()
        let record: JobRecord | undefined
        for (const change of sequence) {
          record = transition(record, change) ?? record
          await apply(cache, token, change)
        }
        expect(withoutChance(await cache.read(token))).toEqual(withoutChance(record))
      }),
      { numRuns },
    )
  })

  test(
    'writers at the same time make one history, without a gap, in which every rule holds',
    PATIENT,
    async ({ onTestFinished }) => {
      const cache = makeCache()
      onTestFinished(() => cache.close())
      await fc.assert(
        fc.asyncProperty(changesByWriter, async (lists) => {
          const token = crypto.randomUUID()
          const histories = await Promise.all(lists.map((list) => applyAll(cache, token, list)))
          const history = histories.flat().sort((a, b) => a.after.version - b.after.version)
          let record: JobRecord | undefined
          for (const { before, change, after } of history) {
            expect(before).toEqual(record)
            expect(isAllowed(before, change)).toBe(true)
            expectRules(before, change, after)
            record = after
          }
          expect(await cache.read(token)).toEqual(record)
        }),
        { numRuns },
      )
    },
  )
}

async function applyAll(cache: JobCache, token: string, list: readonly JobChange[]): Promise<Stored[]> {
  const stored: Stored[] = []
  for (const change of list) stored.push(...(await apply(cache, token, change)))
  return stored
}

/** As the engine applies a change, and begins again when another writer was faster; but says over what it was stored. */
async function apply(cache: JobCache, token: string, change: JobChange): Promise<Stored[]> {
  const store = new RecordStore(cache, LIVES, () => {})
  for (let race = 0; race < 100; race++) {
    const before = await store.read(token)
    const applied = await store.applyOnce(token, change, before)
    if (applied === undefined) continue
    return applied.isStored && applied.record ? [{ before, change, after: applied.record }] : []
  }
  throw new Error(`The cache refused '${change.type}' 100 times, more often than the other writers can have won.`)
}

function withoutChance(record: JobRecord | undefined): unknown {
  return record && { ...record, incarnation: 0 }
}

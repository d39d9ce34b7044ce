import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type JobChange, type JobRecord, transition } from '../../../src/core/status'
import { RecordStore } from '../../../src/engine/record-store'
import type { JobCache } from '../../../src/ports/cache'
import { changes, changesByWriter } from '../../core/status-changes'
import { expectRules, isAllowed } from '../../core/status-rules'

interface Step {
  readonly change: JobChange
  readonly record: JobRecord
}

/** Tests that a cache lets every rule of a job's life hold, with so many random lives. */
export function testRules(makeCache: () => JobCache, numRuns: number): void {
  const options = { timeout: 120_000 }

  test('the same changes end in the same record as without a cache', options, async () => {
    await withStore(makeCache, (store, cache) =>
      fc.assert(
        fc.asyncProperty(changes, async (sequence) => {
          const token = crypto.randomUUID()
          let record: JobRecord | undefined
          for (const change of sequence) {
            record = transition(record, change) ?? record
            await store.apply(token, change, undefined)
          }
          expect(withoutChance(await cache.read(token))).toEqual(withoutChance(record))
        }),
        { numRuns },
      ),
    )
  })

  test('writers at the same time make one history, without a gap, in which every rule holds', options, async () => {
    await withStore(makeCache, (store, cache) =>
      fc.assert(
        fc.asyncProperty(changesByWriter, async (lists) => {
          const token = crypto.randomUUID()
          const histories = await Promise.all(lists.map((list) => applyAll(store, token, list)))
          const history = histories.flat().sort((a, b) => a.record.version - b.record.version)
          let record: JobRecord | undefined
          for (const { change, record: next } of history) {
            expect(next.version).toBe((record?.version ?? 0) + 1)
            expect(isAllowed(record, change)).toBe(true)
            expectRules(record, change, next)
            record = next
          }
          expect(await cache.read(token)).toEqual(record)
        }),
        { numRuns },
      ),
    )
  })
}

async function withStore(
  makeCache: () => JobCache,
  check: (store: RecordStore, cache: JobCache) => Promise<void>,
): Promise<void> {
  const cache = makeCache()
  try {
    await check(new RecordStore(cache, { ttl: 3_600_000, liveTtl: 3_600_000 }, () => {}), cache)
  } finally {
    await cache.close()
  }
}

async function applyAll(store: RecordStore, token: string, list: readonly JobChange[]): Promise<Step[]> {
  const steps: Step[] = []
  for (const change of list) {
    const { isStored, record } = await store.apply(token, change, undefined)
    if (isStored && record !== undefined) steps.push({ change, record })
  }
  return steps
}

function withoutChance(record: JobRecord | undefined): unknown {
  return record && { ...record, incarnation: 0 }
}

import fc from 'fast-check'
import { Keyv } from 'keyv'
import { describe, expect, test } from 'vitest'
import { cleanText, type JobChange, type JobRecord, transition } from '../../src/core/status'
import { keyvCache } from '../../src/keyv/cache'
import { memoryCache } from '../../src/memory/cache'
import type { JobCache } from '../../src/ports/cache'
import { changes, changesByWriter } from './status-changes'
import { expectRules, isAllowed } from './status-rules'

const RUNS = { numRuns: 2_000 }
const PATIENT = { timeout: 90_000 }

const CACHES: Record<string, () => JobCache> = {
  'the memory cache': () => memoryCache(),
  'a Keyv': () => keyvCache(new Keyv()),
  'a mirroring Keyv': () => keyvCache(new Keyv(), { mirror: true }),
}

/** A change that was stored: over what, and as what. */
interface Stored {
  before: JobRecord | undefined
  change: JobChange
  after: JobRecord
}

test('the rules let through what the contract says, and nothing else', PATIENT, () => {
  fc.assert(
    fc.property(changes, (sequence) => {
      let record: JobRecord | undefined
      for (const change of sequence) {
        const after = transition(record && Object.freeze(record), change)
        expect(after !== undefined).toBe(isAllowed(record, change))
        if (after === undefined) continue
        expectRules(record, change, after)
        record = after
      }
    }),
    RUNS,
  )
})

test('texts are cleaned once: what is clean stays as it is', () => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 800 }),
    fc.string({ unit: 'binary', maxLength: 1_500 }),
    // Whose halves need not fit.
    fc
      .array(fc.integer({ min: 0xd700, max: 0xe000 }), { maxLength: 1_500 })
      .map((codes) => String.fromCharCode(...codes)),
  )
  fc.assert(
    fc.property(text, (raw) => {
      const clean = cleanText(raw)
      expect(cleanText(clean)).toBe(clean)
      expect(clean).not.toMatch(/\p{Cs}/u)
    }),
    RUNS,
  )
})

describe.each(Object.entries(CACHES))('through %s', (_, makeCache) => {
  test('the same changes end in the same record as without a cache', PATIENT, async () => {
    const cache = makeCache()
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
      RUNS,
    )
    await cache.close()
  })

  test('writers at the same time make one history, without a gap, in which every rule holds', PATIENT, async () => {
    const cache = makeCache()
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
      RUNS,
    )
    await cache.close()
  })
})

async function applyAll(cache: JobCache, token: string, list: readonly JobChange[]): Promise<Stored[]> {
  const stored: Stored[] = []
  for (const change of list) stored.push(...(await apply(cache, token, change)))
  return stored
}

/** Reads, asks the rules, compares and sets, and begins again when another writer was faster. */
async function apply(cache: JobCache, token: string, change: JobChange): Promise<Stored[]> {
  for (let race = 0; race < 100; race++) {
    const before = await cache.read(token)
    const after = transition(before, change)
    if (after === undefined) return []
    if (await cache.write(token, after, 3_600_000)) return [{ before, change, after }]
  }
  throw new Error(`The cache refused '${change.type}' 100 times, more often than the other writers can have won.`)
}

function withoutChance(record: JobRecord | undefined): unknown {
  return record && { ...record, incarnation: 0 }
}

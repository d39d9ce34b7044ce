import fc from 'fast-check'
import { Keyv } from 'keyv'
import { describe, expect, test } from 'vitest'
import { cleanText, type JobRecord, transition } from '../../src/core/status'
import { keyvCache } from '../../src/keyv/cache'
import { memoryCache } from '../../src/memory/cache'
import type { JobCache } from '../../src/ports/cache'
import { testRules } from './cache-rules'
import { changes } from './status-changes'
import { expectRules, isAllowed } from './status-rules'

const RUNS = { numRuns: 2_000 }
const PATIENT = { timeout: 90_000 }

const CACHES: Record<string, () => JobCache> = {
  'the memory cache': () => memoryCache(),
  'a Keyv': () => keyvCache(new Keyv()),
  'a mirroring Keyv': () => keyvCache(new Keyv(), { mirror: true }),
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

describe.each(Object.entries(CACHES))('through %s', (_, makeCache) => testRules(makeCache, RUNS.numRuns))

import type { JobCache } from '../ports/cache'
import {
  expectOneWinner,
  HOUR,
  increment,
  newRecord,
  newToken,
  nextOf,
  RICH,
  SHORT,
  store,
  untilGone,
} from './cache-fixtures'
import type { ConformanceTools } from './conformance'

type CachePromise = (cache: JobCache, expect: ConformanceTools['expect']) => Promise<void>

/** A short life that a write on a slow machine comes in time to prolong. */
const RENEWABLE = 1_000
const YEAR = 365 * 24 * HOUR
/** Milliseconds by which two clocks, or a clock and its rounding, may differ. */
const JITTER = 20

/** What every cache promises, as tests. */
export const CACHE_PROMISES: Record<string, CachePromise> = {
  'says whether its records die with this process': async (cache, expect) => {
    expect(typeof cache.isLocal).toBe('boolean')
  },

  'reads nothing where nothing was stored': async (cache, expect) => {
    expect(await cache.read(newToken())).toBe(undefined)
  },

  'creates a record only as version 1': async (cache, expect) => {
    const token = newToken()
    for (const version of [0, 2, 3]) expect(await cache.write(token, { ...newRecord(), version }, HOUR)).toBe(false)
    expect(await cache.read(token)).toBe(undefined)
    expect(await cache.write(token, newRecord(), HOUR)).toBe(true)
  },

  'reads back exactly what was written': async (cache, expect) => {
    for (const record of [newRecord(), nextOf({ ...newRecord(), version: 0 }, RICH)]) {
      const token = newToken()
      expect(await cache.write(token, record, HOUR)).toBe(true)
      expect(await cache.read(token)).toEqual(record)
    }
  },

  'stores only the next version, and a refusal changes nothing': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    const next = nextOf(record, { label: 'next' })
    for (const version of [0, 1, 3]) expect(await cache.write(token, { ...next, version }, HOUR)).toBe(false)
    expect(await cache.read(token)).toEqual(record)
    expect(await cache.write(token, next, HOUR)).toBe(true)
    expect(await cache.write(token, { ...next, label: 'late' }, HOUR)).toBe(false)
    expect(await cache.read(token)).toEqual(next)
  },

  'refuses the next version of another incarnation': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    const stranger = nextOf({ ...record, incarnation: record.incarnation - 1 }, {})
    expect(await cache.write(token, stranger, HOUR)).toBe(false)
    expect(await cache.read(token)).toEqual(record)
  },

  'keeps tokens apart': async (cache, expect) => {
    const one = await store(cache, HOUR)
    const other = await store(cache, HOUR)
    const next = nextOf(one.record, { label: 'one' })
    expect(await cache.write(one.token, next, HOUR)).toBe(true)
    expect(await cache.read(one.token)).toEqual(next)
    expect(await cache.read(other.token)).toEqual(other.record)
  },

  'lets one of a hundred writers create a record': async (cache, expect) => {
    await expectOneWinner(cache, expect, newToken(), () => newRecord())
  },

  'lets one of a hundred writers store the same version': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    await expectOneWinner(cache, expect, token, (index) => nextOf(record, { label: `writer ${index}` }))
  },

  'loses no update': async (cache, expect) => {
    const { token } = await store(cache, HOUR)
    await Promise.all(Array.from({ length: 10 }, () => increment(cache, token)))
    const record = await cache.read(token)
    expect([record?.version, record?.crashes]).toEqual([11, 10])
  },

  'forgets a record after its time to live, and not before': async (cache, expect) => {
    const start = Date.now()
    const { token } = await store(cache, SHORT)
    await untilGone(cache, token)
    expect(Date.now() - start >= SHORT - JITTER).toBe(true)
  },

  'keeps a record for the time of its newest version': async (cache, expect) => {
    const renewed = await store(cache, RENEWABLE)
    expect(await cache.write(renewed.token, nextOf(renewed.record, {}), HOUR)).toBe(true)
    const shortened = await store(cache, HOUR)
    expect(await cache.write(shortened.token, nextOf(shortened.record, {}), RENEWABLE)).toBe(true)
    await untilGone(cache, shortened.token)
    expect((await cache.read(renewed.token))?.version).toBe(2)
  },

  'does not let a refused write change the time to live': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    expect(await cache.write(token, record, SHORT)).toBe(false)
    const later = await store(cache, SHORT)
    await untilGone(cache, later.token)
    expect(await cache.read(token)).toEqual(record)
  },

  'keeps a record for more than a year': async (cache, expect) => {
    const { token, record } = await store(cache, YEAR + HOUR)
    const later = await store(cache, SHORT)
    await untilGone(cache, later.token)
    expect(await cache.read(token)).toEqual(record)
  },

  'takes an expired record for none': async (cache, expect) => {
    const { token, record } = await store(cache, SHORT)
    await untilGone(cache, token)
    expect(await cache.write(token, nextOf(record, {}), HOUR)).toBe(false)
    const fresh = newRecord()
    expect(await cache.write(token, fresh, HOUR)).toBe(true)
    expect(await cache.read(token)).toEqual(fresh)
  },

  'writes many, each as if alone, and answers in their order': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    const taken = await store(cache, HOUR)
    const entries = [
      { token: newToken(), record: newRecord(), ttl: HOUR },
      { token: taken.token, record: newRecord(), ttl: HOUR },
      { token, record: nextOf(record, { label: 'next' }), ttl: HOUR },
      { token: newToken(), record: nextOf(newRecord(), {}), ttl: HOUR },
    ]
    expect(await cache.writeMany(entries)).toEqual([true, false, true, false])
    const found = await Promise.all(entries.map((entry) => cache.read(entry.token)))
    expect(found).toEqual([entries[0]?.record, taken.record, entries[2]?.record, undefined])
  },

  'gives each of many records its own time to live': async (cache, expect) => {
    const entries = [HOUR, SHORT].map((ttl) => ({ token: newToken(), record: newRecord(), ttl }))
    expect(await cache.writeMany(entries)).toEqual([true, true])
    await untilGone(cache, entries[1]?.token ?? '')
    expect(await cache.read(entries[0]?.token ?? '')).toEqual(entries[0]?.record)
  },

  'writes a thousand records at once, and none': async (cache, expect) => {
    const entries = Array.from({ length: 1_000 }, () => ({ token: newToken(), record: newRecord(), ttl: HOUR }))
    expect(await cache.writeMany(entries)).toEqual(entries.map(() => true))
    const found = await Promise.all(entries.map(({ token }) => cache.read(token)))
    expect(found).toEqual(entries.map(({ record }) => record))
    expect(await cache.writeMany([])).toEqual([])
  },

  'lets one of a hundred bulk writers win': async (cache, expect) => {
    const token = newToken()
    const writers = Array.from({ length: 100 }, () => ({ token, record: newRecord(), ttl: HOUR }))
    const answers = (await Promise.all(writers.map((entry) => cache.writeMany([entry])))).flat()
    expect(answers.filter((isWritten) => isWritten).length).toBe(1)
    expect(await cache.read(token)).toEqual(writers[answers.indexOf(true)]?.record)
  },

  'answers the same at once, where it says that it can': async (cache, expect) => {
    const { token, record } = await store(cache, HOUR)
    const { immediate } = cache
    if (immediate === undefined) return
    const next = nextOf(record, { label: 'at once' })
    expect(immediate.read(token)).toEqual(record)
    expect([immediate.write(token, next, HOUR), immediate.write(token, next, HOUR)]).toEqual([true, false])
    expect(await cache.read(token)).toEqual(next)
    expect(immediate.read(newToken())).toBe(undefined)
  },

  'may be closed twice': async (cache) => {
    await store(cache, HOUR)
    await cache.close()
  },
}

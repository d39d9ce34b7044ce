import { describe, expect, test } from 'vitest'
import { memoryCache } from '../../src/memory/cache'
import type { JobCache } from '../../src/ports/cache'
import { cacheConformance } from '../../src/testing/cache-conformance'

type Run = () => Promise<void>

/** Caches that break one promise each. */
const BROKEN: Record<string, (cache: JobCache) => Partial<JobCache>> = {
  'does not say where its records are': () => ({ isLocal: undefined as never }),
  'writes without comparing': (cache) => ({
    write: async (token, record, ttl) => {
      const stored = await cache.read(token)
      const fitting = { ...record, version: (stored?.version ?? 0) + 1, incarnation: stored?.incarnation ?? 1 }
      return cache.write(token, fitting, ttl)
    },
  }),
  'compares no incarnation': (cache) => ({
    write: async (token, record, ttl) => {
      const stored = await cache.read(token)
      return cache.write(token, { ...record, incarnation: stored?.incarnation ?? record.incarnation }, ttl)
    },
  }),
  'creates a record as any version': (cache) => ({
    write: async (token, record, ttl) => {
      const version = (await cache.read(token)) === undefined ? 1 : record.version
      return cache.write(token, { ...record, version }, ttl)
    },
  }),
  'reads, then sets, with a turn between': (cache) => ({
    write: async (token, record, ttl) => {
      const stored = await cache.read(token)
      await new Promise((resolve) => setTimeout(resolve, 1))
      if ((stored?.version ?? 0) !== record.version - 1) return false
      overwrite(cache, token, record, ttl)
      return true
    },
  }),
  'confirms every write': (cache) => ({
    write: async (token, record, ttl) => {
      await cache.write(token, record, ttl)
      return true
    },
  }),
  'never forgets': (cache) => ({ write: (token, record) => cache.write(token, record, 86_400_000) }),
  'forgets at once': (cache) => ({ write: (token, record) => cache.write(token, record, 1) }),
  'forgets what lives for more than a month': (cache) => ({
    write: (token, record, ttl) => cache.write(token, record, ttl > 2 ** 31 ? 1 : ttl),
  }),
  'keeps the first time to live': (cache) => {
    const ttls = new Map<string, number>()
    return {
      write: (token, record, ttl) => {
        ttls.set(token, ttls.get(token) ?? ttl)
        return cache.write(token, record, ttls.get(token) ?? ttl)
      },
    }
  },
  'drops null fields': (cache) => ({
    read: async (token) => {
      const record = await cache.read(token)
      return record && JSON.parse(JSON.stringify(record, (_, value) => value ?? undefined))
    },
  }),
  'mixes tokens up': (cache) => ({
    read: (token) => cache.read(token.slice(0, 1)),
    write: (token, record, ttl) => cache.write(token.slice(0, 1), record, ttl),
  }),
  'turns the answers of writeMany round': (cache) => ({
    writeMany: async (entries) => (await cache.writeMany(entries)).reverse(),
  }),
  'writes all or nothing': (cache) => ({
    writeMany: async (entries) => {
      const answers = await cache.writeMany(entries)
      return answers.map(() => answers.every(Boolean))
    },
  }),
  'gives all of many the same time to live': (cache) => ({
    writeMany: (entries) => cache.writeMany(entries.map((entry) => ({ ...entry, ttl: entries[0]?.ttl ?? 1 }))),
  }),
  'cannot write nothing': (cache) => ({
    writeMany: async (entries) => {
      if (entries.length === 0) throw new Error('empty')
      return cache.writeMany(entries)
    },
  }),
  'cannot be closed twice': (cache) => {
    let isClosed = false
    return {
      close: async () => {
        if (isClosed) throw new Error('closed')
        isClosed = true
        await cache.close()
      },
    }
  },
  'answers at once from another register': () => ({ immediate: memoryCache().immediate as never }),
}

describe('the suite', () => {
  test('passes the reference implementation', async () => {
    expect(await findFailures(() => memoryCache())).toEqual([])
  })

  test.concurrent.each(Object.entries(BROKEN))('notices a cache that %s', async (_, breakCache) => {
    const failures = await findFailures(() => {
      const cache = memoryCache()
      const { immediate, ...asynchronous } = cache
      return { ...asynchronous, ...breakCache(cache) }
    })
    expect(failures).not.toEqual([])
  })

  test('shows a skipped test with its reason, and refuses to skip what it does not have', () => {
    const skipped: string[] = []
    const collect = Object.assign(() => {}, { skip: (name: string) => skipped.push(name) })
    const skip = { 'keeps tokens apart': 'it has one token' }
    cacheConformance({ test: collect, expect }, () => memoryCache(), { skip })
    expect(skipped).toEqual(['a cache keeps tokens apart (skipped: it has one token)'])
    const unknown = { skip: { 'keeps tokens apar': 'a slip' } }
    expect(() => cacheConformance({ test: collect, expect }, () => memoryCache(), unknown)).toThrow(
      /keeps tokens apar'/,
    )
  })

  test('closes its cache when a test fails', async () => {
    let open = 0
    await findFailures(() => {
      open++
      const cache = memoryCache()
      const close = async () => {
        open--
      }
      return { ...cache, read: () => Promise.reject(new Error('down')), close }
    })
    // One test closes its cache once more.
    expect(open).toBe(-1)
  })
})

/** Runs the suite on a cache and names the tests that failed. */
async function findFailures(makeCache: () => JobCache): Promise<string[]> {
  const tests = new Map<string, Run>()
  cacheConformance({ test: (name: string, run: Run) => tests.set(name, run), expect }, makeCache)
  const outcomes = [...tests].map(([name, run]) =>
    run().then(
      () => [],
      () => [name],
    ),
  )
  return (await Promise.all(outcomes)).flat()
}

/** Stores a record whatever is stored. */
function overwrite(cache: JobCache, ...[token, record, ttl]: Parameters<JobCache['write']>): void {
  const stored = cache.immediate?.read(token)
  const fitting = { version: (stored?.version ?? 0) + 1, incarnation: stored?.incarnation ?? record.incarnation }
  cache.immediate?.write(token, { ...record, ...fitting }, ttl)
}

import type { JobCache } from '../ports/cache'
import { CACHE_PROMISES } from './cache-promises'
import type { ConformanceTools } from './conformance'

/** What a cache cannot promise. */
export interface CacheConformanceOptions {
  /** The reason why a test does not apply, by the test's name without `a cache`. It is shown as skipped, with the reason. */
  skip?: Record<string, string>
}

/**
 * Tests each promise of the {@link JobCache} port on an adapter. Each test makes a cache of its own and closes it; the
 * tokens are new each time, so that the caches may share one store.
 *
 * @throws Error for a skipped test that does not exist.
 * @example
 * import { expect, test } from 'vitest'
 * cacheConformance({ test, expect }, () => memoryCache())
 */
export function cacheConformance(
  { test, expect }: ConformanceTools,
  makeCache: () => JobCache | Promise<JobCache>,
  { skip = {} }: CacheConformanceOptions = {},
): void {
  const unknown = Object.keys(skip).find((promise) => !Object.hasOwn(CACHE_PROMISES, promise))
  if (unknown !== undefined) throw new Error(`cacheConformance has no test 'a cache ${unknown}' that could be skipped.`)
  for (const [promise, check] of Object.entries(CACHE_PROMISES)) {
    const reason = skip[promise]
    if (reason === undefined) test(`a cache ${promise}`, () => withCache(makeCache, (cache) => check(cache, expect)))
    else skipTest(test, `a cache ${promise} (skipped: ${reason})`)
  }
}

/** Frameworks have `test.skip`; where there is none, the name alone says that nothing was tested. */
function skipTest(test: ConformanceTools['test'] & { skip?: ConformanceTools['test'] }, name: string): void {
  const register = test.skip ?? test
  register(name, async () => {})
}

async function withCache(
  makeCache: () => JobCache | Promise<JobCache>,
  check: (cache: JobCache) => Promise<void>,
): Promise<void> {
  const cache = await makeCache()
  try {
    await check(cache)
  } finally {
    await cache.close()
  }
}

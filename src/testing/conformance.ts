import { sleep } from '../core/timer'

/** What a conformance suite needs of a test framework: the `test` and `expect` of Vitest or Jest fit, node:test's `test` too. */
export interface ConformanceTools {
  test: (name: string, run: () => Promise<void>) => unknown
  expect: (actual: unknown) => { toBe(expected: unknown): void; toEqual(expected: unknown): void }
}

/** Waits for a state, not for a time: asks every few milliseconds, and rejects after `limit` of them. */
export async function until(isTrue: () => boolean | Promise<boolean>, limit = 5_000): Promise<void> {
  const deadline = Date.now() + limit
  while (!(await isTrue())) {
    if (Date.now() > deadline) throw new Error(`It did not become true within ${limit} ms: ${isTrue}`)
    await sleep(5)
  }
}

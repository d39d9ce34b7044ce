import { setTimeout as pause } from 'node:timers/promises'

const STEP = 20

/** Looks again and again until there is something to see, and answers it; gives up after `limit` milliseconds. */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  limit = 15_000,
): Promise<NonNullable<Exclude<T, false>>> {
  const end = Date.now() + limit
  for (;;) {
    const seen = await look()
    if (seen) return seen as NonNullable<Exclude<T, false>>
    if (Date.now() > end) throw new Error(`After ${limit} ms there is still no ${what}.`)
    await pause(STEP)
  }
}

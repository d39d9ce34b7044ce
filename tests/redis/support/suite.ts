// Loaded before any clock runs: under load the first import takes longer than a call may.
import 'bullmq'
import '@keyv/redis'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, type TestOptions } from 'vitest'
import { describeUnless, type Finisher } from '../../crew/shared-engine'
import { isRedisInstalled, type RedisOptions, RedisServer } from './redis-server'

const isInstalled = isRedisInstalled()
const ABSENT = 'redis-server is not installed'
const lack = (what: string) => ({ what, cure: 'install redis-server' })

/** Describes what needs any Redis: one of our own, else the one of `REDIS_URL`. */
export function describeWithRedis(name: string, options: TestOptions, body: () => void): void {
  const isThere = isInstalled || process.env.REDIS_URL !== undefined
  describeUnless(isThere ? undefined : lack(`${ABSENT}, and REDIS_URL is not set`), name, options, body)
}

/** Describes what needs a Redis that it can stop, kill and freeze. */
export function describeWithServer(name: string, options: TestOptions, body: () => void): void {
  describeUnless(isInstalled ? undefined : lack(ABSENT), name, options, body)
}

/** Starts a Redis for the suite that calls it, and ends it afterwards. */
function useServer(options: RedisOptions = {}): RedisServer {
  const server = new RedisServer(options)
  beforeAll(async () => {
    await server.start()
  })
  afterAll(() => server.close())
  return server
}

/** Where a suite finds its Redis. */
export interface RedisPlace {
  readonly url: string
  /** Makes a prefix that nobody else uses, because the Redis may be shared. */
  makePrefix(): string
}

/** Gives a suite a Redis that it does not control. */
export function useRedis(): RedisPlace {
  const makePrefix = () => `test-${randomUUID().slice(0, 8)}`
  if (isInstalled) {
    const server = useServer()
    return {
      makePrefix,
      get url() {
        return server.url
      },
    }
  }
  return { makePrefix, url: process.env.REDIS_URL ?? '' }
}

/** Starts a Redis that lasts as long as the test. */
export async function openServer({ onTestFinished }: Finisher, options: RedisOptions = {}): Promise<RedisServer> {
  const server = new RedisServer(options)
  onTestFinished(() => server.close())
  return server.start()
}

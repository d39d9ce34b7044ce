import { Keyv, type KeyvOptions } from 'keyv'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type JobRecord, transition } from '../../src/core/status'
import { keyvCache } from '../../src/keyv/cache'
import type { JobCache } from '../../src/ports/cache'
import { type Failure, PlainStore, RemoteStore } from './fake-stores'

const HOUR = 3_600_000
const TOKEN = '1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed'
const OTHER = '2b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed'
const DOWN = { name: 'AfterJobsError', code: 'CACHE_UNAVAILABLE' }

const SETTINGS: Record<string, KeyvOptions> = {
  'as it comes': {},
  'throwOnErrors: true': { throwOnErrors: true },
  'emitErrors: false': { emitErrors: false },
}
const CASES = Object.keys(SETTINGS).flatMap((settings) =>
  (['throws', 'answers false', 'emits'] satisfies Failure[]).flatMap((failure) =>
    [RemoteStore, PlainStore].map((Store) => ({ settings, failure, Store })),
  ),
)

const READ_CASES = CASES.filter(({ failure }) => failure !== 'answers false')

describe.each(READ_CASES)('a $Store.name that $failure, in a Keyv $settings', ({ settings, failure, Store }) => {
  test('rejects a read: a dead store is no missing record', async () => {
    const { cache, store } = make(Store, SETTINGS[settings])
    expect(await cache.read(TOKEN)).toBeUndefined()
    store.failure = failure
    await expect(cache.read(TOKEN)).rejects.toMatchObject({ ...DOWN, cause: { message: 'ECONNREFUSED' } })
    store.failure = undefined
    expect(await cache.read(TOKEN)).toBeUndefined()
  })
})

describe.each(CASES)('a $Store.name that $failure, in a Keyv $settings', ({ settings, failure, Store }) => {
  test('rejects writes: nothing was stored', async () => {
    const { cache, store } = make(Store, SETTINGS[settings])
    const entries = [TOKEN, OTHER].map((token) => ({ token, record: makeRecord(), ttl: HOUR }))
    store.failure = failure
    await expect(cache.write(TOKEN, makeRecord(), HOUR)).rejects.toMatchObject(DOWN)
    await expect(cache.writeMany(entries)).rejects.toMatchObject(DOWN)
    store.failure = undefined
    expect(await cache.writeMany(entries)).toEqual([true, true])
  })

  test('rejects a write whose read went well', async () => {
    const { cache, store } = make(Store, SETTINGS[settings])
    const first = makeRecord()
    await cache.write(TOKEN, first, HOUR)
    store.fails = () => store.calls.at(-1)?.startsWith('set') === true
    store.failure = failure
    await expect(cache.write(TOKEN, next(first), HOUR)).rejects.toMatchObject(DOWN)
    store.failure = undefined
    expect(await cache.read(TOKEN)).toEqual(first)
  })
})

test('an error without a message is told with its code', async () => {
  const { cache, store } = make(RemoteStore)
  const error = Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' })
  store.get = () => Promise.reject(error)
  await expect(cache.read(TOKEN)).rejects.toMatchObject({
    ...DOWN,
    message: expect.stringContaining(': ECONNREFUSED.'),
  })
})

test('a bulk write never takes failed reads for missing records', async () => {
  const { cache, store } = make(PlainStore)
  const entries = [TOKEN, OTHER].map((token) => ({ token, record: makeRecord(), ttl: HOUR }))
  await cache.writeMany(entries)
  store.fails = () => store.calls.at(-1)?.startsWith('get') === true
  store.failure = 'throws'
  const anew = entries.map((entry) => ({ ...entry, record: makeRecord() }))
  await expect(cache.writeMany(anew)).rejects.toMatchObject(DOWN)
  store.failure = undefined
  expect(await cache.read(TOKEN)).toEqual(entries[0]?.record)
})

describe('an error', () => {
  test('names the job by the beginning of its token, and what to do', async () => {
    const { cache, store } = make(RemoteStore)
    store.failure = 'throws'
    const message = 'keyvCache could not read job 1b9d6bcd: ECONNREFUSED. Check that the store behind the Keyv is up.'
    await expect(cache.read(TOKEN)).rejects.toMatchObject({ message })
  })

  test('reaches every listener of the user as before', async () => {
    const { cache, store, keyv } = make(RemoteStore)
    const heard: string[] = []
    keyv.on('error', () => heard.push('first'))
    store.failure = 'emits'
    const reading = cache.read(TOKEN)
    keyv.on('error', () => heard.push('second'))
    await expect(reading).rejects.toMatchObject(DOWN)
    expect(heard).toEqual(['first', 'second'])
  })

  test('between two calls harms neither', async () => {
    const { cache, keyv } = make(RemoteStore)
    await cache.read(TOKEN)
    keyv.emit('error', new Error('a reconnection failed'))
    expect(await cache.write(TOKEN, makeRecord(), HOUR)).toBe(true)
  })

  test('leaves no listener behind, nor does a call that goes well', async () => {
    const { cache, store, keyv } = make(RemoteStore)
    const before = store.listenerCount('error')
    await Promise.all([cache.read(TOKEN), cache.write(TOKEN, makeRecord(), HOUR)])
    store.failure = 'emits'
    await Promise.allSettled([cache.read(TOKEN), cache.read(OTHER)])
    expect(keyv.listeners('error')).toEqual([])
    expect(store.listenerCount('error')).toBe(before)
  })
})

describe('a store that hangs', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  test.each([
    ['read', (cache: JobCache) => cache.read(TOKEN)],
    ['write', (cache: JobCache) => cache.write(TOKEN, makeRecord(), HOUR)],
    ['writeMany', (cache: JobCache) => cache.writeMany([{ token: TOKEN, record: makeRecord(), ttl: HOUR }])],
  ])('makes %s reject after two seconds, and leaves no timer', async (_, call) => {
    const { cache } = make(RemoteStore, {}, 'hangs')
    const outcome = expect(call(cache)).rejects.toMatchObject({ ...DOWN, message: expect.stringContaining('2000 ms') })
    await vi.advanceTimersByTimeAsync(2_000)
    await outcome
    await vi.advanceTimersByTimeAsync(10_000)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('is timed by call: one that went well leaves no timer', async () => {
    const { cache } = make(RemoteStore)
    await cache.write(TOKEN, makeRecord(), HOUR)
    await cache.read(TOKEN)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('gets no write any more from a caller that was told of the failure', async () => {
    const { cache, store } = make(RemoteStore, {}, 'hangs')
    const outcome = expect(cache.write(TOKEN, makeRecord(), HOUR)).rejects.toMatchObject(DOWN)
    await vi.advanceTimersByTimeAsync(2_000)
    await outcome
    store.thaw()
    await vi.advanceTimersByTimeAsync(0)
    expect(store.calls.filter((call) => call.startsWith('set'))).toEqual([])
  })

  test('keeps a writer waiting behind a write that may still land, and no longer', async () => {
    const { cache, store } = make(RemoteStore)
    const first = makeRecord()
    store.failure = 'hangs'
    store.fails = () => store.calls.at(-1)?.startsWith('set') === true
    const late = expect(cache.write(TOKEN, first, HOUR)).rejects.toMatchObject(DOWN)
    await vi.advanceTimersByTimeAsync(2_000)
    await late
    // The store answers again; the write that hung lands now, so that the next one must not have been let past it.
    const second = cache.write(TOKEN, next(first), HOUR)
    await vi.advanceTimersByTimeAsync(500)
    store.thaw()
    expect(await second).toBe(true)
    expect(await cache.read(TOKEN)).toEqual(next(first))
  })

  test('blocks neither the readers of a token nor, after ten seconds, its writers', async () => {
    const { cache, store } = make(RemoteStore)
    store.failure = 'hangs'
    store.fails = () => store.calls.length === 1
    const lost = expect(cache.write(TOKEN, makeRecord(), HOUR)).rejects.toMatchObject(DOWN)
    await vi.advanceTimersByTimeAsync(2_000)
    await lost
    expect(await cache.read(TOKEN)).toBeUndefined()
    expect(await cache.write(OTHER, makeRecord(), HOUR)).toBe(true)
    await vi.advanceTimersByTimeAsync(8_000)
    expect(await cache.write(TOKEN, makeRecord(), HOUR)).toBe(true)
  })

  test('lets no waiting writer write after its own time is over', async () => {
    const { cache, store } = make(RemoteStore)
    store.failure = 'hangs'
    store.fails = () => store.calls.length === 1
    const outcomes = Promise.allSettled([1, 2, 3].map(() => cache.write(TOKEN, makeRecord(), HOUR)))
    await vi.advanceTimersByTimeAsync(60_000)
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(store.calls).toHaveLength(1)
  })
})

describe('close()', () => {
  test('leaves the Keyv to its owner, and may be called twice', async () => {
    const { cache, keyv } = make(RemoteStore)
    const disconnect = vi.spyOn(keyv, 'disconnect')
    await cache.close()
    await cache.close()
    expect(disconnect).not.toHaveBeenCalled()
    expect(await cache.read(TOKEN)).toBeUndefined()
  })
})

function make(Store: typeof RemoteStore, settings: KeyvOptions = {}, failure?: Failure) {
  const store = new Store()
  const keyv = new Keyv({ ...settings, store })
  store.failure = failure
  return { store, keyv, cache: keyvCache(keyv) }
}

function makeRecord(): JobRecord {
  const at = Date.now()
  const birth = { attempts: 1, parent: null, context: null, createdAt: at, delay: 0 }
  return transition(undefined, { type: 'queued', at, birth }) as JobRecord
}

function next(record: JobRecord): JobRecord {
  return { ...record, version: record.version + 1 }
}

import { Keyv } from 'keyv'
import { describe, expect, test } from 'vitest'
import { type JobRecord, transition } from '../../src/core/status'
import { keyvCache } from '../../src/keyv/cache'
import { cacheConformance } from '../../src/testing/cache-conformance'
import { PlainStore, RemoteStore } from './fake-stores'

const HOUR = 3_600_000
const TOKEN = '1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed'
const OTHER = '2b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed'

const KEYVS: Record<string, () => Keyv> = {
  'its default store': () => new Keyv(),
  'a remote store': () => new Keyv({ store: new RemoteStore() }),
  'a store without calls for many': () => new Keyv({ store: new PlainStore() }),
  'JSON as its serializer': () => new Keyv({ serialize: JSON.stringify, deserialize: JSON.parse }),
  'no serializer': () => withoutSerializer(new Keyv()),
}

describe.each(Object.entries(KEYVS))('a Keyv with %s', (_, makeKeyv) => {
  cacheConformance({ test, expect }, () => keyvCache(makeKeyv()))
})

describe('a mirroring cache', () => {
  cacheConformance({ test, expect }, () => keyvCache(new Keyv(), { mirror: true }))
})

describe('two caches of one process', () => {
  test.each([
    ['one Keyv', (store: RemoteStore, keyv = new Keyv({ store })) => [keyv, keyv]],
    ['two Keyvs over one store', (store: RemoteStore) => [new Keyv({ store }), new Keyv({ store })]],
  ])('over %s let one of a hundred writers win', async (_, makeKeyvs) => {
    const caches = makeKeyvs(new RemoteStore()).map((keyv) => keyvCache(keyv))
    const writers = Array.from({ length: 100 }, (_, index) => caches[index % 2]?.write(TOKEN, makeLife()[0], HOUR))
    expect((await Promise.all(writers)).filter((isWritten) => isWritten)).toHaveLength(1)
  })
})

describe('keys', () => {
  test('are the prefix and the token', async () => {
    const keyv = new Keyv()
    const [record] = makeLife()
    await keyvCache(keyv).write(TOKEN, record, HOUR)
    expect(await keyv.get(`traitement.${TOKEN}`)).toEqual(record)
    await keyvCache(keyv, { prefix: 'jobs' }).write(TOKEN, record, HOUR)
    expect(await keyv.get(`jobs.${TOKEN}`)).toEqual(record)
    await keyvCache(keyv, { prefix: '' }).write(TOKEN, record, HOUR)
    expect(await keyv.get(TOKEN)).toEqual(record)
  })

  test.each([0, -5, 0.5])('never live for ever, not with a ttl of %s either', async (ttl) => {
    const store = new RemoteStore()
    await keyvCache(new Keyv({ store }), { mirror: true }).write(TOKEN, makeLife()[0], ttl)
    expect([...store.values.values()].map((entry) => entry.ttl)).toEqual([1, 1, 1, 1])
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY])('are refused a ttl of %s', async (ttl) => {
    const write = keyvCache(new Keyv()).write(TOKEN, makeLife()[0], ttl)
    await expect(write).rejects.toMatchObject({ code: 'INVALID_OPTION', message: /milliseconds/ })
  })
})

describe('the mirror', () => {
  test('shows the three keys of the design, as long as the record', async () => {
    const keyv = new Keyv()
    const cache = keyvCache(keyv, { mirror: true })
    const seen: unknown[] = []
    for (const record of makeLife()) {
      await cache.write(TOKEN, record, HOUR)
      seen.push([
        await readMirror(keyv, 'status'),
        await readMirror(keyv, 'progress'),
        await readMirror(keyv, 'messageError'),
      ])
    }
    expect(seen).toEqual([
      ['pending', 0, null],
      ['running', 0, null],
      ['error', 0, 'The project does not exist'],
    ])
    const expiries = await Promise.all(
      ['', '.status', '.progress', '.messageError'].map((end) => readExpiry(keyv, end)),
    )
    for (const expiry of expiries) expect(Math.abs((expiry ?? 0) - (expiries[0] ?? 0))).toBeLessThan(100)
  })

  test('is written by writeMany too, and not by a refused write', async () => {
    const keyv = new Keyv()
    const cache = keyvCache(keyv, { mirror: true })
    const [queued, started] = makeLife()
    await cache.writeMany([{ token: TOKEN, record: queued, ttl: HOUR }])
    expect(await cache.writeMany([{ token: TOKEN, record: { ...started, version: 9 }, ttl: HOUR }])).toEqual([false])
    expect(await readMirror(keyv, 'status')).toBe('pending')
  })

  test('is absent unless asked for', async () => {
    const store = new RemoteStore()
    await keyvCache(new Keyv({ store })).write(TOKEN, makeLife()[0], HOUR)
    expect([...store.values.keys()]).toEqual([`keyv:traitement.${TOKEN}`])
  })

  test('fails the write before the record, so that the next attempt still fits', async () => {
    const store = new PlainStore()
    const cache = keyvCache(new Keyv({ store }), { mirror: true })
    const [queued, started] = makeLife()
    await cache.write(TOKEN, queued, HOUR)
    store.failure = 'throws'
    store.fails = (key) => key.endsWith('.progress')
    await expect(cache.write(TOKEN, started, HOUR)).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE' })
    store.failure = undefined
    expect(await cache.read(TOKEN)).toEqual(queued)
    expect(await cache.write(TOKEN, started, HOUR)).toBe(true)
  })
})

describe('round trips', () => {
  test('one read and one write for many records, where the store can', async () => {
    const store = new RemoteStore()
    const cache = keyvCache(new Keyv({ store }), { mirror: true })
    const entries = [TOKEN, OTHER].map((token) => ({ token, record: makeLife()[0], ttl: HOUR }))
    expect(await cache.writeMany(entries)).toEqual([true, true])
    expect(store.calls).toEqual(['getMany 2', 'setMany 8'])
  })

  test('no write where no entry is accepted', async () => {
    const store = new RemoteStore()
    expect(await keyvCache(new Keyv({ store })).write(TOKEN, makeLife()[1], HOUR)).toBe(false)
    expect(store.calls).toEqual([`get keyv:traitement.${TOKEN}`])
  })
})

test.each([undefined, null, 'redis://localhost', {}, new Set(), { get() {} }])(
  '%o is no Keyv, and told at once',
  (keyv) => {
    const message = expect.stringMatching(/^keyvCache.*expected a Keyv/)
    expect(() => keyvCache(keyv as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }))
  },
)

test.each([{ mirorr: true }, { ttl: 5 }, null, 'traitement'])('options %j are refused', (options) => {
  const message = expect.stringMatching(/^keyvCache .*option/)
  const make = () => keyvCache(new Keyv(), options as never)
  expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }))
})

describe('a value that is no record', () => {
  const foreign: unknown[] = [null, 'done', 7, true, [], {}, { version: 1 }, { ...makeLife()[0], status: 'unknown' }]

  test.each(foreign.map((value) => [value]))('%j: is an error, not a missing record', async (value) => {
    const keyv = new Keyv()
    await keyv.set(`traitement.${TOKEN}`, value)
    const expected = { code: 'CACHE_UNAVAILABLE', message: expect.stringContaining('no record') }
    await expect(keyvCache(keyv).read(TOKEN)).rejects.toMatchObject(expected)
    await expect(keyvCache(keyv).write(TOKEN, makeLife()[0], HOUR)).rejects.toMatchObject(expected)
    expect(await keyv.get(`traitement.${TOKEN}`)).toEqual(value)
  })

  test.each(['{"a', '5', '"text"', '{}'])('%s: the same for what Keyv itself did not write', async (value) => {
    const store = new RemoteStore()
    store.values.set(`keyv:traitement.${TOKEN}`, { value, ttl: undefined })
    await expect(keyvCache(new Keyv({ store })).read(TOKEN)).rejects.toMatchObject({ code: 'CACHE_UNAVAILABLE' })
  })

  test('fields that a newer version added are no harm', async () => {
    const keyv = new Keyv()
    const record = { ...makeLife()[0], added: 1 }
    await keyv.set(`traitement.${TOKEN}`, record)
    expect(await keyvCache(keyv).read(TOKEN)).toEqual(record)
  })
})

describe('isLocal', () => {
  test('is true over a Map, and over nothing else', () => {
    expect(keyvCache(new Keyv()).isLocal).toBe(true)
    expect(keyvCache(new Keyv({ store: new Map() })).isLocal).toBe(true)
    expect(keyvCache(new Keyv({ store: new RemoteStore() })).isLocal).toBe(false)
    const { get, set } = new Keyv()
    expect(keyvCache({ get, set }).isLocal).toBe(false)
  })
})

/** The three records of a job that fails. */
function makeLife(): [JobRecord, JobRecord, JobRecord] {
  const at = Date.now()
  const birth = { attempts: 1, parent: null, context: null, createdAt: at, delay: 0 }
  const queued = transition(undefined, { type: 'queued', at, birth }) as JobRecord
  const started = transition(queued, { type: 'started', at, runId: 7, attempt: 1, birth }) as JobRecord
  const outcome = { status: 'error', code: 'failed', message: 'The project does not exist' } as const
  return [queued, started, transition(started, { type: 'finished', at, runId: 7, outcome, birth }) as JobRecord]
}

function withoutSerializer(keyv: Keyv): Keyv {
  keyv.serialize = undefined
  keyv.deserialize = undefined
  return keyv
}

function readMirror(keyv: Keyv, field: string): Promise<unknown> {
  return keyv.get(`traitement.${TOKEN}.${field}`)
}

async function readExpiry(keyv: Keyv, end: string): Promise<number | undefined> {
  return (await keyv.getRaw(`traitement.${TOKEN}${end}`))?.expires
}

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { PGlite } from '@electric-sql/pglite'
import { Pool } from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Database, openDatabase } from '../../src/postgres/database'
import type { Finisher } from '../crew/shared-engine'
import { until } from '../crew/until'
import { rejection } from '../engine/support/runtime'
import { describeWithPostgres, describeWithServer, makeName, openServer, usePostgres } from './support/suite'

vi.setConfig({ maxConcurrency: 2 })
const OPTIONS = { concurrent: true, timeout: 60_000 }
const WAYS = ['stop', 'crash', 'kill'] as const

/** Listens to a channel, and keeps what is heard. */
function listen({ onTestFinished }: Finisher, database: Database, channel: string) {
  const notices: string[] = []
  const troubles: string[] = []
  const listening = database.listen(
    channel,
    (payload) => notices.push(payload),
    ({ message }) => troubles.push(message),
  )
  onTestFinished(() => listening.close())
  return { notices, troubles, listening }
}

function open({ onTestFinished }: Finisher, source: Parameters<typeof openDatabase>[0]): Database {
  const database = openDatabase(source, 'test')
  onTestFinished(() => database.close())
  return database
}

const notify = (database: Database, channel: string, payload: string) =>
  database.query('SELECT pg_notify($1, $2)', [channel, payload])

describeWithPostgres('a database', OPTIONS, () => {
  const postgres = usePostgres()
  const memory = new PGlite()
  // It blocks the process while it starts, and times are measured here.
  beforeAll(() => memory.waitReady, 60_000)
  afterAll(() => memory.close())
  const sources = {
    'at a URL': () => ({ url: postgres.url }),
    'by a pool with one connection': () => ({ pool: new Pool({ connectionString: postgres.url, max: 1 }) }),
    'in this process': () => ({ pglite: memory }),
  }

  test.for(Object.entries(sources))('%s answers statements, alone and several at once', async ([, source], context) => {
    const database = open(context, source())
    expect((await database.query('SELECT $1::text AS word', ['a'])).rows).toEqual([{ word: 'a' }])
    expect((await database.query("SELECT 1 AS one; SELECT 'b' AS word")).rows).toEqual([{ one: 1 }, { word: 'b' }])
  })

  test.for(Object.entries(sources))(
    '%s is not spoilt by a transaction that has failed',
    async ([, source], context) => {
      const database = open(context, source())
      expect(await rejection(database.query('BEGIN; SELECT 1 / 0; COMMIT'))).toMatchObject({ code: '22012' })
      for (let turn = 0; turn < 12; turn++)
        expect((await database.query('SELECT 1 AS one', [])).rows).toEqual([{ one: 1 }])
    },
  )

  test.for(Object.entries(sources))('%s is heard, until the channel is closed', async ([, source], context) => {
    const database = open(context, source())
    const channel = makeName()
    const { notices, troubles, listening } = listen(context, database, channel)
    await until('beginning', () => notices.length > 0)
    await notify(database, channel, 'first')
    await until('notice', () => notices.includes('first'))
    await listening.close()
    await notify(database, channel, 'second')
    await database.query('SELECT 1', [])
    expect([notices, troubles]).toEqual([['', 'first'], []])
  })

  test('asks one thing at a time on the connection that listens, which pg would warn of', async (context) => {
    const warnings: string[] = []
    const warn = ({ message }: Error) => warnings.push(message)
    process.on('warning', warn)
    context.onTestFinished(() => void process.off('warning', warn))
    const { notices, listening } = listen(context, open(context, { url: postgres.url }), makeName())
    await until('beginning', () => notices.length > 0)
    const refused = rejection(Promise.resolve(listening.query?.('SELECT 1 / 0')))
    const answers = [1, 2, 3].map((number) => listening.query?.('SELECT $1::int AS number', [number]))
    expect(await Promise.all(answers)).toEqual([[{ number: 1 }], [{ number: 2 }], [{ number: 3 }]])
    expect(await refused).toMatchObject({ code: '22012' })
    expect(warnings).toEqual([])
  })

  test('shares its connections with others at the same URL, and closes with the last of them', async (context) => {
    const url = `${postgres.url}?application_name=${makeName()}`
    const [first, second] = [open(context, { url }), open(context, { url })]
    const count = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE application_name = current_setting('application_name')`
    await first.query('SELECT 1', [])
    expect((await second.query(count, [])).rows).toEqual([{ count: 1 }])
    await first.close()
    expect((await second.query(count, [])).rows).toEqual([{ count: 1 }])
    expect(await rejection(first.query('SELECT 1', []))).toMatchObject({ message: expect.stringContaining('closed') })
  })

  test('gives a statement no more than its time', async (context) => {
    const database = open(context, { url: postgres.url })
    await database.query('SELECT 1', [])
    const begin = Date.now()
    const error = await rejection(database.query('SELECT pg_sleep(20)', [], 200))
    expect(error).toMatchObject({ message: 'PostgreSQL gave no answer within 200 ms' })
    expect(Date.now() - begin).toBeLessThan(3_000)
  })
})

describeWithServer('a table that somebody has locked', OPTIONS, () => {
  test('makes no crowd of connections, and can be read afterwards', async (context) => {
    const server = await openServer(context)
    const database = open(context, { url: server.url })
    await database.query('CREATE TABLE busy (id integer)')
    await server.ask(async (client) => {
      await client.query('BEGIN; LOCK TABLE busy')
      for (let turn = 0; turn < 20; turn++) await rejection(database.query('SELECT * FROM busy', [], 100))
      const others = `SELECT count(*)::int AS count FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`
      expect((await client.query(others)).rows).toEqual([{ count: 10 }])
    })
    expect((await database.query('SELECT * FROM busy', [])).rows).toEqual([])
  })
})

/** A server whose connections are lost in the moment they are made: it says that it is ready, and that it ends, in one packet. */
async function openLeavingServer({ onTestFinished }: Finisher): Promise<string> {
  const message = (type: string, ...body: number[]) => [type.charCodeAt(0), 0, 0, 0, 4 + body.length, ...body]
  const text = (field: string) => [...Buffer.from(field), 0]
  const farewell = message('E', ...text('SFATAL'), ...text('C57P01'), ...text('Mterminating connection'), 0)
  const packet = Buffer.from([...message('R', 0, 0, 0, 0), ...message('Z', 'I'.charCodeAt(0)), ...farewell])
  const server = createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end(packet)))
  onTestFinished(() => void server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return `postgres://127.0.0.1:${(server.address() as AddressInfo).port}/postgres`
}

test('a connection that is lost in the moment it is made fails its statement, and not the process', async (context) => {
  const database = open(context, { url: await openLeavingServer(context) })
  expect(await rejection(database.query('SELECT 1', []))).toBeInstanceOf(Error)
})

describeWithServer('a server that is lost', OPTIONS, () => {
  test.for(WAYS)('by %s is told once to who listens, and is heard again when it is back', async (way, context) => {
    const server = await openServer(context)
    const database = open(context, { url: server.url })
    const { notices, troubles } = listen(context, database, 'news')
    await until('beginning', () => notices.length === 1)
    await server[way]()
    await until('trouble', () => troubles.length > 0)
    const begin = Date.now()
    await rejection(database.query('SELECT 1', [], 500))
    expect(Date.now() - begin).toBeLessThan(3_000)
    await server.restart()
    await until('new beginning', () => notices.length === 2)
    await until('notice', async () => {
      await notify(database, 'news', 'after').catch(() => {})
      return notices.includes('after')
    })
    expect(troubles).toHaveLength(1)
  })

  test('by a freeze hinders neither closing nor those who come after it', async (context) => {
    const server = await openServer(context)
    const database = open(context, { url: server.url })
    const { notices, listening } = listen(context, database, 'news')
    await until('beginning', () => notices.length === 1)
    server.freeze()
    const begin = Date.now()
    await rejection(database.query('SELECT 1', [], 500))
    await listening.close()
    await database.close()
    expect(Date.now() - begin).toBeLessThan(4_000)
    server.thaw()
    expect((await open(context, { url: server.url }).query('SELECT 1 AS one', [])).rows).toEqual([{ one: 1 }])
  })
})

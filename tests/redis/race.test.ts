import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { inspect } from 'node:util'
import type { Hook } from 'after-jobs'
import { redisCache } from 'after-jobs/redis'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { JobRecord } from '../../src/core/status'
import { changesByWriter } from '../core/status-changes'
import { expectRules, isAllowed } from '../core/status-rules'
import { eventually, type Finisher } from '../crew/shared-engine'
import { makeGate } from '../engine/support/runtime'
import { openClient, openNeighbours } from './support/neighbours'
import type { Leg, Trace } from './support/racer'
import { describeWithRedis, useRedis } from './support/suite'

const ROOT = resolve(import.meta.dirname, '../..')
const RACES = 500

/** Starts a process that changes records when it is told to. */
async function startRacer({ onTestFinished }: Finisher, url: string, prefix: string) {
  const child: ChildProcess = fork(join(import.meta.dirname, 'support/racer.ts'), [url, prefix], {
    execArgv: ['--import', 'tsx'],
    env: { ...process.env, TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json') },
    // JSON would lose what is no number.
    serialization: 'advanced',
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child, 'message')
  return async (leg: Leg): Promise<Trace> => {
    child.send(leg)
    return (await once(child, 'message'))[0] as Trace
  }
}

describeWithRedis('the record of one token', { timeout: 60_000 }, () => {
  const redis = useRedis()

  test('has one history, without a gap, in which every rule holds, though three processes race', async (context) => {
    const prefix = redis.makePrefix()
    const cache = redisCache({ url: redis.url, prefix })
    context.onTestFinished(() => cache.close())
    const racers = await Promise.all([1, 2, 3].map(() => startRacer(context, redis.url, prefix)))
    let lost = 0
    for (const lists of fc.sample(changesByWriter, RACES)) {
      const token = crypto.randomUUID()
      const traces = await Promise.all(racers.map((race, index) => race({ token, changes: lists[index] ?? [] })))
      const history = traces.flatMap(({ steps }) => steps).sort((a, b) => a.record.version - b.record.version)
      let record: JobRecord | undefined
      for (const { change, record: next } of history) {
        expect(isAllowed(record, change), inspect(history, { depth: null })).toBe(true)
        expectRules(record, change, next)
        record = next
      }
      expect(await cache.read(token)).toEqual(record)
      for (const trace of traces) lost += trace.lost
    }
    // Otherwise there was no race.
    expect(lost).toBeGreaterThan(RACES / 10)
  })

  test('that was deleted under a stalled run, and made anew by the next one, takes no end of the first', async (context) => {
    const [stalled, taken] = [makeGate(), makeGate()]
    const neighbours = openNeighbours(context, redis)
    const client = openClient(context, redis)
    const often = { stalledInterval: 300 }
    const first = neighbours.add({ afterCreateJob: () => stalled.opened.then(() => ({ result: 'first' })) }, often)
    const hook: Hook = async (_id, _token, progress) => {
      progress.set(50)
      await taken.opened
      return { result: 'second' }
    }
    const second = neighbours.add({ afterCreateJob: hook }, often)
    const token = await first.start()
    first.jobs.work()
    await eventually(async () => expect(await first.jobs.status(token)).toMatchObject({ status: 'running' }))
    const held = first.cache.versions(token).at(-1)
    await client.del(`${neighbours.prefix}.${token}`, `${neighbours.queuePrefix}:after-jobs:${token}:lock`)
    second.jobs.work()
    // Of the very version that the first one holds, and yet another record.
    const anew = [{}, { progress: 50, version: held?.version }]
    await eventually(() => expect(second.cache.versions(token)).toMatchObject(anew))

    const { write } = first.cache.calls
    stalled.open()
    await eventually(() => expect(first.cache.calls.write).toBeGreaterThan(write))
    taken.open()
    expect(await second.jobs.settled(token)).toMatchObject({ status: 'done', result: 'second' })
    await second.jobs.drain()
    expect(first.cache.versions(token).at(-1)).toEqual(held)
    expect(first.events.map(({ event }) => event)).toEqual(['queued', 'started'])
  })
})

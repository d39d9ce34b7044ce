import { type JobRecord, memoryQueue } from 'after-jobs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Script, scripts, World } from './support/random-world'
import { isFinal, makeBench, turns } from './support/runtime'

type Wrongs = [boolean, string][]

/** Names what is wrong with the records of one token: each version follows from the one before it. */
function wrongVersions(versions: JobRecord[]): Wrongs {
  const finals = versions.filter(({ status }) => isFinal(status))
  const steps = versions.slice(1).map((next, index) => [versions[index] as JobRecord, next] as const)
  return [
    [finals.length !== 1 || finals[0] !== versions.at(-1), `statuses ${versions.map(({ status }) => status)}`],
    [
      versions.some(({ version }, index) => version !== index + 1),
      `versions ${versions.map(({ version }) => version)}`,
    ],
    [
      steps.some(([a, b]) => a.run === b.run && b.status === 'running' && b.progress < a.progress),
      'progress went back',
    ],
    [steps.some(([a, b]) => b.updatedAt < a.updatedAt || b.attempt < a.attempt), 'time or attempt went back'],
    [versions.some(({ progress, status }) => (progress === 100) !== (status === 'done')), '100 without done'],
    [versions.some(({ attempt, attempts }) => attempt > attempts), 'more attempts than allowed'],
  ]
}

/** Names what is wrong with what was told of one token. */
function wrongStory(world: World, token: string, versions: JobRecord[]): Wrongs {
  const end = versions.at(-1)
  const events = world.bench.events.filter((event) => event.token === token).map(({ event }) => event)
  const count = (name: string) => events.filter((event) => event === name).length
  const claims = new Set(versions.filter(({ status }) => status === 'running').map(({ run }) => run)).size
  const failures = world.failures.get(token) ?? 0
  const starts = world.starts.get(token) ?? 0
  const isCancelled = end?.code === 'cancelled'
  return [
    [count('done') + count('error') !== 1 || count(end?.status ?? '') !== 1, `events ${events} of ${end?.status}`],
    [count('queued') !== 1, `queued ${count('queued')} times`],
    [count('started') !== claims || starts > claims, `${count('started')} events, ${starts} starts, ${claims} claims`],
    [failures !== (end?.status === 'error' ? 1 : 0), `JobFailed ${failures} times after ${end?.status} ${end?.code}`],
    [world.cancelled.has(token) && !isCancelled, `cancelled, and yet ${end?.status} ${end?.code}`],
  ]
}

/** Names everything that is wrong at the end of a script. */
async function wrongsOf(world: World, { isClosed }: Script): Promise<string[]> {
  const { bench, accepted, refused } = world
  const wrongs: Wrongs = [[world.hasExceeded, 'more ran at once than workers allow']]
  for (const token of new Set(accepted)) {
    const versions = bench.cache.versions(token).toSorted((a, b) => a.version - b.version)
    const { status } = await bench.jobs.status(token)
    wrongs.push([status !== versions.at(-1)?.status || !isFinal(status), `the status is ${status} in the end`])
    wrongs.push(...wrongVersions(versions), ...wrongStory(world, token, versions))
    const isDropped = isClosed && versions.at(-1)?.message?.includes('closed')
    const isUnexplained = versions.at(-1)?.code === 'cancelled' && !world.cancelled.has(token) && !isDropped
    wrongs.push([isUnexplained, 'cancelled by nobody'])
  }
  const ends = new Map(bench.cache.writes.map(({ token, record }) => [token, record.code]))
  const strays = [...ends].filter(([token, code]) => !accepted.includes(token) && code !== 'enqueue_failed')
  wrongs.push([strays.length > 0, `${strays.length} records of jobs that nobody was told of`])
  wrongs.push([refused.some(({ code }) => code !== 'QUEUE_FULL'), `refused ${refused.map(({ code }) => code)}`])
  const { waiting, active } = await bench.jobs.health()
  wrongs.push([waiting + active > 0, `${waiting} wait and ${active} are active in the end`])
  return wrongs.filter(([isWrong]) => isWrong).map(([, what]) => what)
}

describe('a random life', () => {
  test('ends every job once, tells it once, compensates once, and loses none', async () => {
    let jobs = 0
    const property = fc.asyncProperty(scripts, async (script) => {
      const world = new World(script)
      await world.play(script)
      jobs += world.accepted.length
      expect(await wrongsOf(world, script)).toEqual([])
    })
    await fc.assert(property, { numRuns: 250, interruptAfterTimeLimit: 18_000 })
    expect(jobs).toBeGreaterThan(1_000)
  }, 40_000)
})

describe('a thousand jobs at once', () => {
  test.each([1, 10, 100])('each gets a token of its own and ends, %i at a time', async (concurrency) => {
    let [now, most] = [0, 0]
    const seen = new Map<string, unknown>()
    const bench = makeBench(
      {
        async afterCreateJob(id, token) {
          most = Math.max(most, ++now)
          seen.set(token, id)
          await turns(1)
          now--
          if (Number(id) % 10 === 0) throw new Error('every tenth')
          return { result: id }
        },
      },
      { queue: memoryQueue({ concurrency }) },
    )
    const tokens = await Promise.all(Array.from({ length: 1_000 }, (_, id) => bench.start(id)))
    await bench.jobs.drain()
    expect(new Set(tokens).size).toBe(1_000)
    expect(tokens.map((token) => seen.get(token))).toEqual(tokens.map((_, id) => id))
    const statuses = await Promise.all(tokens.map((token) => bench.jobs.status(token)))
    const expected = tokens.map((token, id) =>
      id % 10 === 0 ? { token, status: 'error', result: null } : { token, status: 'done', result: id },
    )
    expect(statuses).toMatchObject(expected)
    expect(most).toBe(concurrency)
  })

  test('of which half are cancelled at once end all the same', async () => {
    const bench = makeBench({ afterCreateJob: () => turns(1) }, { queue: memoryQueue({ concurrency: 7 }) })
    const tokens = await Promise.all(Array.from({ length: 1_000 }, (_, id) => bench.start(id)))
    const cancels = await Promise.all(tokens.map((token, index) => index % 2 === 0 && bench.jobs.cancel(token)))
    await bench.jobs.drain()
    const statuses = await Promise.all(tokens.map((token) => bench.jobs.status(token)))
    expect(statuses.map(({ status }) => status)).toEqual(cancels.map((isCancelled) => (isCancelled ? 'error' : 'done')))
    expect(cancels.filter(Boolean).length).toBeGreaterThan(400)
  })
})

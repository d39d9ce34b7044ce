import { attachAfterJobs, createAfterJobs, type Hook, type JobStatus, memoryCache, memoryQueue } from 'after-jobs'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { makeBench, makeGate, rejection, turns } from './support/runtime'
import { distantCache, faultyCache } from './support/spies'
import { stubQueue } from './support/stub-queue'

afterEach(() => {
  vi.useRealTimers()
})

const rollback = new Error('rollback')
const codeOf = (status: JobStatus) => (status.status === 'error' ? status.code : status.status)

describe('a transaction', () => {
  test('holds its jobs until the function has resolved, and answers what that answers', async () => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const commit = makeGate()
    let token = ''
    const done = jobs.transaction(async () => {
      token = await start(1)
      await commit.opened
      return 'answer'
    })
    await turns(20)
    expect(await jobs.status(token)).toMatchObject({ status: 'pending', attempt: 0 })
    expect(await jobs.health()).toMatchObject({ waiting: 0, active: 0 })
    expect(hook).not.toHaveBeenCalled()
    commit.open()
    expect(await done).toBe('answer')
    expect(await jobs.settled(token)).toMatchObject({ status: 'done' })
    expect(hook).toHaveBeenCalledOnce()
  })

  test.each<[string, () => unknown]>([
    ['rejects', () => Promise.reject(rollback)],
    [
      'throws',
      () => {
        throw rollback
      },
    ],
  ])('drops them when the function %s: no hook runs, no compensation, no event', async (_, end) => {
    const [hook, failed, heard] = [vi.fn(), vi.fn(), vi.fn()]
    const { jobs, start } = makeBench({ afterCreateJob: hook, afterCreateJobFailed: failed })
    for (const event of ['queued', 'started', 'done', 'error'] as const) jobs.on(event, heard)
    const started: Promise<string>[] = []
    const failure = jobs.transaction(() => {
      // Not awaited, and it belongs to the transaction all the same.
      started.push(start(1))
      return end()
    })
    expect(await rejection(failure)).toBe(rollback)
    await turns(20)
    const token = (await started[0]) as string
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
    expect([hook, failed, heard].map((spy) => spy.mock.calls.length)).toEqual([0, 0, 0])
  })

  test('takes executeJobs and automatic starts, too', async () => {
    const ran: unknown[] = []
    const jobs = createAfterJobs()
    const crud = { create: async (id: number) => ({ id }), afterCreateJob: (id: unknown) => void ran.push(id) }
    const service = attachAfterJobs(crud, { jobs, auto: ['create'] })
    const create = async () => {
      await service.create(1)
      await service.executeJobs('after', 'create', [2, 3])
      await turns(5)
      expect(ran).toEqual([])
    }
    await jobs.transaction(create)
    await jobs.drain()
    expect(ran).toEqual([1, 2, 3])
    await rejection(jobs.transaction(() => create().then(() => Promise.reject(rollback))))
  })

  test('passes the jobs of an inner success outward, and drops those of an inner failure', async () => {
    const ran: unknown[] = []
    const { jobs, start } = makeBench({ afterCreateJob: (id) => void ran.push(id) })
    await jobs.transaction(async () => {
      await start('outer')
      await jobs.transaction(() => start('kept'))
      await rejection(jobs.transaction(() => start('dropped').then(() => Promise.reject(rollback))))
      await turns(5)
      expect(ran).toEqual([])
    })
    await jobs.drain()
    expect(ran).toEqual(['outer', 'kept'])
  })

  test('nested at random, runs exactly what no rollback took with it', async () => {
    interface Node {
      fails: boolean
      children: Node[]
    }
    const node: fc.Memo<Node> = fc.memo((depth) =>
      fc.record({
        fails: fc.boolean(),
        children: depth > 1 ? fc.array(node(depth - 1), { maxLength: 3 }) : fc.constant([]),
      }),
    )
    const property = fc.asyncProperty(node(4), async (root) => {
      const ran: unknown[] = []
      const { jobs, start } = makeBench({ afterCreateJob: (id) => void ran.push(id) })
      const [expected, tokens]: [string[], Map<string, string>] = [[], new Map()]
      const visit = async ({ fails, children }: Node, path: string, isLost: boolean): Promise<void> => {
        const isGone = isLost || fails
        const run = jobs.transaction(async () => {
          tokens.set(path, await start(path))
          if (!isGone) expected.push(path)
          for (const [index, child] of children.entries()) await visit(child, `${path}.${index}`, isGone)
          if (fails) throw rollback
        })
        await run.catch(() => {})
      }
      await visit(root, '0', false)
      await jobs.drain()
      expect(ran.toSorted()).toEqual(expected.toSorted())
      for (const [path, token] of tokens) {
        expect(codeOf(await jobs.status(token))).toBe(expected.includes(path) ? 'done' : 'cancelled')
      }
    })
    await fc.assert(property, { numRuns: 100 })
  })

  test('keeps those of concurrent callers apart', async () => {
    const ran = new Set<unknown>()
    const { jobs, start } = makeBench({ afterCreateJob: (id) => void ran.add(id) })
    const one = async (id: number) => {
      await jobs.transaction(async () => {
        await start(id)
        for (let turn = 0; turn < id % 5; turn++) await null
        if (id % 3 === 0) throw rollback
      })
    }
    await Promise.allSettled(Array.from({ length: 500 }, (_, id) => one(id)))
    await jobs.drain()
    expect(ran.size).toBe(333)
    expect([...ran].some((id) => (id as number) % 3 === 0)).toBe(false)
  })

  test('gives the tokens of its scope', async () => {
    const jobs = createAfterJobs()
    const service = attachAfterJobs({ afterCreateJob() {} }, { jobs })
    await jobs.scope(async () => {
      const token = await jobs.transaction(() => service.executeJob('after', 'create', 7))
      expect(service.getJobToken()).toBe(token)
    })
  })
})

describe('a failed enqueue after the commit', () => {
  test('rejects nothing: the token ends as enqueue_failed, and is compensated for', async () => {
    const failed = vi.fn()
    const queue = memoryQueue({ autoStart: false, maxWaiting: 1 })
    const { jobs, start } = makeBench({ afterCreateJob() {}, afterCreateJobFailed: failed }, { queue })
    const tokens = await jobs.transaction(async () => [await start(1), await start(2)])
    expect(await Promise.all(tokens.map(async (token) => codeOf(await jobs.status(token))))).toEqual([
      'pending',
      'enqueue_failed',
    ])
    await vi.waitFor(() => expect(failed).toHaveBeenCalledOnce())
    expect(failed.mock.calls[0]?.slice(0, 2)).toEqual([2, tokens[1]])
  })

  test('on a queue that processes share, too', async () => {
    const [queue, failed] = [stubQueue(), vi.fn()]
    const service = { afterCreateJob() {}, afterCreateJobFailed: failed }
    const jobs = createAfterJobs({ queue, cache: distantCache() })
    const bound = attachAfterJobs(service, { jobs, name: 'bench' })
    queue.enqueue.mockRejectedValue(new Error('away'))
    const token = (await jobs.transaction(() => bound.executeJob('after', 'create', 1))) as string
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
    expect(failed).toHaveBeenCalledOnce()
  })

  test('that the cache stores later than anyone waited is compensated for, and told, all the same', async () => {
    vi.useFakeTimers()
    const [queue, failed, told] = [stubQueue(), vi.fn(), vi.fn()]
    const [inner, gate] = [distantCache(), makeGate()]
    const slow: typeof inner.write = async (token, record, ttl) => {
      if (record.status === 'error') await gate.opened
      return inner.write(token, record, ttl)
    }
    const jobs = createAfterJobs({ queue, cache: { ...inner, write: slow }, enqueueTimeout: 1 })
    jobs.on('error', told)
    const bound = attachAfterJobs({ afterCreateJob() {}, afterCreateJobFailed: failed }, { jobs, name: 'bench' })
    queue.enqueue.mockRejectedValue(new Error('away'))
    const transacting = jobs.transaction(() => bound.executeJob('after', 'create', 1))
    // Longer than any caller is kept waiting for the verdict.
    await vi.advanceTimersByTimeAsync(1_000)
    expect(failed).not.toHaveBeenCalled()
    gate.open()
    const token = (await transacting) as string
    expect(await jobs.status(token)).toMatchObject({ status: 'error', code: 'enqueue_failed' })
    await vi.advanceTimersByTimeAsync(0)
    expect(failed).toHaveBeenCalledOnce()
    expect(failed.mock.calls[0]?.[2]).toMatchObject({ code: 'ENQUEUE_FAILED', token })
    expect(told).toHaveBeenCalledOnce()
  })
})

describe('held jobs', () => {
  test('are kept alive, however long the transaction takes, and can be cancelled', async () => {
    vi.useFakeTimers()
    const queue = stubQueue()
    queue.lookup = { state: 'absent' }
    const jobs = createAfterJobs({ queue, cache: distantCache() })
    const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'bench' })
    const commit = makeGate()
    let tokens: string[] = []
    const done = jobs.transaction(async () => {
      tokens = await service.executeJobs('after', 'create', [1, 2])
      await commit.opened
    })
    await vi.advanceTimersByTimeAsync(0)
    for (let minute = 0; minute < 30; minute++) {
      await vi.advanceTimersByTimeAsync(60_000)
      expect(await jobs.status(tokens[0] as string)).toMatchObject({ status: 'pending' })
    }
    expect(await jobs.cancel(tokens[1] as string)).toBe(true)
    commit.open()
    await done
    expect(queue.accepted.map(({ token }) => token)).toContain(tokens[0])
    expect(await jobs.status(tokens[1] as string)).toMatchObject({ status: 'error', code: 'cancelled' })
  })

  test('whose process died end as worker_lost', async () => {
    vi.useFakeTimers()
    const [queue, cache] = [stubQueue(), distantCache()]
    queue.lookup = { state: 'absent' }
    const dying = createAfterJobs({ queue: stubQueue(), cache })
    const service = attachAfterJobs({ afterCreateJob() {} }, { jobs: dying, name: 'bench' })
    let token = ''
    void dying.transaction(async () => {
      token = (await service.executeJob('after', 'create', 1)) as string
      await new Promise(() => {})
    })
    await vi.advanceTimersByTimeAsync(0)
    vi.clearAllTimers()
    const reader = createAfterJobs({ queue, cache })
    for (let step = 0; step < 30; step++) {
      await reader.status(token)
      await vi.advanceTimersByTimeAsync(1_000)
    }
    expect(await reader.status(token)).toMatchObject({ status: 'error', code: 'worker_lost' })
  })

  test('survive a cache that is away for a while', async () => {
    const cache = faultyCache()
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook }, { cache })
    await jobs.transaction(async () => {
      cache.fault = 'rejects'
      await start(1)
      cache.fault = 'none'
    })
    await jobs.drain()
    expect(hook).toHaveBeenCalledOnce()
  })
})

describe('is refused', () => {
  test('dedupe inside', async () => {
    const { jobs, start } = makeBench({ afterCreateJob() {} })
    expect(await rejection(jobs.transaction(() => start(1, { dedupe: 'k' })))).toMatchObject({ code: 'INVALID_OPTION' })
  })

  test('a service of another runtime', async () => {
    const [one, other] = [makeBench({ afterCreateJob() {} }), makeBench({ afterCreateJob() {} })]
    const error = await rejection(one.jobs.transaction(() => other.start(1)))
    expect(error).toMatchObject({ code: 'WRONG_TRANSACTION', message: expect.stringContaining('another runtime') })
    // Its own transaction inside is the way.
    await one.jobs.transaction(() => other.jobs.transaction(() => other.start(2)))
    await other.jobs.drain()
  })

  test('what comes after the rollback', async () => {
    const hook = vi.fn()
    const { jobs, start } = makeBench({ afterCreateJob: hook })
    const gate = makeGate()
    let late: Promise<unknown> = Promise.resolve()
    await rejection(
      jobs.transaction(() => {
        late = gate.opened.then(() => start(1))
        return Promise.reject(rollback)
      }),
    )
    gate.open()
    expect(await rejection(late)).toMatchObject({ code: 'WRONG_TRANSACTION' })
    expect(hook).not.toHaveBeenCalled()
  })
})

test('an inner one that ends after the rollback of the outer loses its jobs, too', async () => {
  const hook = vi.fn()
  const { jobs, start } = makeBench({ afterCreateJob: hook })
  const gate = makeGate()
  let inner: Promise<string> = Promise.resolve('')
  await rejection(
    jobs.transaction(() => {
      inner = jobs.transaction(async () => {
        const token = await start(1)
        await gate.opened
        return token
      })
      return Promise.reject(rollback)
    }),
  )
  gate.open()
  expect(await jobs.status(await inner)).toMatchObject({ status: 'error', code: 'cancelled' })
  expect(hook).not.toHaveBeenCalled()
})

test('what comes from a committed inner one after the rollback of the outer is refused', async () => {
  const { jobs, start } = makeBench({ afterCreateJob() {} })
  const gate = makeGate()
  let late: Promise<unknown> = Promise.resolve()
  await rejection(
    jobs.transaction(async () => {
      await jobs.transaction(() => {
        late = gate.opened.then(() => start(1))
      })
      throw rollback
    }),
  )
  gate.open()
  expect(await rejection(late)).toMatchObject({ code: 'WRONG_TRANSACTION' })
})

test('close() waits for what a transaction commits meanwhile, and tells what became of it', async () => {
  const hook = vi.fn()
  const queue = stubQueue()
  const jobs = createAfterJobs({ queue, cache: distantCache() })
  const service = attachAfterJobs({ afterCreateJob: hook }, { jobs, name: 'bench' })
  const commit = makeGate()
  const done = jobs.transaction(async () => {
    await service.executeJob('after', 'create', 1)
    await commit.opened
  })
  await turns(5)
  const closing = jobs.close({ grace: 5_000 })
  await turns(5)
  commit.open()
  await Promise.all([done, closing])
  expect(queue.accepted).toHaveLength(1)
})

test('close() with a grace without an end waits for a transaction as long as it takes', async ({ onTestFinished }) => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const queue = stubQueue()
  const jobs = createAfterJobs({ queue, cache: distantCache() })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'bench' })
  const commit = makeGate()
  const done = jobs.transaction(async () => {
    await service.executeJob('after', 'create', 1)
    await commit.opened
  })
  const closed = vi.fn()
  const closing = jobs.close({ grace: Number.POSITIVE_INFINITY }).then(closed)
  await vi.advanceTimersByTimeAsync(3_600_000)
  expect(closed).not.toHaveBeenCalled()
  commit.open()
  await Promise.all([done, closing])
  expect(queue.accepted).toHaveLength(1)
})

test('a held job whose record could not be written is written with its enqueue', async () => {
  const cache = faultyCache()
  const queue = stubQueue()
  const jobs = createAfterJobs({ queue, cache })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'bench' })
  cache.fault = 'rejects'
  const token = await jobs.transaction(async () => {
    const started = (await service.executeJob('after', 'create', 1)) as string
    cache.fault = 'none'
    return started
  })
  expect(await cache.read(token)).toMatchObject({ status: 'pending' })
})

test('what comes after the commit is a job like any other', async () => {
  const hook = vi.fn<Hook>()
  const { jobs, start } = makeBench({ afterCreateJob: hook })
  const gate = makeGate()
  let late: Promise<string> = Promise.resolve('')
  await jobs.transaction(() => {
    late = gate.opened.then(() => start(1))
  })
  gate.open()
  expect(await jobs.settled(await late)).toMatchObject({ status: 'done' })
})

test('a hook runs in no transaction, wherever its job came from', async () => {
  const { jobs, start } = makeBench(
    {
      async afterCreateJob(id) {
        if (id === 'parent') await start('child')
      },
    },
    { cache: memoryCache() },
  )
  const parent = await jobs.transaction(() => start('parent'))
  expect(await jobs.settled(parent)).toMatchObject({ status: 'done' })
  await jobs.drain()
})

import { getEventListeners, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { JobFailedError, type JobStatus, watchJob } from 'after-jobs/client'
import { afterEach, beforeEach, describe, expect, expectTypeOf, test, vi } from 'vitest'
import {
  done,
  failed,
  fakeServer,
  hang,
  inTurn,
  json,
  pass,
  running,
  settle,
  statusOf,
  TOKEN,
  unknown,
} from './fake-server'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

/** Collects what a promise rejects with, without an `expect` that would have to wait. */
function rejection(promise: Promise<unknown>): { reason?: unknown; isRejected: boolean } {
  const seen: { reason?: unknown; isRejected: boolean } = { isRejected: false }
  promise.catch((reason: unknown) => Object.assign(seen, { reason, isRejected: true }))
  return seen
}

/** Iterates to the end, collecting the progress of each status. */
function collect(watch: AsyncIterable<JobStatus>): { seen: string[]; end: unknown } {
  const collected: { seen: string[]; end: unknown } = { seen: [], end: 'not yet' }
  const iterate = async (): Promise<void> => {
    for await (const { status, progress } of watch) collected.seen.push(`${status} ${progress}`)
  }
  iterate().then(
    () => Object.assign(collected, { end: 'ended' }),
    (reason: unknown) => Object.assign(collected, { end: reason }),
  )
  return collected
}

describe('how a watch ends', () => {
  test('done resolves with the final status', async () => {
    const server = fakeServer(
      inTurn(
        () => running(10),
        () => done({ rows: 3 }),
      ),
    )
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    await pass(800)
    const status = await watch.done
    expect(status).toEqual(statusOf('done', { progress: 100, result: { rows: 3 } }))
    expectTypeOf(status).toExtend<JobStatus>()
  })

  test('done rejects with a JobFailedError that carries the status of the job that failed', async () => {
    const { fetch } = fakeServer(() => failed('The project does not exist'))
    const error = await watchJob(TOKEN, { fetch }).done.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(JobFailedError)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({
      name: 'JobFailedError',
      message: 'The project does not exist',
      status: { status: 'error', code: 'failed', token: TOKEN },
    })
  })

  test.each([404, 200])('an unknown job, told with %d, is borne for 10 s', async (code) => {
    const server = fakeServer(() => unknown(code))
    const end = rejection(watchJob(TOKEN, { fetch: server.fetch }).done)
    await pass(9999)
    expect(end.isRejected).toBe(false)
    await pass(1500)
    expect(end.reason).toBeInstanceOf(JobFailedError)
    expect(end.reason).toMatchObject({
      message: expect.stringMatching(/not exist|expired/),
      status: { status: 'unknown' },
    })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('the 10 s start again when the job is known in between', async () => {
    const server = fakeServer((number) => (number % 10 === 9 ? running(1) : unknown()))
    const end = rejection(watchJob(TOKEN, { fetch: server.fetch }).done)
    await pass(60_000)
    expect(end.isRejected).toBe(false)
  })

  test('the 10 s start with the first answer of unknown, not with the trouble before it', async () => {
    const trouble = () => new Response(null, { status: 500 })
    const server = fakeServer((number) => (number < 8 ? trouble() : number < 12 ? unknown() : done()))
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    await pass(120_000)
    await expect(watch.done).resolves.toMatchObject({ status: 'done' })
  })

  test.each([
    ['400', () => new Response('no', { status: 400 })],
    ['401', () => new Response('no', { status: 401 })],
    ['403 with a status in it', () => json({ status: 'unknown', progress: 0, message: null }, 403)],
    ['404 of another server', () => new Response('no', { status: 404 })],
    ['404 with another status in it', () => json(statusOf('running'), 404)],
    ['410', () => new Response('no', { status: 410 })],
  ])('a %s ends it at once, with the very response, its body unread', async (_, respond) => {
    const response = respond()
    const body = await response.clone().text()
    const server = fakeServer(() => response)
    const reason = await watchJob(TOKEN, { fetch: server.fetch }).done.catch((error: unknown) => error)
    expect(reason).toBe(response)
    expect(await response.text()).toBe(body)
    expect(vi.getTimerCount()).toBe(0)
    await pass(60_000)
    expect(server.requests).toHaveLength(1)
  })

  test('nothing is an unhandled rejection, although nobody looks at done', async () => {
    vi.useRealTimers()
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const mistake = () => {
      throw new Error('a mistake in onProgress')
    }
    vi.spyOn(console, 'error').mockImplementation(() => {})
    watchJob(TOKEN, { fetch: fakeServer(() => failed('no')).fetch, onProgress: mistake })
    watchJob(TOKEN, { fetch: fakeServer(() => new Response(null, { status: 403 })).fetch })
    watchJob(TOKEN, { fetch: fakeServer(hang).fetch, signal: AbortSignal.abort() })
    for await (const status of watchJob(TOKEN, { fetch: fakeServer(() => failed('no')).fetch })) void status
    // Node tells of unhandled rejections when the microtasks have run dry, before the next macrotask.
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
  })
})

describe('an abort', () => {
  const reason = new Error('The user went away')

  test('that came before sends no request at all', async () => {
    const server = fakeServer(done)
    const watch = watchJob(TOKEN, { fetch: server.fetch, start: true, signal: AbortSignal.abort(reason) })
    await expect(watch.done).rejects.toBe(reason)
    expect(server.requests).toEqual([])
  })

  test.each([
    ['during a request', hang, 0],
    ['between two requests', () => running(1), 100],
    ['during the pause after an error', () => new Response(null, { status: 500 }), 5000],
  ])('%s rejects with its reason at once, and leaves nothing behind', async (_, respond, ms) => {
    const controller = new AbortController()
    const server = fakeServer(respond)
    const watch = watchJob(TOKEN, { fetch: server.fetch, signal: controller.signal })
    await pass(ms)
    const count = server.requests.length
    controller.abort(reason)
    await expect(watch.done).rejects.toBe(reason)
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    await pass(60_000)
    expect(server.requests).toHaveLength(count)
  })

  test('during a request cancels it', async () => {
    const controller = new AbortController()
    const server = fakeServer(hang)
    watchJob(TOKEN, { fetch: server.fetch, signal: controller.signal })
    await settle()
    expect(server.signals[0]?.aborted).toBe(false)
    controller.abort()
    expect(server.signals[0]?.aborted).toBe(true)
  })

  test('in onProgress ends the watch there', async () => {
    const controller = new AbortController()
    const server = fakeServer(() => running(50))
    const watch = watchJob(TOKEN, {
      fetch: server.fetch,
      signal: controller.signal,
      onProgress: () => controller.abort(reason),
    })
    await expect(watch.done).rejects.toBe(reason)
    expect(server.requests).toHaveLength(1)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('after the end changes nothing', async () => {
    const controller = new AbortController()
    const watch = watchJob(TOKEN, { fetch: fakeServer(done).fetch, signal: controller.signal })
    await watch.done
    controller.abort(reason)
    await expect(watch.done).resolves.toMatchObject({ status: 'done' })
    const late = collect(watch)
    await settle()
    expect(late).toEqual({ seen: ['done 100'], end: 'ended' })
  })
})

describe('an iteration', () => {
  test('yields the status of each answer, and ends with the final one', async () => {
    const server = fakeServer(
      inTurn(
        () => running(0),
        () => running(40),
        () => running(40),
        done,
      ),
    )
    const all = collect(watchJob(TOKEN, { fetch: server.fetch }))
    await pass(800)
    expect(all).toEqual({ seen: ['running 0', 'running 40'], end: 'not yet' })
    await pass(1600)
    expect(all).toEqual({ seen: ['running 0', 'running 40', 'running 40', 'done 100'], end: 'ended' })
  })

  test('does not throw when the job fails: the status says it', async () => {
    const all = collect(
      watchJob(TOKEN, {
        fetch: fakeServer(
          inTurn(
            () => running(9),
            () => failed('no'),
          ),
        ).fetch,
      }),
    )
    await pass(800)
    expect(all).toEqual({ seen: ['running 9', 'error 0'], end: 'ended' })
  })

  test('throws on abort', async () => {
    const controller = new AbortController()
    const all = collect(watchJob(TOKEN, { fetch: fakeServer(() => running(9)).fetch, signal: controller.signal }))
    await pass(100)
    controller.abort('enough')
    await settle()
    expect(all).toEqual({ seen: ['running 9'], end: 'enough' })
  })

  test('throws the response of a 4xx', async () => {
    const refusal = new Response(null, { status: 401 })
    const all = collect(
      watchJob(TOKEN, {
        fetch: fakeServer(
          inTurn(
            () => running(9),
            () => refusal,
          ),
        ).fetch,
      }),
    )
    await pass(800)
    expect(all.seen).toEqual(['running 9'])
    expect(all.end).toBe(refusal)
  })

  test('throws when the job stays unknown: that is no end of a job', async () => {
    const all = collect(watchJob(TOKEN, { fetch: fakeServer(() => unknown()).fetch }))
    await pass(12_000)
    expect(all.seen.at(-1)).toBe('unknown 0')
    expect(JobFailedError.is(all.end)).toBe(true)
  })

  test('that comes late starts with the newest status at once', async () => {
    const watch = watchJob(TOKEN, { fetch: fakeServer((number) => running(number)).fetch })
    await pass(2000)
    const late = collect(watch)
    await settle()
    expect(late.seen).toEqual(['running 2'])
    await pass(400)
    expect(late.seen).toEqual(['running 2', 'running 3'])
  })

  test.each([
    ['done', done, ['done 100']],
    ['error', () => failed('no'), ['error 0']],
  ])('that comes after %s yields the final status and ends', async (_, respond, seen) => {
    const watch = watchJob(TOKEN, { fetch: fakeServer(respond).fetch })
    await watch.done.catch(() => {})
    const late = collect(watch)
    await settle()
    expect(late).toEqual({ seen, end: 'ended' })
  })

  test('beside another one sees the same, with no more requests', async () => {
    const server = fakeServer(
      inTurn(
        () => running(1),
        () => running(2),
        done,
      ),
    )
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    const both = [collect(watch), collect(watch)]
    await pass(1600)
    const all = { seen: ['running 1', 'running 2', 'done 100'], end: 'ended' }
    expect(both).toEqual([all, all])
    expect(server.requests).toHaveLength(3)
  })

  test('that is slow skips to the newest status', async () => {
    const server = fakeServer((number) => (number < 20 ? running(number) : done()))
    const iterator = watchJob(TOKEN, { fetch: server.fetch })[Symbol.asyncIterator]()
    await settle()
    expect(await iterator.next()).toMatchObject({ value: { progress: 0 } })
    await pass(10 * 800)
    expect(await iterator.next()).toMatchObject({ value: { progress: 10 } })
    await pass(60_000)
    expect(await iterator.next()).toMatchObject({ value: { status: 'done' } })
    expect(await iterator.next()).toEqual({ value: undefined, done: true })
  })

  test('that is left does not end the watch', async () => {
    const server = fakeServer(
      inTurn(
        () => running(1),
        () => running(2),
        done,
      ),
    )
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    for await (const status of watch) if (status.progress === 1) break
    await pass(1600)
    await expect(watch.done).resolves.toMatchObject({ status: 'done' })
  })
})

describe('onProgress', () => {
  test('gets the status of each answer, changed or not, and nothing else', async () => {
    const answers = inTurn(
      () => unknown(),
      () => running(5),
      () => running(5),
      () => new Response(null, { status: 502 }),
      done,
    )
    const onProgress = vi.fn()
    const watch = watchJob(TOKEN, { fetch: fakeServer(answers).fetch, onProgress })
    await pass(10_000)
    await watch.done
    const seen = onProgress.mock.calls.map(([status]: JobStatus[]) => `${status?.status} ${status?.progress}`)
    expect(seen).toEqual(['unknown 0', 'running 5', 'running 5', 'done 100'])
  })

  test('sees a bar that goes back to 0 for the next attempt', async () => {
    const retry = () => json(statusOf('pending', { attempt: 1, attempts: 3 }))
    const seen: string[] = []
    const watch = watchJob(TOKEN, {
      fetch: fakeServer(
        inTurn(
          () => running(80),
          retry,
          () => running(10),
          done,
        ),
      ).fetch,
      onProgress: ({ status, progress }) => seen.push(`${status} ${progress}`),
    })
    await pass(2400)
    await watch.done
    expect(seen).toEqual(['running 80', 'pending 0', 'running 10', 'done 100'])
  })

  test.each([
    [
      'throws',
      (error: Error) => {
        throw error
      },
    ],
    ['rejects', (error: Error) => Promise.reject(error)],
  ])('that %s is reported, and the watch goes on', async (_, fail) => {
    const mistake = new Error('a mistake in onProgress')
    const reportError = vi.fn()
    vi.stubGlobal('reportError', reportError)
    const { fetch } = fakeServer(inTurn(() => running(1), done))
    const watch = watchJob(TOKEN, { fetch, onProgress: () => fail(mistake) })
    await pass(800)
    await expect(watch.done).resolves.toMatchObject({ status: 'done' })
    expect(reportError.mock.calls).toEqual([[mistake], [mistake]])
  })

  test('that throws where there is no reportError, as in Node, is told to the console', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => {})
    const mistake = new Error('a mistake in onProgress')
    const onProgress = () => {
      throw mistake
    }
    await watchJob(TOKEN, { fetch: fakeServer(done).fetch, onProgress }).done
    await settle()
    expect(log.mock.calls).toEqual([[mistake]])
  })
})

describe('where it asks', () => {
  test.each([
    ['a token', TOKEN, undefined, `/jobs/status/${TOKEN}`, '/jobs/start'],
    ['a token and a path', TOKEN, '/api/v1/jobs', `/api/v1/jobs/status/${TOKEN}`, '/api/v1/jobs/start'],
    ['a token and a path that ends in a slash', TOKEN, '/api/', `/api/status/${TOKEN}`, '/api/start'],
    ['a token and the root', TOKEN, '', `/status/${TOKEN}`, '/start'],
    [
      'a token and an origin',
      TOKEN,
      'https://a.test/jobs',
      `https://a.test/jobs/status/${TOKEN}`,
      'https://a.test/jobs/start',
    ],
    ['a path', `/tasks/status/${TOKEN}`, undefined, `/tasks/status/${TOKEN}`, '/tasks/start'],
    ['a path and a base', `/tasks/status/${TOKEN}`, '/other', `/tasks/status/${TOKEN}`, '/tasks/start'],
    [
      'a URL',
      `https://a.test/x/status/${TOKEN}`,
      undefined,
      `https://a.test/x/status/${TOKEN}`,
      'https://a.test/x/start',
    ],
    [
      'a URL object',
      new URL(`https://a.test/x/status/${TOKEN}`),
      undefined,
      `https://a.test/x/status/${TOKEN}`,
      'https://a.test/x/start',
    ],
    [
      'a URL with a query',
      `/jobs/status/${TOKEN}?v=a/b`,
      undefined,
      `/jobs/status/${TOKEN}?v=a/b`,
      '/jobs/start?v=a/b',
    ],
    ['a URL with a slash at its end', `/jobs/status/${TOKEN}/`, undefined, `/jobs/status/${TOKEN}/`, '/jobs/start'],
    [
      'a URL of another form',
      'https://a.test/operations/7',
      undefined,
      'https://a.test/operations/7',
      'https://a.test/operations/7/start',
    ],
  ])('%s', async (_, target, basePath, statusUrl, startUrl) => {
    const server = fakeServer(done)
    await watchJob(target, { fetch: server.fetch, basePath, start: true }).done
    expect(server.requests).toEqual([`POST ${startUrl}`, `GET ${statusUrl}`])
  })

  test('without start it posts nothing', async () => {
    const server = fakeServer(done)
    await watchJob(TOKEN, { fetch: server.fetch }).done
    expect(server.requests).toEqual([`GET /jobs/status/${TOKEN}`])
  })

  test('it takes the global fetch that is there when it starts', async () => {
    const server = fakeServer(done)
    vi.stubGlobal('fetch', server.fetch)
    await watchJob(TOKEN).done
    expect(server.requests).toHaveLength(1)
  })

  test.each<[string, () => Promise<Response>]>([
    ['is refused', async () => new Response(null, { status: 404 })],
    ['does not arrive', () => Promise.reject(new TypeError('fetch failed'))],
    [
      'makes fetch throw',
      () => {
        throw new Error('no POST here')
      },
    ],
    ['is never answered', hang],
  ])('a start that %s holds nothing up, and is over with the watch', async (_, post) => {
    const server = fakeServer(done)
    const signals: (AbortSignal | null | undefined)[] = []
    const fetch = (url: string, init: RequestInit): Promise<Response> => {
      if (init.method !== 'POST') return server.fetch(url, init)
      signals.push(init.signal)
      return post()
    }
    await expect(watchJob(TOKEN, { fetch, start: true }).done).resolves.toMatchObject({ status: 'done' })
    expect(signals.map((signal) => signal?.aborted)).toEqual([true])
    expect(vi.getTimerCount()).toBe(0)
  })
})

describe('JobFailedError.is', () => {
  test('knows the errors of another copy of the library, and nothing else', () => {
    const copy = Object.assign(new Error('failed'), { [Symbol.for('after-jobs.job-failed')]: true })
    expect(JobFailedError.is(new JobFailedError({ status: 'unknown', progress: 0, message: null }))).toBe(true)
    expect(JobFailedError.is(copy)).toBe(true)
    const others = [new Error('failed'), new Response(), null, undefined, 'error', {}]
    expect(others.map((other) => JobFailedError.is(other))).toEqual(others.map(() => false))
  })
})

test('it watches a job over a real connection', async () => {
  vi.useRealTimers()
  const urls: (string | undefined)[] = []
  const server = createServer((request, response) => {
    const isFirst = urls.push(`${request.method} ${request.url}`) === 1
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify(isFirst ? statusOf('running', { progress: 30 }) : statusOf('done', { progress: 100 })))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const watch = watchJob(TOKEN, { basePath: `http://127.0.0.1:${port}/jobs`, interval: 500 })
  const seen: number[] = []
  for await (const { progress } of watch) seen.push(progress)
  server.closeAllConnections()
  server.close()
  expect(seen).toEqual([30, 100])
  expect(urls).toEqual([`GET /jobs/status/${TOKEN}`, `GET /jobs/status/${TOKEN}`])
  await expect(watch.done).resolves.toMatchObject({ status: 'done' })
})

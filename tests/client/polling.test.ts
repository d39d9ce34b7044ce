import { getEventListeners } from 'node:events'
import { watchJob } from 'after-jobs/client'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  done,
  type FakeServer,
  fakeServer,
  hang,
  inTurn,
  json,
  pass,
  running,
  settle,
  statusOf,
  TOKEN,
} from './fake-server'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

describe('the pace', () => {
  test('it asks at once, before anybody iterates, and then every 800 ms', async () => {
    const server = fakeServer(() => running(1))
    watchJob(TOKEN, { fetch: server.fetch })
    expect(server.times).toEqual([0])
    await pass(2400)
    expect(server.times).toEqual([0, 800, 1600, 2400])
  })

  test.each([
    [100, 500],
    [500, 500],
    [1000, 1000],
    [1500, 1500],
    [60_000, 1500],
    [-1, 500],
    [Infinity, 1500],
    [Number.NaN, 500],
  ])('an interval of %d is kept as %d ms', async (interval, gap) => {
    const server = fakeServer(() => running(1))
    watchJob(TOKEN, { fetch: server.fetch, interval })
    await pass(3 * gap)
    expect(server.gaps()).toEqual([gap, gap, gap])
  })

  test('never are two requests under way, however slow the answers are', async () => {
    const server = fakeServer(async (number) => {
      await new Promise((resolve) => setTimeout(resolve, 700 * number))
      return running(number)
    })
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(20_000)
    expect(server.times.length).toBeGreaterThan(5)
    expect(server.mostInFlight).toBe(1)
  })

  test('after the end there is no request, no timer and no listener', async () => {
    const server = fakeServer(inTurn(() => running(50), done))
    const { signal } = new AbortController()
    const watch = watchJob(TOKEN, { fetch: server.fetch, signal })
    await pass(800)
    await watch.done
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(signal, 'abort')).toEqual([])
    await pass(60_000)
    expect(server.requests).toHaveLength(2)
  })
})

describe('Retry-After', () => {
  test.each([
    ['0', 800],
    ['1', 800],
    ['2', 2000],
    ['30', 30_000],
    ['3600', 30_000],
    ['-5', 800],
    ['soon', 800],
  ])('of %s makes a pause of %d ms', async (value, gap) => {
    const server = fakeServer(() => running(1, { 'Retry-After': value }))
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(2 * gap)
    expect(server.gaps()).toEqual([gap, gap])
  })

  test.each([
    [5000, 5000],
    [600_000, 30_000],
    [-5000, 800],
  ])('may be a date, %d ms from now', async (distance, gap) => {
    vi.setSystemTime('2026-11-23T12:00:00Z')
    const date = new Date(Date.now() + distance).toUTCString()
    const server = fakeServer(inTurn(() => running(1, { 'Retry-After': date }), hang))
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(gap)
    expect(server.gaps()).toEqual([gap])
  })

  test.each([503, 429])('is kept after a %d too', async (code) => {
    const server = fakeServer(
      inTurn(() => new Response(null, { status: code, headers: { 'Retry-After': '20' } }), hang),
    )
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(20_000)
    expect(server.gaps()).toEqual([20_000])
  })
})

describe('when the server does not answer as it should', () => {
  const troubles: Record<string, () => Response | Promise<Response>> = {
    'a network error': () => {
      throw new TypeError('fetch failed')
    },
    'a 500': () => new Response('<h1>Oops</h1>', { status: 500 }),
    'a 503 with a status in it': () => json(statusOf('done'), 503),
    'a 429': () => new Response(null, { status: 429 }),
    'a page instead of JSON': () => new Response('<html>'),
    'an empty answer': () => new Response(null, { status: 204 }),
    'JSON null': () => json(null),
    'a status that does not exist': () => json(statusOf('running', { status: 'finished' })),
    'a status without progress': () => json({ status: 'running' }),
  }

  test.each(Object.entries(troubles))('%s: it goes on, after pauses that grow to a bound', async (_, trouble) => {
    const onProgress = vi.fn()
    const server = fakeServer(trouble)
    watchJob(TOKEN, { fetch: server.fetch, onProgress })
    await pass(300_000)
    const gaps = server.gaps()
    expect(gaps.length).toBeGreaterThan(8)
    expect(gaps).toEqual(gaps.toSorted((a, b) => a - b))
    expect(gaps[0]).toBeGreaterThan(800)
    expect(gaps[3]).toBeGreaterThan(2 * (gaps[0] as number))
    expect(Math.max(...gaps)).toBeLessThanOrEqual(30_000)
    expect(onProgress).not.toHaveBeenCalled()
  })

  test.each(Object.entries(troubles))('%s: one good answer brings back the pace', async (_, trouble) => {
    const server = fakeServer(inTurn(trouble, trouble, trouble, () => running(1)))
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(60_000)
    expect(server.gaps().slice(3, 6)).toEqual([800, 800, 800])
  })

  test('an answer that never comes is given up after 10 s, and asked for again', async () => {
    const server = fakeServer(inTurn(hang, () => done('late but there')))
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    await pass(9999)
    expect(server.signals[0]?.aborted).toBe(false)
    await pass(1)
    expect(server.signals[0]?.aborted).toBe(true)
    await pass(1200)
    expect(server.times).toEqual([0, 11_200])
    await expect(watch.done).resolves.toMatchObject({ result: 'late but there' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a body that never ends is given up too', async () => {
    const endless = () => new Response(new ReadableStream({ start: (body) => body.enqueue(new Uint8Array([123])) }))
    const server = fakeServer(inTurn(endless, done))
    const watch = watchJob(TOKEN, { fetch: server.fetch })
    await pass(11_200)
    await expect(watch.done).resolves.toMatchObject({ status: 'done' })
  })

  test('an answer that comes after it was given up counts for nothing', async () => {
    const late = () => new Promise<Response>((resolve) => setTimeout(() => resolve(done('stale')), 10_500))
    const server = fakeServer(inTurn(late, () => running(7)))
    const onProgress = vi.fn()
    watchJob(TOKEN, { fetch: server.fetch, onProgress })
    await pass(11_200)
    expect(onProgress.mock.calls).toEqual([[expect.objectContaining({ progress: 7 })]])
  })

  test('in Node a path without an origin is a mistake, not a network error', async () => {
    vi.useRealTimers()
    const error = await watchJob(TOKEN).done.catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(TypeError)
    expect(String(error)).toContain(`/jobs/status/${TOKEN}`)
  })
})

describe('in a hidden tab', () => {
  let page: EventTarget & { visibilityState: string }

  beforeEach(() => {
    page = Object.assign(new EventTarget(), { visibilityState: 'visible' })
    vi.stubGlobal('document', page)
  })

  function turn(visibilityState: 'hidden' | 'visible'): void {
    page.visibilityState = visibilityState
    page.dispatchEvent(new Event('visibilitychange'))
  }

  async function watchInHiddenTab(headers = {}): Promise<FakeServer> {
    turn('hidden')
    const server = fakeServer(() => running(1, headers))
    watchJob(TOKEN, { fetch: server.fetch })
    await settle()
    return server
  }

  test('it slows down', async () => {
    const server = await watchInHiddenTab()
    await pass(15_000)
    expect(server.gaps()).toEqual([5000, 5000, 5000])
  })

  test('it asks at once when the tab is shown again, and goes on at its pace', async () => {
    const server = await watchInHiddenTab()
    await pass(2000)
    turn('visible')
    await pass(1600)
    expect(server.times).toEqual([0, 2000, 2800, 3600])
  })

  test('it slows down when the tab is hidden later', async () => {
    const server = fakeServer(() => running(1))
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(800)
    turn('hidden')
    await pass(10_000)
    expect(server.times).toEqual([0, 800, 1600, 6600])
  })

  test('a pause that the server asked for is kept when the tab is shown again', async () => {
    const server = await watchInHiddenTab({ 'Retry-After': '20' })
    await pass(2000)
    turn('visible')
    await pass(17_999)
    expect(server.times).toEqual([0])
    await pass(1)
    expect(server.times).toEqual([0, 20_000])
  })

  test('a tab that is shown while a request is under way causes no second one', async () => {
    turn('hidden')
    const server = fakeServer(hang)
    watchJob(TOKEN, { fetch: server.fetch })
    await pass(1000)
    turn('visible')
    await settle()
    expect(server.requests).toHaveLength(1)
    expect(server.signals[0]?.aborted).toBe(false)
  })

  test.each(['a pause', 'the end', 'an abort'])('no listener is left on the page after %s', async (what) => {
    const controller = new AbortController()
    turn('hidden')
    const server = fakeServer(inTurn(() => running(1), what === 'the end' ? done : hang))
    const watch = watchJob(TOKEN, { fetch: server.fetch, signal: controller.signal })
    await settle()
    expect(getEventListeners(page, 'visibilitychange')).toHaveLength(1)
    if (what === 'an abort') controller.abort()
    else await pass(5000)
    if (what === 'the end') await watch.done
    await settle()
    expect(getEventListeners(page, 'visibilitychange')).toEqual([])
  })
})

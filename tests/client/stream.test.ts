import { getEventListeners } from 'node:events'
import { JobFailedError, type JobStatus, watchJob } from 'after-jobs/client'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { type FakeStream, fakeEvents } from './fake-events'
import { done, fakeServer, hang, inTurn, pass, running, settle, statusOf, TOKEN, unknown } from './fake-server'

const ORIGIN = 'https://a.test'
const OTHER = TOKEN.replace(/^3/, '4')

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

/** What is open belongs to the page, and so would reach the next test. */
function abortedInTheEnd(): AbortController {
  const controller = new AbortController()
  onTestFinished(() => controller.abort())
  return controller
}

/** Watches with a server that is asked and streams that tell. */
function watch(parts: { onOpen?: (stream: FakeStream) => void; respond?: Parameters<typeof fakeServer>[0] } = {}) {
  const server = fakeServer(parts.respond ?? hang)
  const events = fakeEvents(parts.onOpen)
  const controller = abortedInTheEnd()
  const seen: string[] = []
  const onProgress = ({ status, progress }: JobStatus): unknown => seen.push(`${status} ${progress}`)
  const begin = (token = TOKEN) =>
    watchJob(token, {
      ...{ basePath: `${ORIGIN}/jobs`, fetch: server.fetch, events: events.open },
      ...{ signal: controller.signal, onProgress },
    })
  return { server, events, controller, seen, begin, first: begin() }
}

describe('a stream that works', () => {
  test('is not shared with who opens streams otherwise: in a server that would be another user', async () => {
    const [mine, theirs] = [watch(), watch()]
    await settle()
    mine.events.streams[0]?.tell('running', 40)
    await settle()
    expect([mine.seen, theirs.seen]).toEqual([['running 40'], []])
    expect([mine.events.streams.length, theirs.events.streams.length]).toEqual([1, 1])
  })

  test('tells each change at once, and nothing is asked', async () => {
    const { server, events, seen, first } = watch({ onOpen: (stream) => stream.tell('pending') })
    const iterated: string[] = []
    const iterate = (async () => {
      for await (const { status, progress } of first) iterated.push(`${status} ${progress}`)
    })()
    await pass(5000)
    events.streams[0]?.tell('running', 40)
    await settle()
    expect(seen).toEqual(['pending 0', 'running 40'])
    await pass(5000)
    events.streams[0]?.tell('done', 100)
    await expect(first.done).resolves.toEqual(statusOf('done', { progress: 100 }))
    await iterate
    expect(iterated).toEqual(['pending 0', 'running 40', 'done 100'])
    expect(server.requests).toEqual([])
    expect(events.streams.map(({ url }) => url)).toEqual([`${ORIGIN}/jobs/events/${TOKEN}`])
  })

  test.each(['done', 'error'])('is closed after %s, and leaves nothing behind', async (last) => {
    const { server, events, controller, first } = watch({ onOpen: (stream) => stream.tell(last, 100) })
    await first.done.catch(() => {})
    expect(events.count()).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    expect(getEventListeners(controller.signal, 'abort')).toEqual([])
    await pass(60_000)
    expect([events.streams.length, server.requests]).toEqual([1, []])
  })

  test('rejects with the status of a job that failed', async () => {
    const { first } = watch({ onOpen: (stream) => stream.tell(statusOf('error', { message: 'No such project' })) })
    const error = await first.done.catch((reason: unknown) => reason)
    expect(JobFailedError.is(error)).toBe(true)
    expect(error).toMatchObject({ message: 'No such project' })
  })

  test('is closed on abort, whose reason rejects at once', async () => {
    const { server, events, controller, first } = watch({ onOpen: (stream) => stream.tell('running', 1) })
    await pass(1000)
    controller.abort('enough')
    await expect(first.done).rejects.toBe('enough')
    expect([events.count(), vi.getTimerCount(), server.requests]).toEqual([0, 0, []])
  })

  test('is posted a start before, with start', async () => {
    const server = fakeServer(hang)
    const events = fakeEvents((stream) => stream.tell('done', 100))
    await watchJob(`${ORIGIN}/x/status/${TOKEN}`, { fetch: server.fetch, events: events.open, start: true }).done
    expect(server.requests).toEqual([`POST ${ORIGIN}/x/start`])
    expect(events.streams[0]?.url).toBe(`${ORIGIN}/x/events/${TOKEN}`)
  })

  test('is the EventSource of the page, where events is true', async () => {
    const events = fakeEvents((stream) => stream.tell('done', 100))
    vi.stubGlobal('EventSource', function EventSource(url: string) {
      return events.open(url)
    })
    await watchJob(TOKEN, { basePath: `${ORIGIN}/jobs`, fetch: fakeServer(hang).fetch, events: true }).done
    expect(events.streams).toHaveLength(1)
  })
})

describe('streams of a page', () => {
  test('are one for each job, however many watch it, and the late begin with the newest', async () => {
    const { server, events, seen, first, begin } = watch({ onOpen: (stream) => stream.tell('running', 1) })
    const second = begin()
    await settle()
    events.streams[0]?.tell('running', 50)
    await pass(1000)
    const late = begin()
    await settle()
    expect(seen).toEqual(['running 1', 'running 1', 'running 50', 'running 50', 'running 50'])
    expect(events.streams).toHaveLength(1)
    events.streams[0]?.tell('done', 100)
    await Promise.all([first, second, late].map((each) => each.done))
    expect([events.count(), server.requests]).toEqual([0, []])
  })

  test('are open as long as one watches', async () => {
    const { events, controller, first } = watch({ onOpen: (stream) => stream.tell('running', 1) })
    const other = watchJob(TOKEN, { basePath: `${ORIGIN}/jobs/`, fetch: hang, events: events.open })
    await settle()
    controller.abort()
    await first.done.catch(() => {})
    expect(events.count()).toBe(1)
    events.streams[0]?.tell('done', 100)
    await other.done
    expect(events.count()).toBe(0)
  })

  test('are shared by copies of this library', async () => {
    vi.resetModules()
    const copy: typeof import('after-jobs/client') = await import('after-jobs/client')
    expect(copy.watchJob).not.toBe(watchJob)
    const { events, first } = watch({ onOpen: (stream) => stream.tell('running', 1) })
    const other = copy.watchJob(TOKEN, { basePath: `${ORIGIN}/jobs`, fetch: hang, events: events.open })
    await settle()
    events.streams[0]?.tell('done', 100)
    await Promise.all([first.done, other.done])
    expect(events.streams).toHaveLength(1)
  })

  test('are four at most, since a browser has six connections: whoever comes fifth polls until there is room', async () => {
    const events = fakeEvents((stream) => stream.tell('running', 1))
    const server = fakeServer(() => running(1))
    const watches = [...'345678'].map((digit) =>
      watchJob(TOKEN.replace(/^3/, digit), { basePath: ORIGIN, fetch: server.fetch, events: events.open }),
    )
    await pass(2000)
    expect(events.count()).toBe(4)
    expect(new Set(server.requests).size).toBe(2)
    events.streams[0]?.tell('done', 100)
    await watches[0]?.done
    await pass(1000)
    expect(events.streams).toHaveLength(5)
    for (const stream of events.streams) stream.tell('done', 100)
    await pass(1000)
    for (const stream of events.streams) stream.tell('done', 100)
    await Promise.all(watches.map((each) => each.done))
    expect(events.count()).toBe(0)
  })
})

describe('a stream that does not work', () => {
  test.each<[string, Parameters<typeof watchJob>[0], object]>([
    ['there is no EventSource', `${ORIGIN}/jobs/status/${TOKEN}`, { events: true }],
    ['the URL is of another form', `${ORIGIN}/operations/7`, { events: fakeEvents().open }],
    ['the URL is relative, and there is no page', `/jobs/status/${TOKEN}`, { events: fakeEvents().open }],
    [
      'the stream cannot be opened',
      `${ORIGIN}/jobs/status/${TOKEN}`,
      {
        events: () => {
          throw new SyntaxError('no')
        },
      },
    ],
  ])('because %s: it asks, at once', async (_, url, options) => {
    const server = fakeServer(inTurn(() => running(1), done))
    const { done: end } = watchJob(url, { fetch: server.fetch, ...options })
    expect(server.times).toEqual([0])
    await pass(800)
    await expect(end).resolves.toMatchObject({ status: 'done' })
    expect(server.times).toEqual([0, 800])
  })

  test('because it is refused: it asks after a pause, and tries no stream again', async () => {
    const { server, events } = watch({ onOpen: (stream) => stream.fail(), respond: () => running(1) })
    await pass(8000)
    expect(server.times).toHaveLength(10)
    expect(server.gaps().every((gap) => gap === 800)).toBe(true)
    expect([events.streams.length, events.count()]).toEqual([1, 0])
  })

  test('because it is held up: it asks after three seconds', async () => {
    const { server, events } = watch({ respond: () => running(1) })
    await pass(2999)
    expect(server.requests).toEqual([])
    await pass(2000)
    expect(server.times.length).toBeGreaterThan(0)
    expect(events.count()).toBe(0)
  })

  test('because what it tells is no status', async () => {
    const { server, events } = watch({ onOpen: (stream) => stream.tell({ status: 'fine' }), respond: () => running(1) })
    await pass(1000)
    expect([events.count(), server.requests.length]).toEqual([0, 1])
  })

  test('an unknown job ends the watch after 10 s, as without a stream', async () => {
    const { first } = watch({ onOpen: (stream) => stream.fail(), respond: () => unknown() })
    const rejected = expect(first.done).rejects.toThrow(/not exist/)
    await pass(12_000)
    await rejected
  })

  test('another 4xx ends it with the response', async () => {
    const refusal = new Response(null, { status: 401 })
    const { first } = watch({ onOpen: (stream) => stream.fail(), respond: () => refusal })
    const rejected = expect(first.done).rejects.toBe(refusal)
    await pass(1000)
    await rejected
  })
})

describe('a stream that breaks', () => {
  test('is followed by asking, and by another stream when the server answers again', async () => {
    const answers = inTurn(
      ...[() => new Response(null, { status: 502 }), () => new Response(null, { status: 502 }), () => running(30)],
    )
    const { server, events, seen, first } = watch({ onOpen: (stream) => stream.tell('running', 20), respond: answers })
    await pass(1000)
    events.streams[0]?.fail()
    await pass(1000)
    expect([events.streams.length, server.requests.length]).toEqual([1, 1])
    await pass(6000)
    expect(seen).toEqual(['running 20', 'running 30', 'running 20'])
    expect([events.streams.length, events.count()]).toEqual([2, 1])
    events.streams[1]?.tell('done', 100)
    await first.done
    expect([events.count(), vi.getTimerCount()]).toEqual([0, 0])
  })

  test('never makes more than two requests in a second, however often it breaks', async () => {
    const times: number[] = []
    const events = fakeEvents((stream) => {
      times.push(Date.now())
      stream.tell('running', 1)
      queueMicrotask(() => stream.fail())
    })
    const fetch = async () => {
      times.push(Date.now())
      return running(1)
    }
    const { signal } = abortedInTheEnd()
    watchJob(TOKEN, { basePath: ORIGIN, fetch, signal, events: events.open, interval: 500 })
    await pass(20_000)
    expect(times.length).toBeGreaterThan(20)
    expect(times.slice(2).every((time, index) => time - (times[index] as number) >= 1000)).toBe(true)
  })

  test('with the last of many, is not taken for the one that came after it', async () => {
    const { events, first, begin } = watch({ onOpen: (stream) => stream.tell('running', 1), respond: () => running(1) })
    const second = begin()
    await settle()
    events.streams[0]?.fail()
    await pass(2000)
    expect([events.streams.length, events.count()]).toEqual([2, 1])
    events.streams[1]?.tell('done', 100)
    await Promise.all([first.done, second.done])
    expect(events.streams).toHaveLength(2)
  })

  test('while one of its watches is asking, is not closed in the place of its successor', async () => {
    const late = () => new Promise<Response>((resolve) => setTimeout(() => resolve(running(1)), 5000))
    const { events, begin } = watch({ onOpen: (stream) => stream.tell('running', 1), respond: late })
    await pass(16_000)
    events.streams[0]?.fail()
    begin()
    await pass(5000)
    begin()
    await settle()
    expect(events.streams).toHaveLength(2)
  })
})

describe('a silent stream', () => {
  test('is checked every 15 s, and believed while the job stands still', async () => {
    const { server, events } = watch({ onOpen: (stream) => stream.tell('running', 20), respond: () => running(20) })
    await pass(60_000)
    expect(server.times).toHaveLength(4)
    expect(server.gaps()).toEqual([15_000, 15_000, 15_000])
    expect([events.streams.length, events.count()]).toEqual([1, 1])
  })

  test('that kept something back is given up for good', async () => {
    const { server, events, seen } = watch({
      onOpen: (stream) => stream.tell('running', 20),
      respond: (number) => running(30 + number),
    })
    await pass(15_000)
    expect(seen).toEqual(['running 20', 'running 30'])
    await pass(8000)
    expect(server.gaps().every((gap) => gap === 800)).toBe(true)
    expect([events.streams.length, events.count()]).toEqual([1, 0])
  })

  test('that kept the end back loses nothing', async () => {
    const { events, first } = watch({ onOpen: (stream) => stream.tell('running', 20), respond: () => done('late') })
    await pass(15_000)
    await expect(first.done).resolves.toMatchObject({ result: 'late' })
    expect([events.count(), vi.getTimerCount()]).toEqual([0, 0])
  })

  test('of a server that does not answer either is closed, and opened when it does', async () => {
    const answers = inTurn(hang, () => running(20))
    const { server, events } = watch({ onOpen: (stream) => stream.tell('running', 20), respond: answers })
    await pass(25_000)
    expect([server.requests.length, server.mostInFlight, events.count()]).toEqual([1, 1, 0])
    await pass(1600)
    expect([server.requests.length, events.streams.length, events.count()]).toEqual([2, 2, 1])
  })
})

describe('in a page', () => {
  let page: EventTarget & { visibilityState: string; baseURI: string }

  beforeEach(() => {
    page = Object.assign(new EventTarget(), { visibilityState: 'visible', baseURI: `${ORIGIN}/app/` })
    vi.stubGlobal('document', page)
  })

  function turn(visibilityState: 'hidden' | 'visible'): void {
    page.visibilityState = visibilityState
    page.dispatchEvent(new Event('visibilitychange'))
  }

  test('URLs that mean the same share a stream', async () => {
    const events = fakeEvents((stream) => stream.tell('done', 100))
    const targets = [`/jobs/status/${TOKEN}`, `../jobs/status/${TOKEN}`, `${ORIGIN}/jobs/status/${TOKEN}`]
    await Promise.all(targets.map((target) => watchJob(target, { fetch: hang, events: events.open }).done))
    expect(events.streams.map(({ url }) => url)).toEqual([`${ORIGIN}/jobs/events/${TOKEN}`])
  })

  test('that is hidden there is no stream: it is closed, and opened when the page is shown again', async () => {
    const { server, events } = watch({ onOpen: (stream) => stream.tell('running', 1), respond: () => running(1) })
    await pass(1000)
    turn('hidden')
    await pass(15_000)
    expect(events.count()).toBe(0)
    expect(server.gaps()).toEqual([5000, 5000])
    turn('visible')
    await pass(1600)
    expect([events.streams.length, events.count()]).toEqual([2, 1])
  })

  test('that is hidden from the start, it asks until it is shown', async () => {
    page.visibilityState = 'hidden'
    const { server, events, begin } = watch({
      onOpen: (stream) => stream.tell('running', 1),
      respond: () => running(1),
    })
    begin(OTHER)
    await settle()
    expect([server.requests.length, events.streams.length]).toEqual([2, 0])
    turn('visible')
    await settle()
    expect(events.streams).toHaveLength(2)
  })

  test('no listener is left on it', async () => {
    const { events, first } = watch({ onOpen: (stream) => stream.tell('running', 1) })
    await pass(1000)
    expect(getEventListeners(page, 'visibilitychange')).toHaveLength(1)
    events.streams[0]?.tell('done', 100)
    await first.done
    expect(getEventListeners(page, 'visibilitychange')).toEqual([])
  })
})

import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { addBar, textOf } from './bars'
import { describeInChromium } from './chromium'
import { openRealTab } from './real-tab'
import { keepMoving, openStage, type Request, type Stage } from './stage'

const UNKNOWN = '3f0c2d1e-8a4b-4c6d-9e2f-0a1b2c3d4e5f'

describeInChromium('a watch in a browser', (tabs) => {
  let stage: Stage

  beforeAll(async () => {
    stage = await openStage()
  })
  afterAll(() => stage.close())

  const requestsFor = (token: string): Request[] => stage.requests.filter(({ path }) => path.endsWith(token))

  test('asks one thing at a time, twice in a second at most, and nothing after the end', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const [task, clock] = await Promise.all([stage.start(), stage.start()])
    keepMoving(context, task, clock)
    const sent: { timing(): { startTime: number } }[] = []
    page.on('request', (request) => {
      if (request.url().endsWith(task.token)) sent.push(request)
    })
    await addBar(page, { token: task.token })
    await vi.waitFor(() => expect(sent.length).toBeGreaterThan(6), 10_000)
    task.finish()
    await page.locator('job-progress[state=done]').waitFor()
    const requests = requestsFor(task.token)
    expect(requests).toHaveLength(sent.length)
    expect(requests.filter(({ at }, index) => at < (requests[index - 1]?.endedAt ?? 0))).toEqual([])
    // By the browser's own clock: news of a request may come late.
    const times = sent.map((request) => request.timing().startTime)
    expect(Math.min(...times)).toBeGreaterThan(0)
    const crowds = times.map((start) => times.filter((time) => time >= start && time < start + 1000).length)
    expect(Math.max(...crowds)).toBeLessThanOrEqual(2)
    await addBar(page, { token: clock.token })
    await vi.waitFor(() => expect(requestsFor(clock.token).length).toBeGreaterThan(3), 10_000)
    expect(requestsFor(task.token)).toHaveLength(times.length)
  })

  test.for([{}, { events: '' }])('goes on after 5 s offline: %j', async (attributes, context) => {
    const page = await tabs.open(context, stage.origin)
    const task = await stage.start()
    const bar = await addBar(page, { token: task.token, ...attributes })
    task.progress.set(10)
    await vi.waitFor(async () => expect(await textOf(bar, 'percent')).toBe('10 %'), 5000)
    await page.context().setOffline(true)
    const before = Number.parseInt((await textOf(bar, 'time')) ?? '', 10)
    await vi.waitFor(
      async () => expect(Number.parseInt((await textOf(bar, 'time')) ?? '', 10)).toBeGreaterThanOrEqual(before + 5),
      8000,
    )
    task.finish()
    await page.context().setOffline(false)
    await vi.waitFor(async () => expect(await bar.getAttribute('state')).toBe('done'), 10_000)
  })

  test('polls less in a hidden tab, and at once when it is shown', async (context) => {
    const task = await stage.start()
    keepMoving(context, task)
    const tab = await openRealTab(tabs.browser, `${stage.origin}/watch/${task.token}`)
    await vi.waitFor(() => expect(requestsFor(task.token).length).toBeGreaterThan(2), 8000)
    await tab.hide()
    const before = requestsFor(task.token).length
    await vi.waitFor(() => expect(requestsFor(task.token).length).toBeGreaterThan(before + 1), 15_000)
    const [previous, last] = requestsFor(task.token).slice(-2)
    expect((last?.at ?? 0) - (previous?.at ?? 0)).toBeGreaterThan(4800)
    const shownAt = performance.now()
    await tab.show()
    await vi.waitFor(() => expect(requestsFor(task.token).at(-1)?.at).toBeGreaterThan(shownAt), 2000)
  })

  test.for([UNKNOWN, 'no-token'])('says that a token does not exist: %s', async (token, context) => {
    const page = await tabs.open(context, stage.origin)
    const bar = await addBar(page, { token })
    await vi.waitFor(async () => expect(await bar.getAttribute('state')).toBe('error'), 13_000)
    expect(await textOf(bar, 'message')).toBe('The job does not exist, or has expired')
  })

  test.for([{}, { events: '' }])('says that a server has forgotten the job: %j', async (attributes, context) => {
    const first = await openStage()
    const page = await tabs.open(context, first.origin)
    const bar = await addBar(page, { token: (await first.start()).token, ...attributes })
    await page.locator('job-progress[state=running]').waitFor()
    await first.close()
    const second = await openStage(Number(new URL(first.origin).port))
    context.onTestFinished(() => second.close())
    await vi.waitFor(async () => expect(await bar.getAttribute('state')).toBe('error'), 18_000)
    expect(await textOf(bar, 'message')).toBe('The job does not exist, or has expired')
  })
})

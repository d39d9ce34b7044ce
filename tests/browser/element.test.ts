import type { JobProgressElement } from 'after-jobs/element'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { addBar, readEvents, textOf } from './bars'
import { describeInChromium, type Finisher } from './chromium'
import { keepMoving, openStage, type Stage } from './stage'

const MALICIOUS = '<img src=x onerror="document.title=1">'
const UNKNOWN = '3f0c2d1e-8a4b-4c6d-9e2f-0a1b2c3d4e5f'

describeInChromium('<job-progress>', (tabs) => {
  let stage: Stage

  beforeAll(async () => {
    stage = await openStage()
  })
  afterAll(() => stage.close())

  const asked = (token: string): number => stage.requests.filter(({ path }) => path.endsWith(token)).length

  test('follows a job to its end, in words, numbers and events', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const task = await stage.start()
    const bar = await addBar(page, { token: task.token, label: 'Import' })
    task.progress.set(40)
    task.progress.label('Painting')
    await vi.waitFor(async () => expect(await textOf(bar, 'percent')).toBe('40 %'), 5000)
    expect(await textOf(bar, 'label')).toBe('Painting')
    expect(await textOf(bar, 'time')).toMatch(/^\ds$/)
    expect(await bar.locator('[part=fill]').evaluate((fill) => fill.style.width)).toBe('40%')
    task.finish()
    await vi.waitFor(async () => expect(await bar.getAttribute('state')).toBe('done'), 5000)
    expect([await textOf(bar, 'label'), await textOf(bar, 'message')]).toEqual(['', 'Done'])
    expect(await readEvents(bar)).toEqual(['job-progress running', 'job-progress done', 'job-done done'])
  })

  test('shows the message of a failed job as text', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const task = await stage.start()
    const bar = await addBar(page, { token: task.token })
    task.progress.label(MALICIOUS)
    await vi.waitFor(async () => expect(await textOf(bar, 'label')).toBe(MALICIOUS), 5000)
    task.fail(MALICIOUS)
    await vi.waitFor(async () => expect(await textOf(bar, 'message')).toBe(MALICIOUS), 5000)
    expect(await page.locator('img').count()).toBe(0)
    expect(await page.title()).toBe('Jobs')
    expect((await readEvents(bar)).at(-1)).toBe('job-error error')
  })

  test('tells screen readers what it shows, and what it does not know', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const task = await stage.start()
    const running = await addBar(page, { token: task.token, label: 'Import of France' })
    await addBar(page, { token: await stage.queue() })
    task.progress.set(40)
    const said = (name: string) => page.getByRole('progressbar', { name, exact: true })
    await vi.waitFor(async () => expect(await said('Import of France').getAttribute('aria-valuenow')).toBe('40'), 5000)
    const attributes = (name: string) =>
      said(name).evaluate((bar) => ['min', 'now', 'max', 'text'].map((key) => bar.getAttribute(`aria-value${key}`)))
    expect(await attributes('Import of France')).toEqual(['0', '40', '100', '40 %'])
    expect(await attributes('Progress')).toEqual(['0', null, '100', 'Waiting'])
    // A region that is there before its words is announced when they come.
    expect(await running.locator('[aria-live=polite] [part]').count()).toBe(2)
    expect(await running.locator('[aria-live] [part=time]').count()).toBe(0)
    await running.evaluate((bar) => bar.setAttribute('label', 'Other'))
    expect(await said('Other').count()).toBe(1)
  })

  test.for(['light', 'dark'] as const)('passes axe in every state: %s', async (colorScheme, context) => {
    const page = await tabs.open(context, stage.origin, { colorScheme, bypassCSP: true })
    await page.addStyleTag({ content: ':root { color-scheme: light dark; background: light-dark(#fff, #111827) }' })
    const [running, failed, ended] = await Promise.all([stage.start(), stage.start(), stage.start()])
    running.progress.set(40)
    failed.fail('No such country')
    ended.finish()
    const tokens = [running.token, failed.token, ended.token, await stage.queue()]
    for (const token of tokens) await addBar(page, { token })
    for (const state of ['running', 'error', 'done', 'pending']) {
      await page.locator(`job-progress[state=${state}]`).waitFor()
    }
    await page.addScriptTag({ path: 'node_modules/axe-core/axe.min.js' })
    const violations = await page.evaluate(async () => {
      const { axe } = globalThis as unknown as { axe: typeof import('axe-core') }
      const { violations, passes } = await axe.run()
      const isThorough = passes.some(({ id }) => id === 'color-contrast')
      return [
        ...violations.map(({ id, help }) => `${id}: ${help}`),
        ...(isThorough ? [] : ['no contrast was measured']),
      ]
    })
    expect(violations).toEqual([])
    const scheme = await page.locator('[state=done] [part=fill]').evaluate((fill) => getComputedStyle(fill).color)
    expect(scheme).toBe(colorScheme === 'light' ? 'rgb(21, 128, 61)' : 'rgb(74, 222, 128)')
  })

  test('stands still for whoever wants no motion', async (context) => {
    const token = await stage.queue()
    const moves = async (reducedMotion: 'reduce' | 'no-preference') => {
      const page = await tabs.open(context, stage.origin, { reducedMotion })
      const fill = (await addBar(page, { token })).locator('[part=fill]')
      return fill.evaluate((element) => getComputedStyle(element).animationName)
    }
    expect([await moves('no-preference'), await moves('reduce')]).toEqual(['wait', 'none'])
  })

  test('is upgraded with what was set before', async (context) => {
    const page = await tabs.open(context, `${stage.origin}/bare`, { bypassCSP: true })
    const task = await stage.start()
    task.finish()
    const bar = await addBar(page, {})
    await bar.evaluate((element, token) => Object.assign(element, { token, events: false }), task.token)
    await page.addScriptTag({ url: '/element.js', type: 'module' })
    await page.locator('job-progress[state=done]').waitFor()
    expect(await bar.getAttribute('token')).toBe(task.token)
    // A second copy of the file leaves the first one's element alone.
    // As a string, because the test runner rewrites an import().
    const names = await page.evaluate("import('/element.js?copy').then(Object.keys)")
    expect(names).toContain('JobProgressElement')
  })

  test('follows its attributes, once for all that change together', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const [first, second] = await Promise.all([stage.start(), stage.start()])
    keepMoving(context, second)
    const bar = await addBar(page, { token: first.token })
    await page.locator('job-progress[state=running]').waitFor()
    await bar.evaluate((element, token) => {
      element.setAttribute('base-path', '/elsewhere')
      element.setAttribute('token', token)
      element.setAttribute('base-path', '/jobs')
    }, second.token)
    const before = asked(first.token)
    await vi.waitFor(async () => expect(await textOf(bar, 'percent')).toMatch(/^[1-9]/), 5000)
    await vi.waitFor(() => expect(asked(second.token)).toBeGreaterThan(3), 8000)
    expect(asked(first.token)).toBe(before)
    expect(stage.requests.filter(({ path }) => path.startsWith('/elsewhere'))).toEqual([])
    await bar.evaluate((element) => element.removeAttribute('token'))
    await vi.waitFor(async () => expect(await bar.getAttribute('state')).toBeNull())
  })

  test('asks no more once it is removed, and goes on where it is put back', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const [task, clock] = await Promise.all([stage.start(), stage.start()])
    keepMoving(context, clock)
    const bar = await addBar(page, { token: task.token })
    await page.locator('job-progress[state=running]').waitFor()
    const removed = await bar.evaluateHandle((element) => {
      element.remove()
      return element
    })
    const before = asked(task.token)
    await addBar(page, { token: clock.token })
    await vi.waitFor(() => expect(asked(clock.token)).toBeGreaterThan(2), 8000)
    expect(asked(task.token)).toBe(before)
    await removed.evaluate((element) => document.querySelector('main')?.append(element))
    task.finish()
    await page.locator('job-progress[state=done]').waitFor()
  })

  test('tells the end once, and asks no more, wherever it is moved', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const [task, clock] = await Promise.all([stage.start(), stage.start()])
    keepMoving(context, clock)
    task.finish()
    // The handler that moves a finished card to another list must not be called for ever.
    await page.evaluate(() => {
      Object.assign(globalThis, { ends: 0 })
      document.addEventListener('job-done', ({ target }) => {
        ;(globalThis as unknown as { ends: number }).ends++
        document.body.append(target as Node)
      })
    })
    // Only now: its end may be the first thing that it hears.
    const bar = await addBar(page, { token: task.token })
    await page.locator('body > job-progress[state=done]').waitFor()
    const before = asked(task.token)
    await bar.evaluate((element) => document.querySelector('main')?.append(element))
    await addBar(page, { token: clock.token })
    await vi.waitFor(() => expect(asked(clock.token)).toBeGreaterThan(2), 8000)
    expect(asked(task.token)).toBe(before)
    expect(await page.evaluate(() => (globalThis as unknown as { ends: number }).ends)).toBe(1)
  })

  test('shares one stream where it has the attribute events', async (context) => {
    const page = await tabs.open(context, stage.origin)
    const task = await stage.start()
    const bars = [
      await addBar(page, { token: task.token, events: '' }),
      await addBar(page, { token: task.token, events: '' }),
    ]
    await page.locator('job-progress[state=running]').nth(1).waitFor()
    task.progress.set(55)
    for (const bar of bars) await vi.waitFor(async () => expect(await textOf(bar, 'percent')).toBe('55 %'), 5000)
    task.finish()
    await page.locator('job-progress[state=done]').nth(1).waitFor()
    const paths = stage.requests.map(({ path }) => path).filter((path) => path.endsWith(task.token))
    expect(paths).toEqual([`/jobs/events/${task.token}`])
  })

  describe('with a fetch of its own', () => {
    const show = async (context: Finisher, status: number, body: object) => {
      const page = await tabs.open(context, stage.origin)
      await page.evaluate(
        ({ status, body, token }) => {
          const bar = document.createElement('job-progress')
          bar.fetch = async () => Response.json(body, { status })
          bar.token = token
          document.querySelector('main')?.append(bar)
        },
        { status, body, token: UNKNOWN },
      )
      const bar = page.locator('job-progress')
      await page.locator('job-progress:is([state=done], [state=error])').waitFor()
      return bar
    }

    test('it shows minutes from the first one on, by the server’s clock', async (context) => {
      const done = { status: 'done', progress: 100, createdAt: 5000, updatedAt: 70_000, finishedAt: 70_000 }
      expect(await textOf(await show(context, 200, done), 'time')).toBe('01:05')
    })

    test('a refusal is an end', async (context) => {
      const bar = await show(context, 401, { title: 'Unauthorized' })
      expect([await textOf(bar, 'message'), await textOf(bar, 'time')]).toEqual(['The job cannot be read', ''])
      const { state, token }: Partial<JobProgressElement & { state: string }> = await bar.evaluate((element) => ({
        state: element.getAttribute('state') ?? '',
        token: (element as JobProgressElement).token,
      }))
      expect({ state, token }).toEqual({ state: 'error', token: UNKNOWN })
    })
  })
})

import { existsSync } from 'node:fs'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, type TestContext, test } from 'vitest'

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const SWITCHES = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
]

/** Of a test, in milliseconds. */
const LIMIT = 30_000

const executablePath = PLACES.find((path) => existsSync(path))
const playwright = await import('playwright-core').catch(() => undefined)
const lack = executablePath === undefined ? 'Chromium' : playwright === undefined ? 'playwright-core' : undefined

/** What must be closed after a test, which may run beside others. */
export type Finisher = Pick<TestContext, 'onTestFinished'>

/** A browser that its suite has for itself, with a profile that is new. */
export interface Tabs {
  readonly browser: Browser
  /** Opens a page that lasts as long as the test. */
  open(test: Finisher, url: string, options?: BrowserContextOptions): Promise<Page>
}

/**
 * Describes what happens in a browser, side by side, since most of it is waiting. It is left out with a reason where there is none,
 * a failure where all must be tested.
 */
export function describeInChromium(name: string, body: (tabs: Tabs) => void): void {
  if (lack === undefined) return void describe(name, { timeout: LIMIT, concurrent: true }, () => body(useBrowser()))
  if (!process.env.CI) {
    console.warn(`Skipped, because ${lack} is not installed: ${name}`)
    return void describe.skipIf(true)(name, () => body(useBrowser()))
  }
  describe(name, () => {
    test('a browser is there', () => {
      throw new Error(`${lack} is not installed. In CI nothing may be left out.`)
    })
  })
}

function useBrowser(): Tabs {
  let browser: Browser | undefined
  const find = (): Browser => {
    if (browser === undefined) throw new Error('The browser has not started.')
    return browser
  }
  beforeAll(async () => {
    browser = await playwright?.chromium.launch({ ...(executablePath && { executablePath }), args: SWITCHES })
  })
  afterAll(() => browser?.close())
  return {
    get browser() {
      return find()
    },
    async open({ onTestFinished }, url, options = {}) {
      const context = await find().newContext(options)
      onTestFinished(() => context.close())
      const page = await context.newPage()
      await page.goto(url)
      return page
    },
  }
}

import type { Browser } from 'playwright-core'

/** A tab that is hidden when another one stands in front of it. */
export interface RealTab {
  hide(): Promise<void>
  show(): Promise<void>
}

/** Opens a tab past Playwright, which makes each of its pages believe that it is in front, always. */
export async function openRealTab(browser: Browser, url: string): Promise<RealTab> {
  const devtools = await browser.newBrowserCDPSession()
  const { browserContextId } = await devtools.send('Target.createBrowserContext')
  const { targetId } = await devtools.send('Target.createTarget', { url, browserContextId })
  return {
    async hide() {
      const front = await devtools.send('Target.createTarget', { url: 'about:blank', browserContextId })
      await devtools.send('Target.activateTarget', front)
    },
    async show() {
      await devtools.send('Target.activateTarget', { targetId })
    },
  }
}

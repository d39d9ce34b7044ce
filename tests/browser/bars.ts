import type { JobProgressElement } from 'after-jobs/element'
import type { Locator, Page } from 'playwright-core'

/** Puts an element into the page, and remembers what it tells. */
export async function addBar(page: Page, attributes: Record<string, string>): Promise<Locator> {
  const id = `bar-${await page.locator('job-progress').count()}`
  await page.evaluate(
    ([name, attributes]) => {
      const bar = document.createElement('job-progress')
      const heard: string[] = []
      for (const type of ['job-progress', 'job-done', 'job-error'] as const) {
        document.addEventListener(type, (event) => {
          if (event.target === bar) heard.push(`${type} ${event.detail.status}`)
        })
      }
      Object.assign(bar, { id: name, heard })
      for (const [key, value] of Object.entries(attributes)) bar.setAttribute(key, value)
      document.querySelector('main')?.append(bar)
    },
    [id, attributes] as const,
  )
  return page.locator(`#${id}`)
}

/** What an element has told, without the repetitions. */
export function readEvents(bar: Locator): Promise<string[]> {
  return bar.evaluate((element) => [...new Set((element as JobProgressElement & { heard: string[] }).heard)])
}

/** The text of a part. */
export function textOf(bar: Locator, part: string): Promise<string | null> {
  return bar.locator(`[part=${part}]`).textContent()
}

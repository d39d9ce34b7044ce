import { beforeEach, expect, test, vi } from 'vitest'

// What the element does in a page is tested in tests/browser: here there is no page.
const names = ['JobProgressElement', 'jobProgressWords']

beforeEach(() => {
  vi.resetModules()
  vi.unstubAllGlobals()
})

test('a server can import it', async () => {
  expect(globalThis.HTMLElement).toBeUndefined()
  expect(Object.keys(await import('after-jobs/element')).sort()).toEqual(names)
})

test('a browser gets its element, once', async () => {
  const registry = stubBrowser()
  const { JobProgressElement } = await import('after-jobs/element')
  vi.resetModules()
  const copy = await import('after-jobs/element')
  expect(copy.JobProgressElement).not.toBe(JobProgressElement)
  expect(registry.define.mock.calls).toEqual([['job-progress', JobProgressElement]])
})

test('where the name is taken, it stays with whoever has it', async () => {
  const registry = stubBrowser()
  registry.elements.set('job-progress', class {})
  await import('after-jobs/element')
  expect(registry.define).not.toHaveBeenCalled()
})

function stubBrowser() {
  const elements = new Map<string, unknown>()
  const define = vi.fn((name: string, element: unknown) => void elements.set(name, element))
  vi.stubGlobal('HTMLElement', class {})
  vi.stubGlobal('customElements', { get: (name: string) => elements.get(name), define })
  return { elements, define }
}

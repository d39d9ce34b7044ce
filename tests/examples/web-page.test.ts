import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import manifest from '../../package.json'
import { type PageProcess, startPage } from '../browser/page-process'
import { COMMAND } from './run-example'

// What a browser makes of the page is tested in tests/browser.
const FILES: [path: string, type: string][] = [
  ['/', 'text/html; charset=utf-8'],
  ['/page.css', 'text/css'],
  ['/page.js', 'text/javascript'],
  ['/icon.svg', 'image/svg+xml'],
  ['/after-jobs/element.js', 'text/javascript'],
]

let served: PageProcess

beforeAll(async () => {
  served = await startPage('--seconds', '0.1')
})
afterAll(async () => {
  await served.end('SIGKILL')
})

test('npm run example:web runs the command that is tested here', () => {
  const [build, run] = manifest.scripts['example:web'].split(' && ')
  expect(build).toMatch(/tsup|build/)
  expect(run).toBe(`tsx ${COMMAND.join(' ')} examples/web-page/main.ts`)
})

describe('the server', () => {
  test.each(FILES)('serves %s under a policy that allows nothing inline', async (path, type) => {
    const response = await fetch(`${served.url}${path}`)
    expect([response.status, response.headers.get('Content-Type')]).toEqual([200, type])
    expect(response.headers.get('Content-Security-Policy')).toMatch(/^default-src 'none';(?!.*unsafe)/)
  })

  test.each(['/main.ts', '/../package.json', '/%2e%2e/server.ts', '/site/index.html', '/__proto__'])(
    'serves no other file: %s',
    async (path) => {
      expect((await fetch(`${served.url}${path}`)).status).toBe(404)
    },
  )

  test('serves the element as one file, which imports no other', () => {
    const element = readFileSync('dist/element/index.js', 'utf8')
    expect(element).not.toMatch(/\b(import|require)\b\s*[("'{*]|\bfrom\s*["']/)
    expect(element).toContain('job-progress')
  })

  test('takes an order, and lets it be cancelled', async () => {
    const created = await fetch(`${served.url}/imports`, { method: 'POST', body: '{}' })
    const { token } = (await created.json()) as { token: string }
    expect([created.status, created.headers.get('Operation-Location')]).toEqual([201, `/jobs/status/${token}`])
    const cancelled = await fetch(`${served.url}/jobs/cancel/${token}`, { method: 'POST' })
    expect(await cancelled.json()).toMatchObject({ status: 'error', code: 'cancelled' })
  })
})

test('Ctrl+C ends it, also while it works and pages are open', async () => {
  const other = await startPage('--seconds', '30')
  const created = await fetch(`${other.url}/imports`, { method: 'POST', body: '{}' })
  const { token } = (await created.json()) as { token: string }
  const stream = await fetch(`${other.url}/jobs/events/${token}`)
  const outcome = await other.end('SIGINT')
  await stream.body?.cancel().catch(() => {})
  expect(outcome).toMatchObject({ code: 0 })
})

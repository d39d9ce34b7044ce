import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { build, type Plugin } from 'esbuild'
import { expect, test } from 'vitest'
import { type Block, readBlocks } from '../readme/markdown'
import { describeInChromium, type Finisher } from './chromium'

const BLOCKS = readBlocks(readFileSync('README.md', 'utf8'))

/** Finds the block that holds a text, which only one does. */
function findCode(info: string, text: string): string {
  const found = BLOCKS.filter((block: Block) => block.info === info && block.code.includes(text))
  if (found.length !== 1) throw new Error(`${found.length} blocks of the README hold ${text}; expected one.`)
  return found[0]?.code ?? ''
}

const PAGE = findCode('html', '/page.js')
const SCRIPT = findCode('ts', "querySelector('job-progress')")
/** What the reader of "A first service", "Token to the client" and "In the page" has in the end, a file for each. */
const FILES: Readonly<Record<string, string>> = {
  './service': `${findCode('ts run', 'class ProjectService')}\nexport { jobs, service }`,
  // On a free port.
  './server': `import { jobs, service } from './service'\n${findCode('ts', 'app.listen(3000)').replace('3000', '0')}\nexport { app, server }`,
  './element': `import { app } from './server'\n${findCode('ts', "'dist/element'")}`,
}
const MAIN = `
  import './element'
  import { app, server } from './server'
  app.get('/', (_, response) => response.send(${JSON.stringify(PAGE)}))
  app.get('/page.js', (_, response) => response.type('js').send(${JSON.stringify(SCRIPT)}))
  console.log('http://127.0.0.1:' + server.address().port + '/')
`

const readme: Plugin = {
  name: 'readme',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /./ }, ({ path }) => {
      return path.startsWith('./') ? { path, namespace: 'readme' } : { path, external: true }
    })
    onLoad({ filter: /./, namespace: 'readme' }, ({ path }) => ({ contents: FILES[path] ?? '', loader: 'ts' }))
  },
}

/** Starts the server of the README, with the package as it was built. Answers its URL, and what ends it. */
async function startServer({ onTestFinished }: Finisher) {
  const { outputFiles } = await build({
    stdin: { contents: MAIN, resolveDir: process.cwd() },
    ...{ bundle: true, write: false, platform: 'node', format: 'esm', plugins: [readme] },
  })
  const child = spawn(process.execPath, ['--input-type=module', '-'], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  child.stdin.end(outputFiles[0]?.text)
  const closed = once(child, 'close') as Promise<[number | null]>
  const listening = new Promise<string>((resolve) => {
    // Read on: what its jobs print must find a reader.
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const [url] = /http:\S+/.exec(text) ?? []
      if (url !== undefined) resolve(url)
    })
  })
  const url = await Promise.race([listening, closed.then(([code]) => `It ended with ${code} before it listened`)])
  const end = async () => {
    child.kill('SIGTERM')
    return (await closed)[0]
  }
  return { url, end }
}

describeInChromium('the page of the README', (tabs) => {
  test('shows a job from the click to its end, and its server closes when it is told to', async (context) => {
    const { url, end } = await startServer(context)
    const page = await tabs.open(context, url)
    await page.getByRole('button', { name: 'Create the project' }).click()
    const bar = page.getByRole('progressbar', { name: 'Create the project' })
    await page.locator('job-progress[state=done]').waitFor()
    expect(await bar.getAttribute('aria-valuenow')).toBe('100')
    expect(await end()).toBe(0)
  })
})

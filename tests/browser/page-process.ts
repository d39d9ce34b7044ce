import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The example, in a process of its own. */
export interface PageProcess {
  readonly url: string
  /** Ends it, and answers with its exit code and what it had to complain of. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; stderr: string }>
}

/** Starts `examples/web-page` as its reader would; what it imports is removed with it. */
export async function startPage(...args: string[]): Promise<PageProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'web-page-'))
  const env = { ...process.env, TMPDIR: folder, TSX_TSCONFIG_PATH: 'examples/tsconfig.json' }
  // Without the `tsx` command in between, which a SIGKILL would not hand on.
  const command = ['--import', 'tsx', 'examples/web-page/main.ts', ...args]
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'], env })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const closed = once(child, 'close') as Promise<[number | null]>
  const greeting = once(child.stdout, 'data').then(([text]) => /http:\S+/.exec(String(text))?.[0])
  const url = await Promise.race([greeting, closed.then(() => undefined)])
  if (url === undefined) throw new Error(`The example did not start: ${stderr}`)
  return {
    url,
    async end(signal) {
      child.kill(signal)
      const [code] = await closed
      rmSync(folder, { recursive: true, force: true })
      return { code, stderr }
    },
  }
}

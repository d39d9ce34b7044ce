import { execFile } from 'node:child_process'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

const ROOT = resolve(import.meta.dirname, '../../..')
const SCRIPT = join(import.meta.dirname, 'lives.ts')
/** Many times what the longest takes. */
const TIME_LIMIT = 20_000

/** Runs a program of `lives.ts`, and answers what it said; rejects when it does not exit by itself. */
export async function live(name: string, url: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', SCRIPT, name, url], {
    cwd: ROOT,
    env: { ...process.env, TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json'), ...env },
    timeout: TIME_LIMIT,
    killSignal: 'SIGKILL',
  })
  return stdout.trim()
}

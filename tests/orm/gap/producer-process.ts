import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { build } from 'esbuild'

const ROOT = resolve(import.meta.dirname, '../../..')

/** Makes one file of a producer and the sources, so that its many processes start quickly. */
export async function bundleProducer(script: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [script],
    ...{ bundle: true, write: false, platform: 'node', format: 'esm', target: 'node20', packages: 'external' },
    alias: {
      'after-jobs': join(ROOT, 'src/index.ts'),
      'after-jobs/postgres': join(ROOT, 'src/postgres/index.ts'),
      'after-jobs/redis': join(ROOT, 'src/redis/index.ts'),
    },
  })
  return outputFiles[0]?.text ?? ''
}

/** Lets a producer work for so many milliseconds, and kills it. */
export async function runProducer(code: string, setting: object, lifetime: number): Promise<void> {
  // The code on its standard input, because only from here its packages are found.
  const child = spawn(process.execPath, ['--input-type=module', '-', JSON.stringify(setting)], {
    cwd: ROOT,
    stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
  })
  const died = once(child, 'exit')
  child.stdin?.end(code)
  const early = died.then(() => Promise.reject(new Error('The producer ended before it was killed.')))
  early.catch(() => {})
  await Promise.race([once(child, 'message'), early])
  await pause(lifetime)
  child.kill('SIGKILL')
  await died
}

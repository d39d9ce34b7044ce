import { execSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Builds where the build is missing or older than the sources, so that no test passes on a stale one. */
export function setup(): void {
  const sources = readdirSync('src', { recursive: true, encoding: 'utf8' }).map((file) => join('src', file))
  const newest = Math.max(...[...sources, 'tsup.config.ts'].map((file) => statSync(file).mtimeMs))
  // The last files of a build that went well.
  const built = ['dist/index.d.ts', 'dist/index.d.cts'].map(
    (file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0,
  )
  if (Math.min(...built) < newest) execSync('npm run build', { stdio: 'inherit' })
}

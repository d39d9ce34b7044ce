import { execFileSync } from 'node:child_process'

/** Runs npm in a folder and answers what it printed. */
export function npm(args: string[], cwd: string): string {
  const quiet = ['--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  return execFileSync('npm', [...args, ...quiet], { cwd, encoding: 'utf8', shell: process.platform === 'win32' })
}

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { npm } from './npm'

/**
 * The other versions that the package must work with. They are installed on demand into a cache of their own, and under
 * names of their own, so that nothing finds them by accident.
 */
const HOME = resolve('node_modules/.cache/after-jobs')
const NODE = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
const MANIFEST = JSON.stringify({
  private: true,
  dependencies: {
    node22: `npm:${NODE}@22`,
    node24: `npm:${NODE}@24`,
    // These packages hold the executable itself; those named bun and deno fetch it in an install script.
    bun: `npm:@oven/bun-${platformOfBun()}@1`,
    deno: `npm:@deno/${process.platform}-${process.arch}${process.platform === 'linux' ? '-glibc' : ''}@2`,
    vite: 'npm:vite@8',
    'typescript-5.4': 'npm:typescript@5.4',
    'typescript-5.9': 'npm:typescript@5.9',
    'typescript-7': 'npm:typescript@7',
  },
})

/** The executables of Node: the one at hand, and two more. */
export const nodes = [
  { version: process.versions.node, node: process.execPath },
  { version: '22', node: nodeOf('node22') },
  { version: '24', node: nodeOf('node24') },
]

/** The compilers, each a script for Node. */
export const compilers = ['5.4', '5.9', '7'].map((version) => ({
  version,
  tsc: join(HOME, 'node_modules', `typescript-${version}`, 'bin', 'tsc'),
}))

/** The other runtimes, each with the arguments that precede those of a script. */
export const runtimes = [
  { name: 'Bun', runtime: executable('bun', 'bin', 'bun'), flags: ['--no-install'] },
  { name: 'Deno', runtime: executable('deno', 'deno'), flags: ['run', '--allow-all', '--quiet'] },
]

/** Vite's command, a script for Node. */
export const vite = join(HOME, 'node_modules', 'vite', 'bin', 'vite.js')

/** Installs what is missing. */
export function installToolchain(): void {
  const manifest = join(HOME, 'package.json')
  const executables = [...nodes.map(({ node }) => node), ...runtimes.map(({ runtime }) => runtime)]
  const files = [...executables, ...compilers.map(({ tsc }) => tsc), vite]
  if (files.every(existsSync) && existsSync(manifest) && readFileSync(manifest, 'utf8') === MANIFEST) return
  mkdirSync(HOME, { recursive: true })
  writeFileSync(manifest, MANIFEST)
  npm(['install', '--no-package-lock'], HOME)
}

function nodeOf(name: string): string {
  return executable(name, 'bin', 'node')
}

function executable(name: string, ...path: string[]): string {
  return `${join(HOME, 'node_modules', name, ...path)}${process.platform === 'win32' ? '.exe' : ''}`
}

/** The build for older processors, where there are several. */
function platformOfBun(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  return `${platform}-${process.arch === 'arm64' ? 'aarch64' : 'x64-baseline'}`
}

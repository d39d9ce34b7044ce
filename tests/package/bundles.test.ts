import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { expect, inject, test } from 'vitest'
import { vite } from './toolchain'

const consumer = inject('consumer')
/** What Vite adds to each page, for browsers that do not know `modulepreload`. */
const PRELOAD = 400

/** What a bundler made of a page: the files of the package that something is left of, and the size, gzipped. */
interface Bundle {
  files: string[]
  bytes: number
}

/** Pages of a consumer, what each needs of the package, and the most that it may weigh. */
const PAGES = [
  {
    page: 'client',
    code: "import { watchJob } from 'after-jobs/client'\nvoid watchJob('/jobs/status/1').done",
    files: ['client/index.js'],
    limit: 2_200,
  },
  { page: 'element', code: "import 'after-jobs/element'", files: ['element/index.js'], limit: 4_000 },
  {
    page: 'both',
    code: "import { formatElapsed } from 'after-jobs/client'\nimport 'after-jobs/element'\nconsole.log(formatElapsed(1))",
    files: ['client/index.js', 'element/index.js'],
    limit: 4_200,
  },
  // From the root entry too only what is used: code that a server shares with its page may name these.
  {
    page: 'error',
    code: "import { JobError } from 'after-jobs'\nconsole.log(new JobError('The city does not exist'))",
    files: [expect.stringMatching(/^chunk-/)],
    limit: 400,
  },
  {
    page: 'headers',
    code: "import { jobHeaders } from 'after-jobs'\nconsole.log(jobHeaders('1'))",
    files: [expect.stringMatching(/^chunk-/), 'index.js'],
    limit: 300,
  },
]

test.for(PAGES)('esbuild takes only what the page needs: $page', async ({ page, code, files, limit }) => {
  // For browsers it refuses what it would not take: the root entry is for servers.
  const platform = code.includes("from 'after-jobs'") ? 'node' : 'browser'
  const bundle = await bundleWithEsbuild(writePage(`esbuild-${page}`, code), platform)
  expect(bundle.files).toEqual(files)
  expect(bundle.bytes).toBeLessThanOrEqual(limit)
})

test.for(PAGES)('Vite takes only what the page needs: $page', ({ page, code, files, limit }) => {
  const bundle = bundleWithVite(writePage(`vite-${page}`, code))
  expect(bundle.files).toEqual(files)
  expect(bundle.bytes).toBeLessThanOrEqual(limit + PRELOAD)
})

test('a page with the runtime in it would be seen', async () => {
  const page = writePage('runtime', "import { withAfterJobs } from 'after-jobs'\nconsole.log(withAfterJobs)")
  expect(bundleWithVite(page).files).toContain('__vite-browser-external')
  await expect(bundleWithEsbuild(page, 'browser')).rejects.toThrow('Could not resolve "node:async_hooks"')
})

test("a server's bundle by Vite keeps what must happen on import", () => {
  const folder = join(consumer, 'vite-server')
  mkdirSync(folder)
  copyFileSync('tests/package/consumer/serving.ts', join(folder, 'serving.ts'))
  writeFileSync(join(folder, 'vite.config.mjs'), 'export default { ssr: { noExternal: true } }')
  run(folder, vite, 'build', '--ssr', 'serving.ts', '--minify')
  const bundle = join('dist', 'serving.mjs')
  expect(readFileSync(join(folder, bundle), 'utf8')).toContain('net.server.socket')
  expect(JSON.parse(run(folder, bundle))).toEqual({ isSame: true, code: 'NO_SCOPE' })
})

/** Answers the page's script. */
function writePage(name: string, code: string): string {
  const folder = join(consumer, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'index.html'), '<!doctype html><script type="module" src="./main.ts"></script>')
  writeFileSync(join(folder, 'main.ts'), code)
  return join(folder, 'main.ts')
}

async function bundleWithEsbuild(script: string, platform: 'browser' | 'node'): Promise<Bundle> {
  const shape = { bundle: true, minify: true, write: false, metafile: true, logLevel: 'silent' } as const
  const { outputFiles, metafile } = await build({ entryPoints: [script], ...shape, format: 'esm', platform })
  const [output] = Object.values(metafile.outputs)
  const left = Object.entries(output?.inputs ?? {}).filter(([, { bytesInOutput }]) => bytesInOutput > 0)
  return { files: filesOfPackage(left.map(([file]) => file)), bytes: sizeOf(outputFiles[0]?.contents ?? '') }
}

function bundleWithVite(script: string): Bundle {
  const folder = dirname(script)
  run(folder, vite, 'build', '--sourcemap', 'hidden')
  const assets = join(folder, 'dist', 'assets')
  const bundles = readdirSync(assets).filter((file) => file.endsWith('.js'))
  expect(bundles).toHaveLength(1)
  const bundle = join(assets, bundles[0] ?? '')
  const { sources } = JSON.parse(readFileSync(`${bundle}.map`, 'utf8')) as { sources: string[] }
  return { files: filesOfPackage(sources), bytes: sizeOf(readFileSync(bundle)) }
}

/** The files of the package, and what stands in for those of others. */
function filesOfPackage(sources: string[]): string[] {
  const others = sources.filter((source) => !/(^|\/)main\.ts$/.test(source))
  return others.map((source) => /after-jobs\/dist\/(.+)$/.exec(source)?.[1] ?? basename(source)).toSorted()
}

function sizeOf(code: string | Uint8Array): number {
  return gzipSync(code, { level: 9 }).byteLength
}

/** Runs a script and answers what it printed. */
function run(cwd: string, ...args: string[]): string {
  // Vite builds otherwise for the tests' own NODE_ENV.
  const env = { ...process.env, NODE_ENV: 'production' }
  const options = { cwd, env, encoding: 'utf8', timeout: 60_000 } as const
  const { status, stdout, stderr, error } = spawnSync(process.execPath, args, options)
  if (error) throw error
  if (status !== 0) throw new Error(`${stdout}${stderr}` || `${args[0]} ended with ${status}`)
  return stdout
}

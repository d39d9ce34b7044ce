import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import { beforeAll, expect, inject, test } from 'vitest'
import { nodes } from './toolchain'

const SAMPLES = 'tests/package/consumer'
const consumer = inject('consumer')

beforeAll(() => {
  // One source becomes an ES module and a CommonJS one, which imports and requires the package.
  copyFileSync(join(SAMPLES, 'run.ts'), join(consumer, 'run.mts'))
  copyFileSync(join(SAMPLES, 'run.ts'), join(consumer, 'run.cts'))
  copyFileSync(join(SAMPLES, 'copies.mts'), join(consumer, 'copies.mts'))
  const compilerOptions = { target: 'es2022', module: 'nodenext', strict: true, types: ['node'] }
  const files = ['run.mts', 'run.cts', 'copies.mts']
  writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const { status, stdout } = spawnSync('node_modules/.bin/tsc', ['-p', consumer], {
    encoding: 'utf8',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error(stdout)
})

test.for(nodes.flatMap((node) => ['run.mjs', 'run.cjs'].map((script) => ({ ...node, script }))))(
  'a first job runs on Node $version in $script',
  ({ node, script, version }) => {
    expect(execFileSync(node, ['--version'], { encoding: 'utf8' })).toMatch(`v${version}`)
    expect(run(node, script)).toMatchObject([
      { status: 'done', progress: 100, label: 'Side Street', result: { id: 1 } },
      { status: 'done', progress: 100, label: 'Side Street', result: { id: 1 } },
      { status: 'done', progress: 100, label: null, result: null },
    ])
  },
)

test.for(nodes)('both builds in one process know each other on Node $version', ({ node }) => {
  const expected = { areTwo: true, isKnown: true, status: 'error', message: 'The city does not exist' }
  expect(run(node, 'copies.mjs')).toEqual(expected)
})

test.for(nodes)('the entries of the CommonJS build share their modules on Node $version', ({ node }) => {
  const script = `
    const { AfterJobsError } = require('after-jobs')
    const { createJobHandler } = require('after-jobs/http')
    try { createJobHandler() } catch (error) { console.log(error instanceof AfterJobsError) }`
  expect(run(node, '-e', script)).toBe(true)
})

test.for(nodes)('importing the root starts nothing and loads no server on Node $version', ({ node }) => {
  const script = `
    const before = process.moduleLoadList.slice()
    await import('after-jobs')
    const added = process.moduleLoadList.filter((name) => !before.includes(name))
    console.log(JSON.stringify(added.filter((name) => /\\b(http|https|http2|net|tls|child_process|worker_threads)$/.test(name))))`
  expect(run(node, '--input-type=module', '-e', script)).toEqual([])
})

test.for([{ minify: false }, { minify: true }])(
  'a bundle keeps what must happen on import (minify: $minify)',
  async ({ minify }) => {
    const outfile = join(consumer, `serving-${minify}.cjs`)
    const input = join(consumer, 'serving.ts')
    copyFileSync(join(SAMPLES, 'serving.ts'), input)
    await build({ entryPoints: [input], bundle: true, minify, outfile, platform: 'node', target: 'node20' })
    expect(run(process.execPath, outfile)).toEqual({ isSame: true, code: 'NO_SCOPE' })
  },
)

function run(node: string, ...args: string[]): unknown {
  const { status, stdout, stderr } = spawnSync(node, args, { cwd: consumer, encoding: 'utf8', timeout: 60_000 })
  if (status !== 0) throw new Error(stderr || `${args[0]} ended with ${status}`)
  return JSON.parse(stdout)
}

import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, inject, test } from 'vitest'
import { COMPANIONS, complete, nameOf, readBlocks } from '../readme/markdown'
import { compilers } from './toolchain'

const SAMPLE = 'tests/package/consumer/types.ts'

/** How a consumer may resolve modules, the names under which the sample is then compiled, and what is global there. */
const RESOLUTIONS = [
  // As an ES module and as a CommonJS one, each of which finds declarations of its own kind; on a server, without the DOM.
  { module: 'nodenext', moduleResolution: 'nodenext', files: ['types.mts', 'types.cts'], lib: ['es2022'] },
  { module: 'esnext', moduleResolution: 'bundler', files: ['types.ts'], lib: ['es2022', 'dom'] },
]

const cases = compilers.flatMap((compiler) => RESOLUTIONS.map((resolution) => ({ ...compiler, ...resolution })))

test.for(cases)('a consumer compiles on TypeScript $version, module $module', ({ tsc, files, ...rest }) => {
  const { module, moduleResolution, lib, version } = rest
  const folder = join(inject('consumer'), `types-${version}-${module}`)
  mkdirSync(folder)
  for (const file of files) copyFileSync(SAMPLE, join(folder, file))
  // Declarations are emitted too, because a type that cannot be named fails only there; the library's own are checked.
  const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false }
  const emit = { declaration: true, emitDeclarationOnly: true, outDir: 'out' }
  const compilerOptions = { target: 'es2022', module, moduleResolution, lib, types: ['node'], ...strict, ...emit }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  expect(compile(tsc, folder)).toBe('')
})

test.for(compilers)('the client and the element need no types of Node on TypeScript $version', ({ tsc, version }) => {
  const folder = join(inject('consumer'), `client-${version}`)
  mkdirSync(folder)
  writeFileSync(
    join(folder, 'page.ts'),
    [
      "import { watchJob } from 'after-jobs/client'",
      "import 'after-jobs/element'",
      "void watchJob('/jobs/status/x').done",
      "const bar = document.createElement('job-progress')",
      "bar.token = 'x'",
      "bar.addEventListener('job-done', ({ detail }) => console.log(detail.result))",
      '// @ts-expect-error a token is a string',
      'bar.token = 1',
    ].join('\n'),
  )
  const compilerOptions = { target: 'es2022', module: 'esnext', moduleResolution: 'bundler', types: [], noEmit: true }
  const lib = ['es2022', 'dom', 'dom.iterable']
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { ...compilerOptions, strict: true, lib }, files: ['page.ts'] }),
  )
  expect(compile(tsc, folder)).toBe('')
})

test.for(compilers)('what the README shows compiles on TypeScript $version', ({ tsc, version }) => {
  const folder = join(inject('consumer'), `readme-${version}`)
  mkdirSync(folder)
  // The frameworks that it names are here, and the package is not.
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'), 'junction')
  copyFileSync('tests/readme/given.ts', join(folder, 'given.ts'))
  const blocks = readBlocks(readFileSync('README.md', 'utf8')).filter(({ info }) => /^ts\b/.test(info))
  for (const [name, text] of COMPANIONS) writeFileSync(join(folder, name), text)
  for (const block of blocks) writeFileSync(join(folder, nameOf(block)), complete(block))
  const wrong = "import { jobHeaders } from 'after-jobs'\n// @ts-expect-error a token is a string\njobHeaders(1)"
  writeFileSync(join(folder, 'wrong.ts'), wrong)
  const files = [...blocks.map(nameOf), 'wrong.ts']
  const lib = ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable', 'esnext.disposable']
  const options = {
    target: 'es2022',
    module: 'esnext',
    moduleResolution: 'bundler',
    lib,
    types: ['node'],
    noEmit: true,
  }
  const strict = { strict: true, exactOptionalPropertyTypes: true, verbatimModuleSyntax: true, skipLibCheck: true }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: { ...options, ...strict }, files }))
  expect(compile(tsc, folder)).toBe('')
})

function compile(tsc: string, folder: string): string {
  const { stdout, stderr, error, status } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' })
  if (error) throw error
  return status === 0 ? '' : `${stdout}${stderr}` || `tsc ended with ${status}`
}

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { expect, inject, test } from 'vitest'
import manifest from '../../package.json'

const consumer = inject('consumer')
const installed = join(consumer, 'node_modules/after-jobs')
const paths = inject('packed').map(({ path }) => path)
const read = (path: string): string => readFileSync(join(installed, path), 'utf8')

test('the tarball holds the build, its licences, and nothing else', () => {
  const expected = [
    /^(LICENSE|README\.md|CHANGELOG\.md|package\.json|dist\/THIRD-PARTY-LICENSES\.txt)$/,
    /^dist\/(index|(redis|postgres|http|client|element|testing)\/index)\.(js|cjs|d\.ts|d\.cts)$/,
    /^dist\/cli\/main\.js$/,
    /^dist\/[\w-]+\.(js|cjs|d\.ts|d\.cts)$/,
  ]
  expect(paths.filter((path) => !expected.some((pattern) => pattern.test(path)))).toEqual([])
  const promised = ['LICENSE', 'README.md', 'CHANGELOG.md', 'dist/THIRD-PARTY-LICENSES.txt', ...targets()]
  expect(promised.filter((path) => !paths.includes(path))).toEqual([])
})

test('an installation stays under 1 MB and brings no other package', () => {
  const size = inject('packed').reduce((sum, file) => sum + file.size, 0)
  expect(size).toBeLessThan(1_000_000)
  expect(Object.keys(manifest)).not.toContain('dependencies')
  const packages = readdirSync(dirname(installed)).filter((name) => !name.startsWith('.'))
  // The types of Node were asked for beside it, and need undici-types.
  expect(packages.toSorted()).toEqual(['@types', 'after-jobs', 'undici-types'])
})

test('the licence of every bundled package is in it', async () => {
  const entryPoints = paths.filter((path) => /^dist\/[\w/-]+\.js$/.test(path)).map((path) => join(installed, path))
  const code = entryPoints.map((path) => readFileSync(path, 'utf8')).join('\n')
  const licences = read('dist/THIRD-PARTY-LICENSES.txt')
  // esbuild names the file of each module in a comment.
  const bundled = new Set([...code.matchAll(/^\/\/ node_modules\/([^/\n]+)/gm)].map(([, name]) => name))
  expect(bundled.size).toBeGreaterThan(0)
  for (const name of bundled) expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+$`, 'm'))
})

test('no published type needs a bundled package', () => {
  const declarations = paths.filter((path) => /\.d\.c?ts$/.test(path))
  expect(declarations.length).toBeGreaterThan(0)
  const imported = declarations.flatMap((path) => ts.preProcessFile(read(path)).importedFiles)
  const packages = imported.map(({ fileName }) => fileName).filter((name) => !/^(\.|node:)/.test(name))
  expect(packages).toEqual([])
})

function targets(): string[] {
  const entries = Object.values(manifest.exports).filter((entry) => typeof entry !== 'string')
  return entries
    .flatMap((entry) => [entry.import, entry.require].flatMap(Object.values<string>))
    .map((path) => path.slice(2))
}

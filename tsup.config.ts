import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { defineConfig, type Options } from 'tsup'

// They are ESM only, and `require()` of such a package fails where the library must still load: so they travel inside it.
const bundled = ['p-queue', 'eventemitter3', 'p-timeout', 'uuid']

const entries = [
  'src/index.ts',
  'src/redis/index.ts',
  'src/postgres/index.ts',
  'src/http/index.ts',
  'src/client/index.ts',
  'src/testing/index.ts',
]

const ELEMENT = 'src/element/index.ts'

const shared: Options = {
  tsconfig: 'src/tsconfig.json',
  entry: entries,
  target: ['node20', 'es2022'],
  // For CommonJS too: without it each entry gets a copy of the shared modules, and their state with it.
  splitting: true,
  noExternal: bundled,
  removeNodeProtocol: false,
  esbuildOptions(options, { format }) {
    // Where there is `require`, as in Jest, an `import()` may not be allowed.
    if (format === 'cjs') options.supported = { 'dynamic-import': false }
  },
}

// tsup's own `clean` leaves the declarations of earlier builds, and they would be packed.
rmSync('dist', { recursive: true, force: true })

export default defineConfig([
  { ...shared, entry: [...entries, 'src/cli/main.ts'], format: 'esm' },
  // One file, which a page loads without a bundler. The other files can be read as they are: maps with sources would double
  // the package.
  { ...shared, entry: { 'element/index': ELEMENT }, format: 'esm', splitting: false, minify: true },
  { ...shared, entry: [...entries, ELEMENT], format: 'cjs', treeshake: true, onSuccess: async () => writeLicences() },
  { ...shared, entry: [...entries, ELEMENT], format: ['esm', 'cjs'], dts: { only: true } },
])

function writeLicences(): void {
  writeFileSync('dist/THIRD-PARTY-LICENSES.txt', bundled.map(licenceOf).join('\n'))
}

function licenceOf(name: string): string {
  const folder = `node_modules/${name}`
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8')) as { version: string }
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  if (!file) throw new Error(`${name} holds no licence file, and so cannot be bundled.`)
  return `${name} ${version}\n\n${readFileSync(`${folder}/${file}`, 'utf8').trim()}\n`
}

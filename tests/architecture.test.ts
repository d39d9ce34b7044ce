import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import manifest from '../package.json'

const ROOT = resolve(import.meta.dirname, '..')
const SRC = join(ROOT, 'src')

/** Who may import whom, type imports included. A room is a folder of `src`, or a file that stands beside the folders. */
const MAY_IMPORT: Record<string, string[]> = {
  core: ['core'],
  ports: ['core'],
  engine: ['core', 'ports', 'node:async_hooks', 'node:diagnostics_channel', 'uuid'],
  memory: ['core', 'ports', 'node:async_hooks', 'p-queue'],
  // Any Keyv store fits by its shape, so not even the types of keyv are needed.
  keyv: ['core', 'ports'],
  redis: ['core', 'ports', 'node:crypto', 'bullmq', 'ioredis', '@keyv/redis'],
  postgres: [
    ...['core', 'ports', 'node:child_process', 'node:crypto', 'node:fs', 'node:os', 'node:path'],
    ...['pg', 'pg-boss', '@electric-sql/pglite', 'drizzle-orm'],
  ],
  http: ['core', 'ports', 'node:http'],
  client: ['core'],
  // The element is the client with a face.
  element: ['core', 'client'],
  testing: ['core', 'ports', 'memory', 'after-jobs.ts'],
  cli: [
    ...['core', 'node:fs', 'node:module', 'node:os', 'node:path'],
    ...['node:timers/promises', 'node:tty', 'node:url', 'node:util'],
  ],
  'after-jobs.ts': ['core', 'ports', 'engine', 'memory'],
  'index.ts': ['core', 'ports', 'engine', 'memory', 'keyv', 'http', 'after-jobs.ts'],
}

/** Only the types of these may be imported. */
const TYPES_ONLY: Record<string, string[]> = {
  ports: ['core'],
  client: ['core'],
  element: ['core'],
  http: ['node:http'],
  cli: ['core'],
}

/** Files of more than 200 lines, each with its reason. */
const LONG_FILES: Record<string, string> = {
  'after-jobs.ts': 'the composition root, with the docstrings and checks of what it exports',
  'core/status.ts': 'every rule of the life of a job stands in one place, beside the types that it speaks of',
  'engine/dispatcher.ts':
    'one job and many share their preparation, their pending records and the answer to a dedupe key',
  'engine/mixin.ts': 'the methods and options of a service, with the docstrings that its author reads',
  'engine/reader.ts': 'reading, watching and reconciling are one answer to one question',
  'engine/run.ts': 'what one delivery is, waits for and shows to its hook',
  'engine/runner.ts': 'the life of a run, from claim to compensation, is read from top to bottom',
  'memory/queue.ts': 'the reference implementation of the whole port',
  'postgres/queue.ts': 'the whole port on one engine, from opening it to closing it',
  'postgres/statements.ts': 'all that the database is asked, side by side, because the statements rely on each other',
  'redis/queue.ts': 'the whole port on one engine, from opening it to closing it',
  'testing/queue-conformance.ts': 'a list: one trial for each promise of the port',
}

/** The one place where `any` is right: TypeScript takes a class as a mixin only with `any[]` as its constructor's parameters. */
const ANY = { file: 'engine/mixin.ts', alias: 'AnyArguments' }

/** What docstrings may say apart. */
const TAGS: readonly string[] = ['example', 'param', 'returns', 'throws']

interface Source {
  /** Relative to `src`, with slashes. */
  path: string
  room: string
  lines: number
  tree: ts.SourceFile
}

interface Import {
  from: Source
  specifier: string
  /** A path relative to `src`, or the name of a package. */
  target: string
  room: string
  typeOnly: boolean
}

const sources = filesBelow(SRC)
  .filter((file) => file.endsWith('.ts'))
  .map(readSource)
const imports = sources.flatMap(importsOf)

test('a room imports only what the table of the architecture allows', () => {
  expect.soft(sources.length).toBeGreaterThan(0)
  const unknown = sources.filter(({ room }) => MAY_IMPORT[room] === undefined).map(({ path }) => path)
  expect.soft(unknown, 'files outside the rooms').toEqual([])
  const forbidden = imports.filter(({ from, room }) => room !== from.room && !MAY_IMPORT[from.room]?.includes(room))
  expect.soft(forbidden.map(show)).toEqual([])
  const values = imports.filter(({ from, room, typeOnly }) => !typeOnly && TYPES_ONLY[from.room]?.includes(room))
  expect.soft(values.map(show), 'imports of values where only types may be imported').toEqual([])
})

test('imports make no cycle', () => {
  expect.soft(findCycles()).toEqual([])
})

test('the entries of the package are the files that the rooms offer', () => {
  const entries = Object.keys(manifest.exports).filter((entry) => entry !== './package.json')
  const rooms = entries.map((entry) => (entry === '.' ? 'index.ts' : `${entry.slice(2)}/index.ts`))
  const offered = sources.map(({ path }) => path).filter((path) => path.endsWith('index.ts'))
  expect.soft(rooms.toSorted()).toEqual(offered.toSorted())
})

test('exports are named one by one, and no file is an attic', () => {
  const wholesale = nodes().filter(({ node }) => ts.isExportDeclaration(node) && !isNamed(node))
  expect.soft(wholesale.map(where), 'export *').toEqual([])
  const defaults = nodes().filter(({ node }) => ts.isExportAssignment(node) || isDefault(node))
  expect.soft(defaults.map(where), 'default exports').toEqual([])
  const attics = sources.filter(({ path }) => /(^|\/)(utils?|helpers?|types|common|misc|shared)(\/|\.ts$)/.test(path))
  expect.soft(attics.map(({ path }) => path)).toEqual([])
})

test("nothing is any, except in the mixin's constructor type", () => {
  const isRight = (node: ts.Node): boolean => {
    const isAlias = ts.isTypeAliasDeclaration(node) && node.name.text === ANY.alias
    const isParameter = ts.isParameter(node) && node.dotDotDotToken !== undefined
    return (
      isAlias || (isParameter && (ts.isConstructorTypeNode(node.parent) || ts.isConstructorDeclaration(node.parent)))
    )
  }
  const anys = nodes().filter(({ node }) => {
    return node.kind === ts.SyntaxKind.AnyKeyword || (ts.isTypeReferenceNode(node) && node.getText() === ANY.alias)
  })
  const wrong = anys.filter(({ source, node }) => {
    return source.path !== ANY.file || !isWithin(node, isRight)
  })
  expect.soft(wrong.map(where)).toEqual([])
})

test('functions are short', () => {
  const functions = nodes()
    .filter(({ node }) => ts.isFunctionLike(node) && 'body' in node && node.body !== undefined)
    .map((found) => ({ ...found, lines: linesOf(found.source, found.node) }))
    .toSorted((a, b) => a.lines - b.lines)
  const long = functions.filter(({ lines }) => lines > 50)
  expect.soft(long.map((found) => `${where(found)} has ${found.lines} lines`)).toEqual([])
  expect.soft(functions[Math.floor(functions.length * 0.9)]?.lines, 'the 90th percentile').toBeLessThanOrEqual(30)
})

test('files are short, or have a reason not to be', () => {
  const long = sources.filter(({ lines }) => lines > 200)
  expect.soft(long.map(({ path }) => path).toSorted()).toEqual(Object.keys(LONG_FILES).toSorted())
})

test('everything public is documented where it is declared', () => {
  const entries = sources.filter(({ path }) => path.endsWith('index.ts')).map(({ path }) => join(SRC, path))
  // Comments can be read without any library's types, and much faster.
  const program = ts.createProgram(entries, {
    noLib: true,
    types: [],
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  })
  const checker = program.getTypeChecker()
  const silent = entries.flatMap((entry) => {
    const file = program.getSourceFile(entry)
    const module = file && checker.getSymbolAtLocation(file)
    if (!module) throw new Error(`${entry} exports nothing`)
    return checker.getExportsOfModule(module).filter((symbol) => documentationOf(symbol, checker) === '')
  })
  expect.soft(silent.map(({ name }) => name)).toEqual([])
})

test('no docstring is cut short by the @ of a package, which would be a tag', () => {
  const strange = nodes().filter(({ node }) =>
    ts.getJSDocTags(node).some(({ tagName }) => !TAGS.includes(tagName.text)),
  )
  expect.soft(strange.map(where)).toEqual([])
})

test('no path of the machine it was written on is in the project', () => {
  const listing = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: ROOT })
  const files = listing.toString().trim().split('\n')
  const absolute = /(?<![\w.*-])\/(?:home|root|Users|work|mnt)\/|\b[A-Z]:\\/
  const local = files.filter((file) => absolute.test(readText(join(ROOT, file))))
  expect.soft(local).toEqual([])
})

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

function readText(file: string): string {
  return readFileSync(file, 'utf8')
}

function readSource(file: string): Source {
  const text = readText(file)
  const path = relative(SRC, file).replaceAll(sep, '/')
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  return { path, room: roomOf(path), lines: text.trimEnd().split('\n').length, tree }
}

function roomOf(path: string): string {
  return path.split('/')[0] ?? path
}

function importsOf(from: Source): Import[] {
  return nodesOf(from).flatMap(({ node }) => {
    const found = readImport(node)
    if (found === undefined) return []
    const target = found.specifier.startsWith('.') ? resolveImport(from, found.specifier) : found.specifier
    const room = target === found.specifier ? target : roomOf(target)
    return [{ from, ...found, target, room }]
  })
}

/** Reads any form of an import: a declaration, a re-export, `import()`, `import('…').Type` and `require()`. */
function readImport(node: ts.Node): { specifier: string; typeOnly: boolean } | undefined {
  if (ts.isImportDeclaration(node)) return literal(node.moduleSpecifier, bringsOnlyTypes(node.importClause))
  if (ts.isExportDeclaration(node)) return literal(node.moduleSpecifier, bringsOnlyTypes(node))
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return literal(node.argument.literal, true)
  const isCall = ts.isCallExpression(node)
  if (isCall && /^(import|require)$/.test(node.expression.getText())) return literal(node.arguments[0], false)
  return undefined
}

function literal(node: ts.Node | undefined, typeOnly: boolean): { specifier: string; typeOnly: boolean } | undefined {
  return node && ts.isStringLiteralLike(node) ? { specifier: node.text, typeOnly } : undefined
}

function bringsOnlyTypes(clause: ts.ImportClause | ts.ExportDeclaration | undefined): boolean {
  if (clause === undefined) return false
  if (clause.isTypeOnly) return true
  const names = ts.isImportClause(clause) ? clause.namedBindings : clause.exportClause
  if (names === undefined || !(ts.isNamedImports(names) || ts.isNamedExports(names))) return false
  const elements: readonly (ts.ImportSpecifier | ts.ExportSpecifier)[] = names.elements
  return !('name' in clause && clause.name) && elements.every((element) => element.isTypeOnly)
}

function resolveImport(from: Source, specifier: string): string {
  const path = join(dirname(from.path), specifier).replaceAll(sep, '/')
  const candidates = [path, `${path}.ts`, `${path}/index.ts`]
  return sources.find((source) => candidates.includes(source.path))?.path ?? path
}

/** Follows the imports depth first; an edge back to a file on the way is a cycle. */
function findCycles(): string[] {
  const cycles: string[] = []
  const done = new Set<string>()
  const visit = (path: string, way: string[]): void => {
    if (way.includes(path)) cycles.push([...way.slice(way.indexOf(path)), path].join(' → '))
    if (way.includes(path) || done.has(path)) return
    for (const { from, target } of imports) if (from.path === path) visit(target, [...way, path])
    done.add(path)
  }
  for (const { path } of sources) visit(path, [])
  return cycles
}

interface Found {
  source: Source
  node: ts.Node
}

function nodes(): Found[] {
  return sources.flatMap(nodesOf)
}

function nodesOf(source: Source): Found[] {
  const found: Found[] = []
  const visit = (node: ts.Node): void => {
    found.push({ source, node })
    ts.forEachChild(node, visit)
  }
  visit(source.tree)
  return found
}

function isNamed(node: ts.ExportDeclaration): boolean {
  return node.exportClause !== undefined && ts.isNamedExports(node.exportClause)
}

function isDefault(node: ts.Node): boolean {
  if (ts.isExportSpecifier(node)) return node.name.text === 'default'
  return ts.canHaveModifiers(node) && Boolean(ts.getModifiers(node)?.some(({ kind }) => kind === DEFAULT))
}

const DEFAULT = ts.SyntaxKind.DefaultKeyword

function isWithin(node: ts.Node, test: (outer: ts.Node) => boolean): boolean {
  return test(node) || (node.parent !== undefined && isWithin(node.parent, test))
}

function linesOf({ tree }: Source, node: ts.Node): number {
  const line = (position: number): number => tree.getLineAndCharacterOfPosition(position).line
  return line(node.getEnd()) - line(node.getStart(tree)) + 1
}

function documentationOf(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  const declared = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol
  return ts.displayPartsToString(declared.getDocumentationComment(checker))
}

function where({ source, node }: Found): string {
  return `${source.path}:${source.tree.getLineAndCharacterOfPosition(node.getStart()).line + 1}`
}

function show({ from, specifier }: Import): string {
  return `${from.path} imports ${specifier}`
}

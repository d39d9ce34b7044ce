import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import * as core from 'after-jobs'
import * as client from 'after-jobs/client'
import * as element from 'after-jobs/element'
import * as http from 'after-jobs/http'
import * as postgres from 'after-jobs/postgres'
import * as redis from 'after-jobs/redis'
import * as testing from 'after-jobs/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import manifest from '../../package.json'
import { bundle, compile } from './compile'
import { COMPANIONS, complete, nameOf, readBlocks, readTables, withoutBlocks } from './markdown'
import { REFERENCE, writeReference } from './reference'

const ROOT = resolve(import.meta.dirname, '../..')
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const BLOCKS = readBlocks(README)
const CODE = BLOCKS.filter(({ info }) => /^ts\b/.test(info))
const PROGRAMS = CODE.filter(({ info }) => info === 'ts run')
const TABLES = readTables(README).map(({ comment, names }) => {
  const [, type = '', from = ''] = /^complete: (.+) from (\S+)$/.exec(comment) ?? []
  return { type, from, names }
})
const LIMIT = 120_000

const nameOfTable = ({ type }: { type: string }): string => `table-${type.replace(/\W+/g, '-')}.ts`

/** A program that compiles only where the names are exactly those of the type. */
function claim({ type, from, names }: (typeof TABLES)[number]): string {
  const wanted = type.replace(/\b(keyof|Extract|string|Request)\b|\W/g, ' ').trim()
  const members = names.map((name) => `${JSON.stringify(name)}: 1`)
  return `import type { ${wanted} } from '${from}'\nexport const names: Record<${type}, 1> = { ${members.join(', ')} }`
}

describe('the code in the README', () => {
  let faults = new Map<string, string[]>()
  beforeAll(() => {
    const files = new Map([...COMPANIONS, ...CODE.map((block) => [nameOf(block), complete(block)] as const)])
    for (const table of TABLES) files.set(nameOfTable(table), claim(table))
    // Three that must not: else nothing here could fail.
    files.set('wrong-type.ts', "import { jobHeaders } from 'after-jobs'\njobHeaders(1)")
    files.set('missing-name.ts', "import { transaction } from 'after-jobs/http'\ntransaction()")
    const short = { type: 'JobErrorCode', from: 'after-jobs', names: ['failed'] }
    files.set('short-table.ts', claim(short))
    faults = compile(files)
  }, LIMIT)

  test.each(CODE)('compiles: line $line', (block) => {
    expect(faults.get(nameOf(block))).toEqual([])
  })

  test.each(TABLES)('a table names all of $type', (table) => {
    expect(faults.get(nameOfTable(table))).toEqual([])
  })

  test.each(['wrong-type.ts', 'missing-name.ts', 'short-table.ts'])('is really checked: %s', (name) => {
    expect(faults.get(name)).toHaveLength(1)
  })

  test.each(PROGRAMS)('prints what it says: line $line', { timeout: LIMIT }, async (program) => {
    const expected = BLOCKS[BLOCKS.indexOf(program) + 1]
    expect(expected?.info).toBe('text')
    expect((await run(complete(program))).trim()).toBe(expected?.code)
  })

  test('every text block is the output of a program', () => {
    const outputs = BLOCKS.filter(({ info }) => info === 'text')
    expect(outputs.map((output) => BLOCKS[BLOCKS.indexOf(output) - 1])).toEqual(PROGRAMS)
  })

  test('is in blocks of a kind that is known', () => {
    const kinds = new Set(BLOCKS.map(({ info }) => info))
    expect([...kinds].sort()).toEqual(['html', 'ini', 'mermaid', 'sh', 'text', 'ts', 'ts run'])
  })
})

/** Runs a program in a process of its own, which must end by itself. */
async function run(code: string): Promise<string> {
  // On its standard input, because it is longer than an argument may be.
  const running = promisify(execFile)(process.execPath, ['--input-type=module', '-'], { timeout: LIMIT })
  running.child.stdin?.end(await bundle(code))
  return (await running).stdout
}

test('it begins with one sentence, then running code before line 15', () => {
  const [title, , sentence, , fence] = README.split('\n')
  expect(title).toBe(`# ${manifest.name}`)
  expect(sentence?.match(/\.(\s|$)/g)).toHaveLength(1)
  expect(fence).toBe('```ts run')
  expect(BLOCKS[0]?.end).toBeLessThan(15)
})

test('its two commands stand alone, each in a block of its own', () => {
  const commands = BLOCKS.filter(({ info }) => info === 'sh').map(({ code }) => code)
  expect(commands).toEqual(['npm install && npm run example', 'npm install && npm run verify'])
})

describe('what it names is there', () => {
  test('files', () => {
    const files = [...README.matchAll(/`((?:tests|examples|src|bench)\/[\w./-]+)`/g)].map(([, file = '']) => file)
    expect(files.length).toBeGreaterThan(20)
    expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([])
  })

  test('links', () => {
    const headings = [...withoutBlocks(README).matchAll(/^#+ (.+)$/gm)].map(([, text = '']) => toAnchor(text))
    const links = [...README.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link)
    expect(links.length).toBeGreaterThan(10)
    const broken = links.filter((link) => !headings.includes(link) && !existsSync(join(ROOT, link)))
    expect(broken).toEqual([])
  })

  test('scripts', () => {
    const named = [...README.matchAll(/npm run ([\w:]+)/g)].map(([, name = '']) => name)
    expect(named.length).toBeGreaterThan(5)
    expect(named.filter((name) => !Object.hasOwn(manifest.scripts, name))).toEqual([])
  })

  test('a test for each promise', () => {
    const promises = /^## Promises\n([\s\S]*?)\n## /m.exec(README)?.[1]?.split('\n') ?? []
    const rows = promises.filter((line) => line.startsWith('| ')).slice(1)
    expect(rows.length).toBeGreaterThan(10)
    expect(rows.filter((row) => !/\| (`tests\/[\w./-]+\.test(-d)?\.ts`(, )?)+ \|$/.test(row))).toEqual([])
  })

  test.each(
    Object.entries({
      '': core,
      '/redis': redis,
      '/postgres': postgres,
      '/http': http,
      '/client': client,
      '/element': element,
      '/testing': testing,
    }),
  )('everything that after-jobs%s exports, and nothing else', (path, entry) => {
    const row = README.split('\n').find((line) => line.startsWith(`| \`after-jobs${path}\` |`)) ?? ''
    const named = [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name)
    expect(named.sort()).toEqual(Object.keys(entry).sort())
  })

  test('every public name, with its docstring; else npm run reference', () => {
    const reference = readFileSync(join(ROOT, REFERENCE), 'utf8')
    expect(reference).toBe(writeReference())
    const rows = reference.match(/^\| `\w+` \| (function|class|constant|type) \| .*$/gm) ?? []
    expect(rows.length).toBeGreaterThan(90)
    // What ends otherwise was cut, as by a word in it that reads like a tag.
    expect(rows.filter((row) => !/[.:] \|$/.test(row))).toEqual([])
  })

  test('every entry of the package', () => {
    const entries = Object.keys(manifest.exports).filter((path) => !path.endsWith('.json'))
    const named = [...README.matchAll(/^\| `after-jobs(\/\w+)?` \|/gm)].map(([, path = '']) => `.${path}`)
    expect(named).toEqual(entries)
  })
})

/** The anchor that a forge makes of a heading. */
function toAnchor(heading: string): string {
  return `#${heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-')}`
}

test('the changelog begins with the version of the package', () => {
  const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')
  expect(/^## (\S+) \(\d{4}-\d\d-\d\d\)$/m.exec(changelog)?.[1]).toBe(manifest.version)
})

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import manifest from '../../package.json'
import { fixture, type Outcome, runCommand, writeModules } from './run-cli'

const FAKE = `{
  work() {}, on() {},
  runNext: async () => false,
  drain: async () => {},
  health: async () => ({ queue: 'up', cache: 'up' }),
  close: async () => {},`

test('help and version are answers, not failures', async () => {
  const help = await runCommand(['work', '--help'])
  expect(help).toMatchObject({ code: 0, stderr: '' })
  for (const option of ['--concurrency', '--once', '--stop-when-empty', '--grace', '--help', '--version']) {
    expect(help.stdout).toContain(option)
  }
  expect(await runCommand(['-v'])).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' })
})

describe('a command that is not understood ends with 2 and a line that says what was expected', () => {
  const usage = 'expected after-jobs work <module> [--concurrency n] [--once] [--stop-when-empty] [--grace seconds]'

  test.each([
    [[], `no command was given; ${usage}`],
    [['wrok', 'jobs.mjs'], `there is no command 'wrok'; ${usage}`],
    [['work'], `no module was given; ${usage}`],
    [['work', 'a.mjs', 'b.mjs'], `one module is enough, and 'b.mjs' is one more; ${usage}`],
    [['work', 'jobs.mjs', '--conc', '2'], `Unknown option '--conc'; ${usage}`],
    [['work', 'jobs.mjs', '--once=1'], `Option '--once' does not take an argument; ${usage}`],
    [['work', 'jobs.mjs', '--grace'], `Option '--grace <value>' argument missing; ${usage}`],
    [['work', 'jobs.mjs', '--once', '--stop-when-empty'], `--once and --stop-when-empty exclude each other; ${usage}`],
  ])('%j', async (args, complaint) => {
    expect(await runCommand(args)).toEqual({ code: 2, stdout: '', stderr: `after-jobs: ${complaint}\n` })
  })

  test.each(['0', '1.5', '1e3', 'many', '', '9007199254740993'])('--concurrency=%s', async (number) => {
    const complaint = `--concurrency is '${number}'; expected an integer of at least 1.`
    const outcome = await runCommand(['work', 'jobs.mjs', `--concurrency=${number}`])
    expect(outcome).toEqual({ code: 2, stdout: '', stderr: `after-jobs: ${complaint}\n` })
  })

  test.each(['-1', '86401', '1m', ''])('--grace=%s', async (number) => {
    const complaint = `--grace is '${number}'; expected seconds, from 0 to 86400.`
    const outcome = await runCommand(['work', 'jobs.mjs', `--grace=${number}`])
    expect(outcome).toEqual({ code: 2, stdout: '', stderr: `after-jobs: ${complaint}\n` })
  })
})

describe('a failure ends with 1 and a single line', () => {
  test('no such module', async () => {
    const folder = writeModules({})
    const outcome = await work(folder, './missing.mjs')
    expectComplaint(outcome, `there is no module ./missing.mjs; looked for ${join(folder, 'missing.mjs')}`)
  })

  test.each([
    ['throws', `throw new Error('no \\u001b[31mDATABASE_URL\\nis set')`, 'no  [31mDATABASE_URL is set'],
    ['throws what is no error', `throw 'nothing'`, 'nothing'],
    ['throws a code', `throw Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' })`, 'AggregateError: ECONN'],
    ['throws a megabyte', `throw 'x'.repeat(2 ** 20)`, `${'x'.repeat(900)}`],
    ['is wrong JavaScript', 'export default {', 'SyntaxError: '],
    ['needs a module that is missing', `import 'not-installed'`, `Cannot find package 'not-installed'`],
    ['promises a runtime and breaks the promise', `export default Promise.reject(new Error('too bad'))`, 'too bad'],
  ])('a module that %s', async (_, text, reason) => {
    const outcome = await work(writeModules({ 'jobs.mjs': text }))
    expectComplaint(outcome, `jobs.mjs could not be loaded: ${reason}`)
  })

  test.each(['export const jobs = 1', 'export default {}', 'export default null', 'export default () => {}'])(
    'a default export that is no runtime: %s',
    async (text) => {
      const outcome = await work(writeModules({ 'jobs.mjs': text }))
      expectComplaint(
        outcome,
        'the default export of jobs.mjs is no runtime; expected export default createAfterJobs({',
      )
    },
  )

  test.each([
    ['runNext: async () => { throw new Error("away") },', ['--once'], 'away'],
    ['work() { throw new TypeError("no work") },', [], 'TypeError: no work'],
    ['close: async () => { throw new Error("stuck") },', ['--once'], 'the runtime could not be closed: stuck'],
  ])('a runtime with %s', async (method, options, reason) => {
    const outcome = await work(writeModules({ 'jobs.mjs': `export default ${FAKE} ${method} }` }), 'jobs.mjs', options)
    expectComplaint({ ...outcome, stdout: '' }, reason)
  })

  test('its stack is shown to those who ask for it', async () => {
    const folder = writeModules({ 'jobs.mjs': `throw new Error('too bad')` })
    const { code, stderr } = await runCommand(['work', 'jobs.mjs'], { cwd: folder, env: { NODE_DEBUG: 'after-jobs' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/at .*jobs\.mjs:1:7/)
  })
})

describe.concurrent('what is away is waited for, with an end', () => {
  test('a queue that comes back in time', async () => {
    const health = `health: async () => ({ cache: 'up', queue: Date.now() - start < 600 ? 'down' : 'up' }),`
    const outcome = await work(
      writeModules({ 'jobs.mjs': `const start = Date.now(); export default ${FAKE} ${health} }` }),
    )
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
  })

  test.each([
    [`health: async () => ({ queue: 'down', cache: 'up' }),`, 'the queue'],
    [`health: async () => ({ queue: 'up', cache: 'down' }),`, 'the cache'],
    ['health: () => new Promise(() => {}),', 'the queue and the cache'],
  ])('a queue or a cache that stays away: %s', async (health, names) => {
    const outcome = await work(writeModules({ 'jobs.mjs': `export default ${FAKE} ${health} }` }))
    expectComplaint(outcome, `${names} gave no answer within 5 s. Check `)
  })

  test('a runtime that never closes', async () => {
    const close = 'close: () => new Promise(() => {}),'
    const outcome = await work(writeModules({ 'jobs.mjs': `export default ${FAKE} ${close} }` }))
    expectComplaint({ ...outcome, stdout: '' }, 'the runtime did not close within 10.1 s')
  })
})

describe('it loads', () => {
  test.each([
    ['an ES module', { 'jobs.mjs': `export default ${FAKE} }` }, 'jobs.mjs'],
    ['a promise of a runtime', { 'jobs.mjs': `export default Promise.resolve(${FAKE} })` }, './jobs.mjs'],
    ['CommonJS', { 'jobs.cjs': `module.exports = ${FAKE} }` }, './jobs.cjs'],
    ['a path without its extension', { 'jobs.js': `module.exports = ${FAKE} }` }, './jobs'],
    [
      'CommonJS that was compiled from an ES module',
      { 'jobs.cjs': `Object.defineProperty(exports, '__esModule', { value: true }); exports.default = ${FAKE} }` },
      'jobs.cjs',
    ],
  ])('%s', async (_, modules, name) => {
    expect(await work(writeModules(modules), name)).toMatchObject({ code: 0, stderr: '' })
  })

  test('a module of a package, as seen from the working directory', async () => {
    const folder = writeModules({ 'jobs.mjs': `export default ${FAKE} }` })
    const entries = { './jobs': './jobs.mjs', './hidden': { import: './jobs.mjs' } }
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'app', exports: entries }))
    expect(await work(folder, 'app/jobs')).toMatchObject({ code: 0, stderr: '' })
    const complaint = 'the package of app/hidden does not export it to require(); give the path of its file.'
    expectComplaint(await work(folder, 'app/hidden'), complaint)
  })

  test('CommonJS that requires the library', async () => {
    const { code, stdout, stderr } = await runCommand(['work', fixture('projects.cjs'), '--once'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/ done project\.afterCreateJob "from CommonJS" after \d+ ms\n/)
  })
})

function work(cwd: string, module = 'jobs.mjs', options = ['--stop-when-empty', '--grace', '0.1']): Promise<Outcome> {
  return runCommand(['work', module, ...options], { cwd })
}

function expectComplaint({ code, stdout, stderr }: Outcome, start: string): void {
  expect(stderr.slice(0, 'after-jobs: '.length + start.length)).toBe(`after-jobs: ${start}`)
  expect(stderr.indexOf('\n'), 'the end of the only line').toBe(stderr.length - 1)
  expect(stderr.length).toBeLessThan(1_100)
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
}

import { expect, test } from 'vitest'
import { type Command, fixture, type Outcome, startCommand } from './run-cli'

type Job = [action: string, id: string | number, options?: object]

const TIME = String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`

test('each job has a line for its start and one for its end, with eight characters of its token', async () => {
  const { code, stdout, stderr } = await run([
    ['create', 7],
    ['create', 'x" done'],
  ])
  expect(code).toBe(0)
  const [first = '', second = ''] = stderr.split('\n')
  expect(first).toMatch(/^[0-9a-f-]{36}$/)
  expectLines(stdout, [
    String.raw`worker ready: \S+projects\.mjs, concurrency 1$`,
    String.raw`${first.slice(0, 8)} started project\.afterCreateJob 7$`,
    String.raw`${first.slice(0, 8)} done project\.afterCreateJob 7 after \d+ ms$`,
    String.raw`${second.slice(0, 8)} started project\.afterCreateJob "x\\" done"$`,
    String.raw`${second.slice(0, 8)} done project\.afterCreateJob "x\\" done" after \d+ ms$`,
    'worker closed$',
  ])
  expect(stdout).not.toContain(first)
})

test('a failure tells its message in one line, and neither control characters nor the token reach the terminal', async () => {
  const { code, stdout, stderr } = await run([['break', '\u001b[2J\u009b', { attempts: 2 }]])
  const token = stderr.slice(0, 36)
  const job = String.raw`project\.afterBreakJob "\\u001b\[2J "`
  const message = `broken: \\[31m ${token.slice(0, 8)}$`
  expectLines(stdout, [
    'worker ready',
    `${token.slice(0, 8)} started ${job}$`,
    String.raw`${token.slice(0, 8)} retrying ${job} after \d+ ms: ${message}`,
    `${token.slice(0, 8)} started ${job}, attempt 2$`,
    String.raw`${token.slice(0, 8)} error ${job} after \d+ ms: unexpected: ${message}`,
    'worker closed$',
  ])
  expect(code).toBe(0)
})

test.each([
  { options: [], most: 1 },
  { options: ['--concurrency', '3'], most: 3 },
])('it runs $most at once with the options $options', async ({ options, most }) => {
  const jobs = Array.from({ length: 7 }, (_, id): Job => ['meet', id])
  const { code, stderr } = await run(jobs, ['--stop-when-empty', ...options])
  expect(code).toBe(0)
  const active = Array.from(stderr.matchAll(/^active (\d+)$/gm), ([, count]) => Number(count))
  expect(active).toHaveLength(7)
  expect(Math.max(...active)).toBe(most)
})

test('once: one job, and an end', async () => {
  const { code, stdout } = await run(
    [
      ['create', 1],
      ['create', 2],
    ],
    ['--once'],
  )
  expect(code).toBe(0)
  expect(stdout.match(/ done /g)).toHaveLength(1)
  expect(await run([], ['--once'])).toMatchObject({ code: 0, stdout: expect.stringContaining(' no job is due\n') })
})

test('once: a job that fails is no failure of the worker', async () => {
  const { code, stdout } = await run([['break', 1]], ['--once'])
  expect(code).toBe(0)
  expect(stdout).toContain(' error project.afterBreakJob 1 ')
})

test('stop when empty: what is delayed is waited for, and an open handle is not', async () => {
  const { code, stdout } = await run([['create', 1, { delay: 300 }]], ['--stop-when-empty'], { OPEN: '1' })
  expect(code).toBe(0)
  expect(stdout).toContain(' done project.afterCreateJob 1 ')
})

test('a worker with nothing to do stays, until a signal comes', async () => {
  const worker = start([], [])
  await worker.awaitOutput(/^alive$/m)
  worker.signal('SIGINT')
  const { code, stdout } = await worker.ended
  expect(code).toBe(0)
  expectLines(stdout, ['worker ready', 'SIGINT: closing; running jobs have 10 s$', 'worker closed$'])
})

test.each([[[]], [['--once']], [['--stop-when-empty']]])(
  'the first signal lets running jobs end: %j',
  async (options) => {
    const worker = start(
      [
        ['finish', 1],
        ['create', 2],
      ],
      options,
    )
    await worker.awaitOutput(/ started project\.afterFinishJob 1$/m)
    worker.signal('SIGTERM')
    const { code, stdout } = await worker.ended
    expect(code).toBe(0)
    expectLines(stdout, [
      'worker ready',
      '[0-9a-f]{8} started',
      'SIGTERM: closing',
      String.raw`[0-9a-f]{8} done project\.afterFinishJob 1 after \d+ ms$`,
      'worker closed$',
    ])
  },
)

test.each([[[]], [['--once']], [['--stop-when-empty']]])(
  'a job that does not listen is left to others after the grace: %j',
  async (options) => {
    const worker = start([['ignore', 1]], ['--grace', '0.2', ...options])
    await worker.awaitOutput(/ started /)
    worker.signal('SIGTERM')
    const { code, stdout } = await worker.ended
    expect(code).toBe(0)
    expectLines(stdout, [
      'worker ready',
      '[0-9a-f]{8} started',
      'SIGTERM: closing; running jobs have 0.2 s$',
      String.raw`[0-9a-f]{8} left to another worker project\.afterIgnoreJob 1 after \d+ ms$`,
      'worker closed$',
    ])
  },
)

test.each([
  ['SIGTERM', 143],
  ['SIGINT', 130],
] as const)('a second %s ends at once', async (name, exitCode) => {
  const worker = start([['ignore', 1]], ['--grace', '3600'])
  await worker.awaitOutput(/ started /)
  worker.signal(name)
  await worker.awaitOutput(/: closing/)
  worker.signal(name)
  const { code, stdout } = await worker.ended
  expect(code).toBe(exitCode)
  expect(stdout).not.toContain('worker closed')
})

test('a log that nobody reads any more stops no job', async () => {
  const worker = start([['finish', 1]], [])
  await worker.awaitOutput(/ started /)
  worker.stopReading()
  worker.signal('SIGTERM')
  expect(await worker.ended).toMatchObject({ code: 0, stderr: expect.not.stringContaining('EPIPE') })
})

function start(jobs: readonly Job[], options: readonly string[], env: NodeJS.ProcessEnv = {}): Command {
  return startCommand(['work', fixture('projects.mjs'), ...options], { env: { ...env, JOBS: JSON.stringify(jobs) } })
}

function run(jobs: readonly Job[], options = ['--stop-when-empty'], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return start(jobs, options, env).ended
}

function expectLines(stdout: string, patterns: readonly string[]): void {
  const expected = patterns.map((pattern) => expect.stringMatching(`${TIME} ${pattern}`))
  expect(stdout.trimEnd().split('\n')).toEqual(expected)
}

import { beforeAll, expect, test } from 'vitest'
import { describeWithRedis } from '../redis/support/suite'
import { type BarLine, isMonotone, type Outcome, readBars, startExample } from './run-example'

const START_LIMIT = 120_000

describeWithRedis('a job whose worker is killed', { timeout: START_LIMIT }, () => {
  let outcome: Outcome
  let bar: BarLine[]

  beforeAll(async () => {
    outcome = await startExample('redis-worker').ended
    bar = readBars(outcome.stdout)
  }, START_LIMIT)

  test('the example ends by itself, without a complaint', () => {
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
  })

  test('the request is answered at once, with the address of the job', () => {
    expect(outcome.stdout).toMatch(/^POST \/albums → 201, the job is at \/jobs\/status\/[\w-]{36}$/m)
  })

  test('the worker dies half-way, and the other one finishes its job', () => {
    const [, victim = ''] = outcome.stdout.match(/^(Anna|Ben) is killed in the middle of the job\.$/m) ?? []
    const heir = victim === 'Anna' ? 'Ben' : 'Anna'
    const steps = bar.map(({ step }) => step.match(/^(Anna|Ben): /)?.[1]).filter((name) => name !== undefined)
    expect(new Set(steps)).toEqual(new Set([victim, heir]))
    expect(steps.lastIndexOf(victim)).toBeLessThan(steps.indexOf(heir))
    expect(bar.at(-1)).toEqual({ percent: 100, step: 'done' })
  })

  test('the bar goes back at most to where the job begins again', () => {
    const lives = outcome.stdout.split(/ is killed in the middle of the job\.$/m).map(readBars)
    expect(lives).toHaveLength(2)
    for (const life of lives) expect(isMonotone(life)).toBe(true)
    expect(lives[0]?.at(-1)?.percent).toBeGreaterThanOrEqual(40)
  })

  test('no thumbnail was made twice', () => {
    const [, counts = ''] = outcome.stdout.match(/^50 thumbnails were made by \{ (.+) \}$/m) ?? []
    const made = new Map(counts.split(', ').map((count) => count.split(': ') as [string, string]))
    expect([...made.keys()].toSorted()).toEqual(['Anna', 'Ben'])
    expect(Number(made.get('Anna')) + Number(made.get('Ben'))).toBe(50)
  })

  test('no process is left', () => {
    const pids = [...outcome.stdout.matchAll(/is process (\d+)$/gm)].map(([, pid]) => Number(pid))
    expect(pids).toHaveLength(3)
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow('ESRCH')
  })
})

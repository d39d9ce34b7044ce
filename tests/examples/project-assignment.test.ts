import { beforeAll, expect, test } from 'vitest'
import { isMonotone, type Outcome, readBars, startExample } from './run-example'

let outcome: Outcome

beforeAll(async () => {
  outcome = await startExample('project-assignment').ended
}, 120_000)

test('the example ends by itself, without a complaint', () => {
  expect(outcome).toMatchObject({ code: 0, stderr: '' })
})

test('the bar moves step by step, and each step has its label', () => {
  const bars = readBars(outcome.stdout)
  const bar = bars.slice(0, bars.findIndex(({ step }) => step === 'done') + 1)
  expect(bar.at(-1)).toEqual({ percent: 100, step: 'done' })
  expect(isMonotone(bar)).toBe(true)
  expect(new Set(bar.map(({ percent }) => percent)).size).toBeGreaterThanOrEqual(5)
  const steps = bar.map(({ step }) => step)
  expect(steps).toContainEqual(expect.stringMatching(/^Task: /))
  expect(steps).toContainEqual(expect.stringMatching(/^Learner: /))
  expect(steps).toContain('Synchronising the evaluations')
})

test('every learner got every task and an evaluation', () => {
  expect(outcome.stdout).toContain('Result: { tasks: 12, realisations: 9, evaluations: 9 }')
  expect(outcome.stdout.match(/^\S.+ {2}12 +100$/gm)).toHaveLength(9)
})

test('an assignment that is missing ends as an error that the user can read, and is compensated', () => {
  const second = outcome.stdout.slice(outcome.stdout.indexOf('prepared again by mistake'))
  expect(readBars(second).at(-1)).toEqual({ percent: 0, step: 'error' })
  expect(second).toContain('The user reads: Assignment 1 does not exist.')
  expect(second).toContain('Undone after “Assignment 1 does not exist.”: 12 tasks, 9 realisations.')
  expect(second).toContain('Realisations left behind: 0')
})

import { beforeAll, describe, expect, test } from 'vitest'
import { type Outcome, startExample } from './run-example'

describe.each([
  ['in memory', []],
  ['in the database of the orders', ['--in-database']],
])('with its jobs %s', (_where, args) => {
  let outcome: Outcome

  beforeAll(async () => {
    outcome = await startExample('orders', ...args).ended
  }, 120_000)

  test('the example ends by itself, without a complaint', () => {
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
  })

  test('one order in five is rolled back, and its customer is told why', () => {
    const customers = [...outcome.stdout.matchAll(/^Customer (\d+) has no order: The card was refused\.$/gm)]
    expect(customers.map(([, number]) => Number(number))).toEqual(
      Array.from({ length: 10 }, (_, index) => 5 * index + 5),
    )
    expect(outcome.stdout).toMatch(/^50 orders: 40 placed, 10 rolled back$/m)
  })

  test('one order in ten fails in its job, early or late, and is cancelled', () => {
    const reasons = [...outcome.stdout.matchAll(/^Order \d+ is cancelled: (.+)$/gm)].map(([, reason]) => reason)
    expect(reasons.toSorted()).toEqual([
      'There are no 1000 pieces left.',
      'There are no 1000 pieces left.',
      'There are no 1000 pieces left.',
      '“the house by the lake” is no address.',
      '“the house by the lake” is no address.',
    ])
  })

  test('the table proves that nothing was lost, doubled or left half done', () => {
    const rows = [...outcome.stdout.matchAll(/^(\S.+?) +(\d+) +(\d+) {2}equal$/gm)]
    expect(rows.map(([, what, expected, found]) => [what, Number(expected), Number(found)])).toEqual([
      ['jobs of placed orders', 40, 40],
      ['orders shipped or cancelled', 40, 40],
      ['payments kept', 35, 35],
      ['reservations', 35, 35],
      ['invoices', 35, 35],
      ['mails', 35, 35],
      ['pieces on the shelves and shipped', 180, 180],
    ])
    expect(outcome.stdout).not.toContain('NOT EQUAL')
  })
})

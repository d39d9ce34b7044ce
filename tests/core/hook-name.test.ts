import { describe, expect, test } from 'vitest'
import { failureHookName, hookName, isHookName } from '../../src/core/hook-name'

describe('hookName', () => {
  test.each([
    ['after', 'create', 'afterCreateJob'],
    ['before', 'delete', 'beforeDeleteJob'],
    ['after', 'bulkCreate2', 'afterBulkCreate2Job'],
    ['after', 'x', 'afterXJob'],
    ['after', 'x'.repeat(64), `afterX${'x'.repeat(63)}Job`],
  ])('%s %s is %s', (when, action, hook) => {
    expect(hookName(when, action)).toBe(hook)
    expect(isHookName(hook)).toBe(true)
    expect(failureHookName(hook)).toBe(`${hook}Failed`)
  })

  test.each([
    ['bulk-create', "Did you mean 'bulkCreate'?"],
    ['bulk create', "Did you mean 'bulkCreate'?"],
    ['Create', "Did you mean 'create'?"],
    ['', "The action '' is not a name"],
    ['2create', "The action '2create' is not a name"],
    ['créer', 'a letter a-z, then up to 63 letters and digits'],
    ['create\n', 'is not a name'],
    ['x'.repeat(65), 'is not a name'],
    ['__proto__', 'is not a name'],
  ])('%j is refused with a hint', (action, hint) => {
    const refused = { name: 'AfterJobsError', code: 'INVALID_ACTION', message: expect.stringContaining(hint) }
    expect(() => hookName('after', action)).toThrow(expect.objectContaining(refused))
  })

  test.each([[undefined], [null], [7], [{}], [Symbol('x')]])('an action that is no string is refused: %s', (action) => {
    expect(() => hookName('after', action as never)).toThrow(expect.objectContaining({ code: 'INVALID_ACTION' }))
  })

  test('a hook runs before or after', () => {
    expect(() => hookName('during', 'create')).toThrow(/'before' or 'after' an action; got 'during'/)
  })
})

describe('isHookName', () => {
  test.each([
    'delete',
    'constructor',
    '__proto__',
    'toString',
    'afterJob',
    'aftercreateJob',
    'afterCreateJobFailed',
    'afterCreate-XJob',
    'afterCreateJob\n',
    ' afterCreateJob',
    'afterCréerJob',
    `afterX${'x'.repeat(64)}Job`,
    undefined,
    ['afterCreateJob'],
  ])('%j is none: a forged message cannot call it', (name) => {
    expect(isHookName(name)).toBe(false)
  })
})

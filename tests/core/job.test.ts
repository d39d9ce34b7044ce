import { describe, expect, test } from 'vitest'
import { type Backoff, backoffDelay, checkJobOptions, type JobOptions, readId, show } from '../../src/core/job'

const YEAR = 365 * 24 * 3_600_000

class ObjectId {
  constructor(readonly hex: string) {}
}

describe('readId', () => {
  test.each([['a'], [''], [0], [-1], [1.5]])('%j is an id, alone and as that of an entity', (id) => {
    expect(readId(id, 'x')).toBe(id)
    expect(readId({ id, name: 'n' }, 'x')).toBe(id)
  })

  test('an id may be inherited or computed, as ORMs do', () => {
    class Entity {
      get id() {
        return 7
      }
    }
    expect(readId(new Entity(), 'x')).toBe(7)
  })

  test.each([
    ['a bigint', 10n, 'got 10n (a bigint)'],
    ['an entity with a bigint', { id: 10n }, 'the entity has the id 10n (a bigint)'],
    ['an entity with an ObjectId', { id: new ObjectId('f') }, 'the entity has the id an instance of ObjectId'],
    ['an ObjectId', new ObjectId('f'), 'the entity has the id undefined'],
    ['undefined', undefined, 'got undefined'],
    ['null', null, 'got null'],
    ['NaN', Number.NaN, 'got NaN'],
    ['Infinity', Number.POSITIVE_INFINITY, 'got Infinity'],
    ['an entity with NaN', { id: Number.NaN }, 'the entity has the id NaN'],
    ['an entity without an id', { name: 'n' }, 'the entity has the id undefined'],
    ['an entity with an object', { id: {} }, 'the entity has the id an object'],
    ['an entity with null', { id: null }, 'the entity has the id null'],
    ['a list', [1], 'the entity has the id undefined'],
    ['a boolean', true, 'got true'],
    ['a symbol', Symbol('x'), 'got a symbol'],
  ])('%s is refused, with how to convert it', (_, subject, message) => {
    const refused = { name: 'AfterJobsError', code: 'INVALID_ID', message: expect.stringContaining(message) }
    expect(() => readId(subject, 'executeJob')).toThrow(expect.objectContaining(refused))
    expect(() => readId(subject, 'executeJob')).toThrow(
      /^executeJob needs an id.*Convert it, for example with String\(id\)/,
    )
  })
})

describe('checkJobOptions', () => {
  test.each<[JobOptions]>([
    [{}],
    [{ delay: 0, priority: -1000, attempts: 1, timeout: 1, dedupe: 'k' }],
    [{ delay: YEAR, priority: 1000, attempts: 100, timeout: YEAR, dedupe: 'k'.repeat(200) }],
    [{ delay: 2 ** 31, backoff: { type: 'fixed', delay: 0 } }],
    [{ backoff: { type: 'exponential', delay: YEAR } }],
  ])('%j is in range', (options) => {
    expect(() => checkJobOptions(options)).not.toThrow()
  })

  const yearInWords = `from 0 to ${YEAR} milliseconds`
  test.each<[Record<string, unknown>, string]>([
    [{ delay: -1 }, `delay is -1; expected a number ${yearInWords}`],
    [{ delay: YEAR + 1 }, `delay is ${YEAR + 1}; expected a number ${yearInWords}`],
    [{ delay: Number.NaN }, `delay is NaN; expected a number ${yearInWords}`],
    [{ delay: '5' }, `delay is '5'; expected a number ${yearInWords}`],
    [{ delay: null }, 'delay is null'],
    [{ delay: 5n }, 'delay is 5n (a bigint)'],
    [{ priority: 1001 }, 'priority is 1001; expected an integer from -1000 to 1000.'],
    [{ priority: -1001 }, 'priority is -1001; expected an integer from -1000 to 1000.'],
    [{ priority: 0.5 }, 'priority is 0.5; expected an integer'],
    [{ attempts: 0 }, 'attempts is 0; expected an integer from 1 to 100.'],
    [{ attempts: 101 }, 'attempts is 101; expected an integer from 1 to 100.'],
    [{ attempts: 1.5 }, 'attempts is 1.5; expected an integer'],
    [{ attempts: Number.POSITIVE_INFINITY }, 'attempts is Infinity'],
    [{ timeout: 0 }, 'timeout is 0; expected a number from 1'],
    [{ timeout: -5 }, 'timeout is -5'],
    [{ dedupe: '' }, "dedupe is ''; expected a string of 1 to 200 characters."],
    [{ dedupe: 'k'.repeat(201) }, 'expected a string of 1 to 200 characters.'],
    [{ dedupe: 7 }, 'dedupe is 7'],
    [{ backoff: 'fixed' }, "backoff.type is undefined; expected 'fixed' or 'exponential'."],
    [{ backoff: null }, 'backoff.type is undefined'],
    [{ backoff: { type: 'linear', delay: 1 } }, "backoff.type is 'linear'"],
    [{ backoff: { type: 'fixed' } }, 'backoff.delay is missing; expected milliseconds.'],
    [{ backoff: { type: 'fixed', delay: -1 } }, `backoff.delay is -1; expected a number ${yearInWords}`],
  ])('%o is refused with the range: %s', (options, message) => {
    const refused = { name: 'AfterJobsError', code: 'INVALID_OPTION', message: expect.stringContaining(message) }
    expect(() => checkJobOptions(options)).toThrow(expect.objectContaining(refused))
  })
})

describe('backoffDelay', () => {
  test.each<[Backoff | null, number[]]>([
    [null, [0, 0, 0]],
    [{ type: 'fixed', delay: 100 }, [100, 100, 100]],
    [{ type: 'exponential', delay: 100 }, [100, 200, 400]],
    [{ type: 'exponential', delay: 0 }, [0, 0, 0]],
  ])('%j', (backoff, delays) => {
    expect([1, 2, 3].map((attempt) => backoffDelay(backoff, attempt))).toEqual(delays)
  })

  test('never waits for more than a year', () => {
    expect(backoffDelay({ type: 'exponential', delay: 1_000 }, 99)).toBe(YEAR)
  })
})

describe('show', () => {
  test.each([
    ['text', "'text'"],
    ['x'.repeat(41), `'${'x'.repeat(40)}…'`],
    [1n, '1n (a bigint)'],
    [undefined, 'undefined'],
    [null, 'null'],
    [{}, 'an object'],
    [Object.create(null), 'an object'],
    [[], 'an instance of Array'],
    [new ObjectId('f'), 'an instance of ObjectId'],
  ])('%o is shown as %s', (value, shown) => {
    expect(show(value)).toBe(shown)
  })
})

import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { copyJson } from '../../src/core/json'

const BOUNDS = { name: 'payload', code: 'INVALID_PAYLOAD', maxBytes: 16_384 } as const
const copy = (value: unknown) => copyJson(value, BOUNDS)

class Money {
  amount = 1
}

class List extends Array<number> {}

function readArguments(..._: unknown[]): object {
  // biome-ignore lint/complexity/noArguments: the very object is wanted
  return arguments
}

function makeRevoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** Adds a method that JSON calls, where no loop sees it. */
function hideToJSON<T extends object>(value: T): T {
  return Object.defineProperty(value, 'toJSON', { value: () => 'something else' })
}

describe('plain JSON', () => {
  test.each([
    [null],
    [true],
    [0],
    [-1.5e300],
    [''],
    ['漢字 🚀'],
    [[]],
    [{}],
    [[1, [2, { a: null }]]],
    [{ a: { b: ['c'] }, constructor: 1, toJSON: 'text' }],
  ])('%j arrives as it is', (value) => {
    expect(copy(value)).toStrictEqual(value)
  })

  test('nothing at all arrives as nothing at all', () => {
    expect(copy(undefined)).toBeUndefined()
  })

  test('is a copy: what the caller changes later is not seen by the job', () => {
    const payload = { list: [1] }
    const copied = copy(payload)
    payload.list.push(2)
    expect(copied).toEqual({ list: [1] })
  })

  test('members that are undefined are dropped, as every engine would', () => {
    expect(Object.keys(copy({ a: undefined, b: 1 }) as object)).toEqual(['b'])
  })

  test('the same object twice is no cycle', () => {
    const shared = { a: 1 }
    expect(copy({ x: shared, y: [shared, shared] })).toEqual({ x: shared, y: [shared, shared] })
  })

  test('plain objects of another realm and without a prototype are plain', () => {
    expect(copy(runInNewContext('({ a: [1] })'))).toEqual({ a: [1] })
    expect(copy(runInNewContext('[{ a: 1 }, []]'))).toEqual([{ a: 1 }, []])
    expect(copy(Object.assign(Object.create(null), { a: 1 }))).toEqual({ a: 1 })
  })
})

describe('what plain JSON cannot carry is refused with the path of the culprit', () => {
  const cycle: Record<string, unknown> = { name: 'a' }
  cycle.children = [{ parent: cycle }]
  const sparse = [1]
  sparse[2] = 3

  test.each([
    ['a BigInt', { total: 10n }, 'payload.total is a bigint'],
    ['a BigInt alone', 10n, 'payload is a bigint'],
    ['a cycle', cycle, 'payload.children[0].parent is a cycle'],
    ['a function', { run: () => 1 }, 'payload.run is a function'],
    ['a symbol', [Symbol('s')], 'payload[0] is a symbol'],
    ['a Map', { index: new Map() }, 'payload.index is an instance of Map'],
    ['a Set', [new Set()], 'payload[0] is an instance of Set'],
    ['a Date', { at: new Date(0) }, 'payload.at is an instance of Date'],
    ['a RegExp', { by: /x/ }, 'payload.by is an instance of RegExp'],
    ['a Buffer', { file: Buffer.from('x') }, 'payload.file is an instance of Buffer'],
    ['an Error', { cause: new Error('x') }, 'payload.cause is an instance of Error'],
    ['a promise', { later: Promise.resolve() }, 'payload.later is an instance of Promise'],
    ['a class instance', { price: new Money() }, 'payload.price is an instance of Money'],
    ['a boxed number', [Object(1)], 'payload[0] is an instance of Number'],
    ['NaN', { rate: Number.NaN }, 'payload.rate is NaN'],
    ['Infinity', [[Number.NEGATIVE_INFINITY]], 'payload[0][0] is -Infinity'],
    ['undefined in an array', [1, undefined], 'payload[1] is undefined'],
    ['a hole in an array', sparse, 'payload[1] is undefined'],
    ['an object with a toJSON of its own', { a: { toJSON: () => 1 } }, 'payload.a.toJSON is a function'],
    ['an object with a hidden toJSON', { a: hideToJSON({ b: 1 }) }, 'payload.a.toJSON is a function'],
    ['an array with a toJSON of its own', [Object.assign([1], { toJSON: () => 1 })], 'payload[0].toJSON is a function'],
    ['an array with a hidden toJSON', { a: hideToJSON([1]) }, 'payload.a.toJSON is a function'],
    ['a subclass of Array', { list: List.of(1) }, 'payload.list is an instance of List'],
    [
      'a subclass of another Array',
      runInNewContext('[new (class Rows extends Array {})()]'),
      'payload[0] is an instance of Rows',
    ],
    ['an array without a prototype', [Object.setPrototypeOf([1], null)], 'payload[0] is an object that is not plain'],
    [
      'an array whose prototype is an array',
      [Object.setPrototypeOf([1], [2])],
      'payload[0] is an object that is not plain',
    ],
    ['Math', { m: Math }, 'payload.m is an instance of Math'],
    ['arguments', [readArguments(1)], 'payload[0] is an instance of Arguments'],
    [
      'what calls itself something else',
      { a: { [Symbol.toStringTag]: 'Cursor' } },
      'payload.a is an instance of Cursor',
    ],
  ])('%s', (_, value, message) => {
    const refused = { name: 'AfterJobsError', code: 'INVALID_PAYLOAD', message: expect.stringContaining(`${message},`) }
    expect(() => copy(value)).toThrow(expect.objectContaining(refused))
  })

  test.each([
    [
      'a member that throws when it is read',
      {
        get name(): string {
          throw new TypeError('detached')
        },
      },
      'detached',
    ],
    ['a revoked proxy', [makeRevoked()], 'revoked'],
  ])('%s', (_, value, cause) => {
    const refused = { code: 'INVALID_PAYLOAD', message: expect.stringMatching(`payload cannot be read: .*${cause}`) }
    expect(() => copy(value)).toThrow(expect.objectContaining({ ...refused, cause: expect.any(TypeError) }))
  })

  test('nesting that no engine could carry', () => {
    let deep: unknown = 1
    for (let level = 0; level < 100_000; level++) deep = [deep]
    expect(() => copy(deep)).toThrow(/payload is nested too deeply/)
  })

  test('an error says what to do', () => {
    expect(() => copy({ at: new Date(0) })).toThrow(/expected null, booleans.*Convert it first.*toISOString/)
  })
})

describe('the size', () => {
  test.each([
    ['one byte each', 'a', 16_382],
    ['three bytes each', '漢', 5_460],
    ['four bytes each', '🚀', 4_095],
  ])('is counted in UTF-8, %s', (_, character, count) => {
    // The two quotes count as well.
    expect(copy(character.repeat(count))).toHaveLength(character.length * count)
    const refused = { code: 'INVALID_PAYLOAD', message: expect.stringMatching(/payload takes 16\d{3} bytes.*16384/) }
    expect(() => copy(character.repeat(count + 2))).toThrow(expect.objectContaining(refused))
  })

  test('and name and code are those of the caller', () => {
    const bounds = { name: 'result', code: 'INVALID_RESULT', maxBytes: 10 } as const
    const refused = { code: 'INVALID_RESULT', message: expect.stringContaining('result takes 12 bytes') }
    expect(() => copyJson('1234567890', bounds)).toThrow(expect.objectContaining(refused))
  })
})

describe('a payload that attacks', () => {
  test('own keys named __proto__ stay data and pollute nothing', () => {
    const copied = copy(JSON.parse('{"__proto__":{"isAdmin":true},"constructor":{"prototype":{"isAdmin":true}}}'))
    expect(Object.hasOwn(copied as object, '__proto__')).toBe(true)
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    expect((copied as { isAdmin?: boolean }).isAdmin).toBeUndefined()
    expect(JSON.stringify(copied)).toContain('"__proto__":{"isAdmin":true}')
  })

  test('a prototype that was set is refused, not copied', () => {
    expect(() => copy({ a: Object.create({ isAdmin: true }) })).toThrow(/payload\.a is an (instance|object)/)
  })
})

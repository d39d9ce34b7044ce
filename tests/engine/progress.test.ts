import type { ProgressReporter } from 'after-jobs'
import { createTestProgress } from 'after-jobs/testing'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { makeBench, makeGate, rejection, turns } from './support/runtime'

const CITIES = 138_398

/** What somebody may hand to a bar: numbers that are none, too large, negative, or not whole. */
const wild = fc.oneof(
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, -1, 1e308, 5e-324, 1e-9),
  fc.double(),
  fc.integer({ min: -10, max: 1_000 }),
)

type Call = { on: number } & ({ name: 'total' | 'tick' | 'set' | 'split'; value: number } | { name: 'label' })

/** Calls on a growing list of bars: the root, and each part that was split off. */
const calls = (value: fc.Arbitrary<number>, names: readonly Call['name'][]) =>
  fc.array(fc.record({ on: fc.nat(20), name: fc.constantFrom(...names), value }) as fc.Arbitrary<Call>, {
    maxLength: 60,
  })

function play(root: ProgressReporter, script: Call[], afterEach: () => void = () => {}): void {
  const bars = [root]
  for (const call of script) {
    const bar = bars[call.on % bars.length] as ProgressReporter
    if (call.name === 'split') bars.push(bar.split(call.value))
    else if (call.name === 'label') bar.label('x')
    else bar[call.name](call.value)
    afterEach()
  }
}

/** The contract's sentence, once more: finished parts of splits + the rest × ticks / total. */
class Model {
  total = 0
  ticks = 0
  readonly parts: { share: number; bar: Model }[] = []

  split(percent: number): Model {
    const left = 100 - this.parts.reduce((sum, { share }) => sum + share, 0)
    const bar = new Model()
    this.parts.push({ share: Math.min(percent, left), bar })
    return bar
  }

  percent(): number {
    const taken = this.parts.reduce((sum, { share }) => sum + share, 0)
    const rest = this.total > 0 ? Math.min(1, this.ticks / this.total) : 0
    return this.parts.reduce((sum, { share, bar }) => sum + (share * bar.percent()) / 100, (100 - taken) * rest)
  }
}

function playModel(script: Call[]): number {
  const root = new Model()
  const bars = [root]
  for (const call of script) {
    const bar = bars[call.on % bars.length] as Model
    if (call.name === 'split') bars.push(bar.split(call.value))
    if (call.name === 'total') bar.total = call.value
    if (call.name === 'tick') bar.ticks += call.value
  }
  return root.percent()
}

afterEach(() => {
  vi.useRealTimers()
})

describe('arithmetic', () => {
  test('whatever is called with whatever number, the percentage is an integer from 0 to 100', () => {
    const property = fc.property(calls(wild, ['total', 'tick', 'set', 'split', 'label']), (script) => {
      const progress = createTestProgress()
      play(progress, script, () => {
        expect(Number.isInteger(progress.percent)).toBe(true)
        expect(progress.percent).toBeGreaterThanOrEqual(0)
        expect(progress.percent).toBeLessThanOrEqual(100)
      })
    })
    fc.assert(property, { numRuns: 1_500 })
  })

  test('percent = finished parts of splits + the rest × ticks / total, rounded down', () => {
    const value = fc.integer({ min: 0, max: 60 })
    const property = fc.property(calls(value, ['total', 'tick', 'split']), (script) => {
      const progress = createTestProgress()
      // Totals come first, because a total that comes later is another sentence.
      const ordered = [...script].sort((a, b) => Number(b.name !== 'tick') - Number(a.name !== 'tick'))
      play(progress, ordered)
      const exact = playModel(ordered)
      expect(progress.percent).toBeGreaterThanOrEqual(Math.floor(exact - 1e-6))
      expect(progress.percent).toBeLessThanOrEqual(Math.floor(exact + 1e-6))
    })
    fc.assert(property, { numRuns: 1_000 })
  })

  test('each of 100 ticks is one percent, and so is each of a thousand of a thousand', () => {
    for (const count of [100, 1_000, 7_700, 100_000]) {
      const progress = createTestProgress()
      progress.total(count)
      for (let tick = 1; tick <= count; tick++) {
        progress.tick()
        if ((tick * 100) % count === 0) expect(progress.percent).toBe((tick * 100) / count)
      }
    }
  })

  test('a total is needed: ticks without one move nothing, and count once it is there', () => {
    const progress = createTestProgress()
    progress.tick(5)
    progress.tick()
    expect([progress.percent, progress.ticks]).toEqual([0, 6])
    progress.total(12)
    expect(progress.percent).toBe(50)
  })

  test('more ticks than the total are 100', () => {
    const progress = createTestProgress()
    progress.total(3)
    progress.tick(7)
    expect(progress.percent).toBe(100)
  })

  test.each([
    [0, 0],
    [41.99, 41],
    [100, 100],
    [100.5, 100],
    [1e9, 100],
    [-3, 0],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, 100],
    [Number.NEGATIVE_INFINITY, 0],
  ])('set(%d) is %d percent', (percent, expected) => {
    const progress = createTestProgress()
    progress.set(percent)
    expect(progress.percent).toBe(expected)
  })

  test('splits nest, run in parallel, and leave the rest to the bar itself', () => {
    const progress = createTestProgress()
    const [upload, convert] = [progress.split(30), progress.split(50)]
    const [first, second] = [convert.split(50), convert.split(50)]
    second.set(100)
    expect(progress.percent).toBe(25)
    upload.total(3)
    upload.tick()
    expect(progress.percent).toBe(35)
    first.set(50)
    expect(progress.percent).toBe(47)
    progress.total(2)
    progress.tick()
    expect(progress.percent).toBe(57)
    for (const part of [upload, first]) part.set(100)
    progress.tick()
    expect(progress.percent).toBe(100)
  })

  test('splits of more than 100 in sum are clamped to what is left', () => {
    const progress = createTestProgress()
    const parts = [60, 60, 50].map((percent) => progress.split(percent))
    parts[0]?.set(100)
    expect(progress.percent).toBe(60)
    parts[2]?.set(100)
    expect(progress.percent).toBe(60)
    parts[1]?.set(100)
    expect(progress.percent).toBe(100)
  })

  test('thirds and sevenths add up to 100', () => {
    for (const count of [3, 6, 7, 9, 11, 13]) {
      const progress = createTestProgress()
      for (let part = 0; part < count; part++) progress.split(100 / count).set(100)
      expect(progress.percent).toBe(100)
    }
  })

  test('what is no number at all kills no job', () => {
    const rubbish = [1n, '3', 'x', null, undefined, {}, [], true] as unknown as number[]
    for (const value of rubbish) {
      const progress = createTestProgress()
      progress.total(100)
      for (const name of ['tick', 'set', 'total', 'split', 'label'] as const) {
        expect.soft(() => progress[name](value as never), `${name}(${String(value)})`).not.toThrow()
      }
      expect.soft(Number.isInteger(progress.percent), String(value)).toBe(true)
    }
  })
})

describe('labels', () => {
  test('are set by label and by split, the newest wins, whichever bar it was called on', () => {
    const progress = createTestProgress()
    progress.label('one')
    const part = progress.split(10, 'two')
    part.split(10).label('three')
    progress.split(5)
    expect(progress.labels).toEqual(['one', 'two', 'three'])
  })

  test('are at most 500 characters without control characters, and no half of a character', () => {
    const property = fc.property(fc.string({ unit: 'binary', maxLength: 1_200 }), (text) => {
      const progress = createTestProgress()
      progress.label(text)
      const [label = ''] = progress.labels
      expect(label.length).toBeLessThanOrEqual(500)
      expect(label).not.toMatch(/\p{Cc}/u)
    })
    fc.assert(property, { numRuns: 200 })
    const progress = createTestProgress()
    progress.label('😀'.repeat(400))
    expect(() => encodeURIComponent(progress.labels[0] as string)).not.toThrow()
  })
})

describe('a job', () => {
  test('never shows less than before within a run, whatever its hook does', async () => {
    vi.useFakeTimers()
    const property = fc.asyncProperty(calls(wild, ['total', 'tick', 'set', 'split', 'label']), async (script) => {
      const bench = makeBench({
        async afterCreateJob(_id, _token, progress) {
          for (let start = 0; start < script.length; start += 6) {
            play(progress, script.slice(start, start + 6))
            await new Promise((resolve) => setTimeout(resolve, 260))
          }
        },
      })
      const token = await bench.start()
      await vi.advanceTimersByTimeAsync(4_000)
      const percents = bench.cache.versions(token).map(({ progress }) => progress)
      expect(percents.every(Number.isInteger)).toBe(true)
      expect(percents).toEqual(percents.toSorted((a, b) => a - b))
      expect(percents.indexOf(100)).toBe(percents.length - 1)
    })
    await fc.assert(property, { numRuns: 100 })
  })

  test.each(['sync', 'async'])('that is cancelled leaves each over a %s source with the reason', async (kind) => {
    const seen = makeGate<unknown>()
    const bodies: number[] = []
    const bench = makeBench({
      async afterCreateJob(_id, _token, progress) {
        const source = kind === 'sync' ? endless() : endlessAsync()
        try {
          for await (const number of progress.each(source)) {
            bodies.push(number)
            if (number === 3) await bench.jobs.cancel(token)
          }
        } catch (error) {
          seen.open(error)
          throw error
        }
      },
    })
    const token = await bench.start()
    const error = await seen.opened
    expect(error).toBeInstanceOf(Error)
    expect(bodies).toEqual([0, 1, 2, 3])
    await bench.jobs.drain()
    expect(await bench.jobs.status(token)).toMatchObject({ status: 'error', code: 'cancelled' })
  })
})

function* endless() {
  for (let number = 0; ; number++) yield number
}

async function* endlessAsync() {
  for (let number = 0; ; number++) {
    await turns(1)
    yield number
  }
}

function* numbers(count: number) {
  for (let number = 0; number < count; number++) yield number
}

async function* slowNumbers(count: number) {
  for (const number of numbers(count)) {
    await turns(1)
    yield number
  }
}

/** Iterates with `each`, and notes how far the bar was in each body. */
async function iterate(
  items: Iterable<number> | AsyncIterable<number>,
  total?: number,
  progress = createTestProgress(),
) {
  const [values, percents]: number[][] = [[], []]
  for await (const value of progress.each(items, total)) {
    values?.push(value)
    percents?.push(progress.percent)
  }
  return { values, percents, last: progress.percent, progress }
}

describe('each', () => {
  test('over the letters of a text gives each of them', async () => {
    const progress = createTestProgress()
    const letters: string[] = []
    for await (const letter of progress.each('abcd')) letters.push(letter)
    expect([letters.join(''), progress.percent, progress.ticks]).toEqual(['abcd', 100, 4])
  })

  const sources: [string, () => Iterable<number> | AsyncIterable<number>, number | undefined][] = [
    ['an array', () => [0, 1, 2, 3], undefined],
    ['a set', () => new Set([0, 1, 2, 3]), undefined],
    ['the keys of a map by total', () => new Map([0, 1, 2, 3].map((key) => [key, key])).keys(), 4],
    ['a typed array', () => Uint8Array.of(0, 1, 2, 3), undefined],
    ['a generator by total', () => numbers(4), 4],
    ['an asynchronous generator by total', () => slowNumbers(4), 4],
    ['an array of promises', () => [0, 1, 2, 3].map(async (n) => n) as unknown as number[], undefined],
  ]

  test.each(sources)('over %s ticks after each body', async (_, make, total) => {
    const { values, percents, last, progress } = await iterate(make(), total)
    expect(values).toEqual([0, 1, 2, 3])
    expect(percents).toEqual([0, 25, 50, 75])
    expect([last, progress.ticks]).toEqual([100, 4])
  })

  test.each([
    ['a generator', () => numbers(4)],
    ['an asynchronous generator', () => slowNumbers(4)],
  ])('over %s without a total moves nothing, and ticks', async (_, make) => {
    const { values, percents, last, progress } = await iterate(make())
    expect(values).toEqual([0, 1, 2, 3])
    expect([...(percents ?? []), last]).toEqual([0, 0, 0, 0, 0])
    expect(progress.ticks).toBe(4)
  })

  test('over nothing does nothing', async () => {
    expect(await iterate([])).toMatchObject({ values: [], last: 0 })
    expect(await iterate(slowNumbers(0))).toMatchObject({ values: [], last: 0 })
  })

  test('adds its count to the total, so that two in a row share the bar', async () => {
    const progress = createTestProgress()
    const first = await iterate([0, 1], undefined, progress)
    expect(first.last).toBe(100)
    const second = await iterate([0, 1, 2], 3, progress)
    expect([...(second.percents ?? []), second.last]).toEqual([40, 60, 80, 100])
  })

  test('two at once share the bar', async () => {
    const progress = createTestProgress()
    const [first, second] = [progress.each([1, 2, 3]), progress.each(slowNumbers(7), 7)]
    await first.next()
    await second.next()
    await first.next()
    expect(progress.percent).toBe(10)
    for await (const _ of first);
    for await (const _ of second);
    expect(progress.percent).toBe(100)
  })

  test('leaves a total that was called first alone', async () => {
    const progress = createTestProgress()
    progress.total(8)
    expect((await iterate([0, 1], undefined, progress)).last).toBe(25)
    expect((await iterate([0, 1], 1_000, progress)).last).toBe(50)
  })

  test('takes the given total for the count, be it too large or too small', async () => {
    expect((await iterate([0, 1, 2], 6)).last).toBe(50)
    expect((await iterate([0, 1, 2], 2)).percents).toEqual([0, 50, 100])
  })

  test('forgives a total that is none', async () => {
    for (const total of [Number.NaN, -5, Number.NEGATIVE_INFINITY]) {
      const progress = createTestProgress()
      const half = progress.each([1, 2, 3, 4])
      await half.next()
      await half.next()
      expect(progress.percent).toBe(25)
      await progress.each([1], total).next()
      expect(progress.percent).toBe(25)
    }
  })

  test('on a part moves that part', async () => {
    const progress = createTestProgress()
    for await (const _ of progress.split(40).each([0, 1]));
    expect(progress.percent).toBe(40)
  })

  test('passes on what the source throws, with the bar where it was', async () => {
    const error = new Error('source')
    function* broken() {
      yield 0
      throw error
    }
    async function* brokenAsync() {
      yield* broken()
    }
    for (const source of [broken(), brokenAsync()]) {
      const progress = createTestProgress()
      expect(await rejection(iterate(source, 2, progress))).toBe(error)
      expect(progress.percent).toBe(50)
    }
  })

  test.each(['break', 'throw'])('closes the source on %s, and does not tick the body that did not end', async (how) => {
    for (const isAsync of [false, true]) {
      const closed = vi.fn()
      const progress = createTestProgress()
      const work = async () => {
        for await (const number of progress.each(isAsync ? asAsync(closing(closed)) : closing(closed), 4)) {
          if (number < 2) continue
          if (how === 'break') break
          throw new Error('body')
        }
      }
      await work().catch(() => {})
      expect(closed).toHaveBeenCalledOnce()
      expect(progress.percent).toBe(50)
    }
  })

  test('works by hand: next and return', async () => {
    const closed = vi.fn()
    const progress = createTestProgress()
    const iterator = progress.each(closing(closed), 4)
    expect(await iterator.next()).toEqual({ done: false, value: 0 })
    expect(await iterator.next()).toEqual({ done: false, value: 1 })
    await iterator.return?.()
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
    expect(closed).toHaveBeenCalledOnce()
    expect(progress.percent).toBe(25)
  })
})

function* closing(closed: () => void) {
  try {
    yield* endless()
  } finally {
    closed()
  }
}

async function* asAsync(source: Generator<number>) {
  try {
    for (const number of source) {
      await turns(1)
      yield number
    }
  } finally {
    source.return(undefined)
  }
}

describe('each, when the job is aborted', () => {
  const reason = new Error('aborted')

  test.each([
    ['a synchronous', () => endless()],
    ['an asynchronous', () => endlessAsync()],
  ])('throws the reason after the body, over %s source, and closes the source', async (_, make) => {
    const source = make()
    const close = vi.spyOn(source, 'return')
    const progress = createTestProgress()
    const bodies: number[] = []
    const work = async () => {
      for await (const number of progress.each(source as Iterable<number>, 10)) {
        bodies.push(number)
        if (number === 2) progress.abort(reason)
      }
    }
    expect(await rejection(work())).toBe(reason)
    expect(bodies).toEqual([0, 1, 2])
    await vi.waitFor(() => expect(close).toHaveBeenCalled())
  })

  test.each([
    ['synchronous', () => [0, 1]],
    ['asynchronous', () => slowNumbers(2)],
  ])('throws the reason also after the last body of %s source', async (_, make) => {
    const progress = createTestProgress()
    const work = async () => {
      for await (const number of progress.each(make(), 2)) if (number === 1) progress.abort(reason)
    }
    expect(await rejection(work())).toBe(reason)
  })

  test.each([
    ['synchronous', () => [0]],
    ['asynchronous', () => slowNumbers(1)],
    ['empty', () => []],
  ])('before it begins, runs no body of %s source', async (_, make) => {
    const progress = createTestProgress()
    progress.abort(reason)
    const body = vi.fn()
    const work = async () => {
      for await (const number of progress.each(make())) body(number)
    }
    expect(await rejection(work())).toBe(reason)
    expect(body).not.toHaveBeenCalled()
  })

  test('throws at once while an asynchronous source hangs, whose close may hang, too', async () => {
    const closing = vi.fn(() => new Promise<never>(() => {}))
    const hanging: AsyncIterable<number> = {
      [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}), return: closing }),
    }
    const progress = createTestProgress()
    const failing = rejection(iterate(hanging, 5, progress))
    await turns(3)
    progress.abort(reason)
    expect(await failing).toBe(reason)
    expect(closing).toHaveBeenCalledOnce()
  })

  test('leaves no listener on the signal when it has ended', async () => {
    const progress = createTestProgress()
    const add = vi.spyOn(progress.signal, 'addEventListener')
    const remove = vi.spyOn(progress.signal, 'removeEventListener')
    for (let round = 0; round < 20; round++) await iterate(slowNumbers(3), 3, progress)
    for await (const _ of progress.each(slowNumbers(3))) break
    expect(remove.mock.calls.length).toBe(add.mock.calls.length)
  })

  test('a source that rejects after the abort is no unhandled rejection', async () => {
    const unhandled = vi.fn()
    process.on('unhandledRejection', unhandled)
    const gate = makeGate<IteratorResult<number>>()
    const source = { [Symbol.asyncIterator]: () => ({ next: () => gate.opened }) }
    const progress = createTestProgress()
    const failing = rejection(iterate(source, 5, progress))
    await turns(2)
    progress.abort(reason)
    await failing
    gate.fail(new Error('late'))
    await turns(5)
    process.off('unhandledRejection', unhandled)
    expect(unhandled).not.toHaveBeenCalled()
  })
})

describe(`each over ${CITIES} synchronous bodies`, () => {
  /** Works for some microseconds without a pause. */
  const work = (number: number) => {
    let sum = number
    for (let step = 0; step < 600; step++) sum = (sum * 31 + step) % 65_537
    return sum
  }

  test.each([
    ['an array', () => Array.from({ length: CITIES }, (_, index) => index)],
    ['a generator', () => numbers(CITIES)],
    [
      'an asynchronous source that never pauses',
      async function* () {
        yield* numbers(CITIES)
      },
    ],
  ])('over %s lets a 10 ms interval fire all along', async (_, make) => {
    const gaps: number[] = []
    let last = performance.now()
    const since = process.cpuUsage()
    const timer = setInterval(() => {
      const now = performance.now()
      gaps.push(now - last)
      last = now
    }, 10)
    for await (const number of createTestProgress().each(make(), CITIES)) work(number)
    clearInterval(timer)
    // Of this process alone, because a busy machine takes turns, too.
    const { user, system } = process.cpuUsage(since)
    const elapsed = (user + system) / 1_000
    expect(elapsed).toBeGreaterThan(100)
    // A turn every 20 ms makes 50 in a second; three times as rare would still be a loop that lives.
    expect(gaps.length).toBeGreaterThan(elapsed / 60)
  })

  test('answers polls of its status, which move', async () => {
    const bench = makeBench({
      async afterCreateJob(_id, _token, progress) {
        for await (const number of progress.each(numbers(CITIES), CITIES)) work(number)
      },
    })
    const token = await bench.start()
    const percents: number[] = []
    for (;;) {
      const { status, progress } = await bench.jobs.status(token)
      percents.push(progress)
      if (status === 'done') break
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(percents.length).toBeGreaterThan(10)
    expect(new Set(percents).size).toBeGreaterThan(2)
    expect(percents).toEqual(percents.toSorted((a, b) => a - b))
  })
})

describe('each', () => {
  test('gives up promises of a list when the job is aborted', async () => {
    const progress = createTestProgress()
    const reason = new Error('enough')
    const seen: number[] = []
    const loop = (async () => {
      for await (const value of progress.each([Promise.resolve(1), new Promise<number>(() => {})])) seen.push(value)
    })()
    await turns(1)
    progress.abort(reason)
    expect(await rejection(loop)).toBe(reason)
    expect(seen).toEqual([1])
  })

  test('takes nothing more from an asynchronous source after the abort', async () => {
    const progress = createTestProgress()
    const reason = new Error('enough')
    const [taken, seen] = [[] as number[], [] as number[]]
    async function* take() {
      for (const number of [1, 2, 3, 4]) {
        taken.push(number)
        yield number
      }
    }
    const loop = (async () => {
      for await (const number of progress.each(take())) {
        seen.push(number)
        if (number === 2) progress.abort(reason)
      }
    })()
    expect(await rejection(loop)).toBe(reason)
    expect([taken, seen]).toEqual([
      [1, 2],
      [1, 2],
    ])
  })

  test.each([Number.NaN, -10, Number.POSITIVE_INFINITY, 'ten' as unknown as number])(
    'inside another one with a total of %s leaves that its own',
    async (total) => {
      const progress = createTestProgress()
      const percents: number[] = []
      for await (const _ of progress.each([1, 2, 3, 4])) {
        for await (const _ of progress.each(['a'], total));
        percents.push(progress.percent)
      }
      expect(percents[0]).toBeGreaterThan(0)
      expect(progress.percent).toBe(100)
    },
  )
})

import type { ProgressReporter } from 'after-jobs'
import { createTestProgress } from 'after-jobs/testing'
import { expect, test, vi } from 'vitest'
import { rejection } from '../engine/support/runtime'

test('starts at nothing', () => {
  const progress = createTestProgress()
  expect([progress.percent, progress.labels, progress.ticks, progress.signal.aborted]).toEqual([0, [], 0, false])
})

test('records how far the bar is, and every tick', () => {
  const progress = createTestProgress()
  progress.total(3)
  const seen: [number, number][] = []
  for (const count of [undefined, 1, 1]) {
    progress.tick(count)
    seen.push([progress.percent, progress.ticks])
  }
  expect(seen).toEqual([
    [33, 1],
    [66, 2],
    [100, 3],
  ])
})

test('counts ticks without a total, which move nothing', () => {
  const progress = createTestProgress()
  progress.tick(4)
  expect([progress.percent, progress.ticks]).toEqual([0, 4])
})

test.each([
  [0, 0],
  [29, 29],
  [33.9, 33],
  [100, 100],
  [-5, 0],
  [500, 100],
  [Number.NaN, 0],
  [Number.POSITIVE_INFINITY, 100],
])('set(%d) shows %d', (percent, expected) => {
  const progress = createTestProgress()
  progress.set(percent)
  expect(progress.percent).toBe(expected)
})

test.each([0, -1, Number.NaN, Number.NEGATIVE_INFINITY])('tick(%d) is forgiven', (count) => {
  const progress = createTestProgress()
  progress.total(2)
  progress.tick(count)
  expect([progress.percent, progress.ticks]).toEqual([0, 0])
})

test.each([0, -1, Number.NaN])('total(%d) is forgiven', (total) => {
  const progress = createTestProgress()
  progress.total(total)
  progress.tick()
  expect([progress.percent, progress.ticks]).toEqual([0, 1])
})

test('records every label in order, those of parts included, bounded like a real one', () => {
  const progress = createTestProgress()
  progress.label('one')
  progress.split(50, 'two').label('three')
  progress.label('three')
  progress.label(`a\nb\u0000${'x'.repeat(1_000_000)}`)
  expect(progress.labels.slice(0, 4)).toEqual(['one', 'two', 'three', 'three'])
  expect(progress.labels[4]).toMatch(/^a b x+…$/)
  expect(progress.labels[4]?.length).toBeLessThanOrEqual(500)
})

test('parts have a 0–100 of their own, nest, and may move in parallel', () => {
  const progress = createTestProgress()
  const download = progress.split(50)
  const upload = progress.split(30, 'Uploading')
  const inner = upload.split(50)
  download.set(50)
  expect(progress.percent).toBe(25)
  inner.total(2)
  inner.tick()
  expect(progress.percent).toBe(32)
  download.set(100)
  inner.tick()
  upload.set(100)
  expect(progress.percent).toBe(80)
  progress.set(50)
  expect(progress.percent).toBe(90)
  progress.set(100)
  expect([progress.percent, progress.ticks]).toEqual([100, 2])
})

test('parts together take no more than the whole', () => {
  const progress = createTestProgress()
  const parts = [progress.split(80), progress.split(80)]
  for (const part of parts) part.set(100)
  expect(progress.percent).toBe(100)
})

test.each<[string, Iterable<number> | AsyncIterable<number>, number | undefined, number[]]>([
  ['an array', [1, 2, 3, 4], undefined, [0, 25, 50, 75]],
  ['a set', new Set([1, 2]), undefined, [0, 50]],
  ['a generator, whose count is given', numbers(), 4, [0, 25, 50, 75]],
  ['a generator, whose count is not', numbers(), undefined, [0, 0, 0, 0]],
  ['an asynchronous generator', laterNumbers(), 4, [0, 25, 50, 75]],
])('each iterates over %s, and ticks after each body', async (_, items, total, expected) => {
  const progress = createTestProgress()
  const seen: number[] = []
  for await (const item of progress.each(items, total)) {
    expect(item).toBe(seen.length + 1)
    seen.push(progress.percent)
  }
  expect(seen).toEqual(expected)
  expect(progress.ticks).toBe(expected.length)
})

function* numbers(): Generator<number> {
  yield* [1, 2, 3, 4]
}

async function* laterNumbers(): AsyncGenerator<number> {
  yield* [1, 2, 3, 4]
}

test('each adds to the total, unless total was called first', async () => {
  const progress = createTestProgress()
  for await (const _ of progress.each([1, 2]));
  expect(progress.percent).toBe(100)
  const counted = createTestProgress()
  counted.total(8)
  for await (const _ of counted.each([1, 2]));
  expect(counted.percent).toBe(25)
})

test('each does not tick for a body that was left', async () => {
  const progress = createTestProgress()
  for await (const item of progress.each([1, 2, 3])) if (item === 2) break
  expect(progress.ticks).toBe(1)
})

test('abort fires the signal, and each throws its reason', async () => {
  const progress = createTestProgress()
  const listener = vi.fn()
  progress.signal.addEventListener('abort', listener)
  const reason = new Error('cancelled')
  const seen: number[] = []
  const iterate = async () => {
    for await (const item of progress.each([1, 2, 3])) {
      seen.push(item)
      if (item === 2) progress.abort(reason)
    }
  }
  expect(await rejection(iterate())).toBe(reason)
  expect(seen).toEqual([1, 2])
  expect(listener).toHaveBeenCalledTimes(1)
  expect(progress.signal.reason).toBe(reason)
})

test('abort without a reason aborts as an AbortController does', async () => {
  const progress = createTestProgress()
  progress.abort()
  expect(progress.signal.aborted).toBe(true)
  const iterate = async () => {
    for await (const _ of progress.each([1]));
  }
  expect(await rejection(iterate())).toMatchObject({ name: 'AbortError' })
})

test('abort reaches a part, and a source that hangs', async () => {
  const progress = createTestProgress()
  const source: AsyncIterable<number> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }
  const part: ProgressReporter = progress.split(50)
  const iterate = async () => {
    for await (const _ of part.each(source));
  }
  const failed = rejection(iterate())
  const reason = new Error('cancelled')
  progress.abort(reason)
  expect(await failed).toBe(reason)
  expect(part.signal).toBe(progress.signal)
})

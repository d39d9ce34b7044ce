import { expect, onTestFinished, test, vi } from 'vitest'
import { Gatherer } from '../../src/postgres/gatherer'

interface Item {
  readonly token: string
  readonly word?: string
}

const LIMIT = 2_000

/** Makes a gatherer whose statements end when they are told to. */
function makeGatherer(options = {}) {
  const batches: { words: (string | undefined)[]; end: () => void }[] = []
  const gatherer = new Gatherer<Item, string>(
    LIMIT,
    (items) => {
      return new Promise((resolve) => {
        batches.push({ words: items.map(({ word }) => word), end: () => resolve(items.map(({ word }) => `${word}!`)) })
      })
    },
    options,
  )
  const words = () => batches.map((batch) => batch.words)
  return { gatherer, batches, words, nextTurn: () => new Promise((resolve) => setImmediate(resolve)) }
}

test('calls of one turn, also from later microtasks of it, go together and get their own answers', async () => {
  const { gatherer, batches, words, nextTurn } = makeGatherer()
  const first = gatherer.add({ token: 'a', word: 'one' })
  const second = Promise.resolve().then(async () => {
    await undefined
    return gatherer.add({ token: 'b', word: 'two' })
  })
  await nextTurn()
  expect(words()).toEqual([['one', 'two']])
  batches[0]?.end()
  expect(await Promise.all([first, second])).toEqual(['one!', 'two!'])
})

test('two calls for one token never meet in a statement, unless they may', async () => {
  const { gatherer, words, nextTurn } = makeGatherer()
  for (const word of ['one', 'two']) gatherer.add({ token: 'a', word })
  gatherer.add({ token: 'b', word: 'three' })
  await nextTurn()
  expect(words()).toEqual([['one', 'three'], ['two']])

  const other = makeGatherer({ mayRepeat: true })
  for (const word of ['one', 'two']) void other.gatherer.add({ token: 'a', word })
  await other.nextTurn()
  expect(other.words()).toEqual([['one', 'two']])
})

test('calls that come while statements are under way wait for the next', async () => {
  const { gatherer, batches, words, nextTurn } = makeGatherer()
  for (const word of ['one', 'two', 'three', 'four']) {
    void gatherer.add({ token: word, word })
    await nextTurn()
  }
  expect(words()).toEqual([['one'], ['two']])
  batches[0]?.end()
  await nextTurn()
  expect(words()).toEqual([['one'], ['two'], ['three', 'four']])
})

test('a call that has waited for too long is rejected, and never carried out', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { gatherer, batches, words, nextTurn } = makeGatherer()
  const ends: string[] = []
  for (const word of ['one', 'two', 'three', 'four']) {
    gatherer.add({ token: word, word }).then(
      () => ends.push(word),
      (error) => ends.push(error.message),
    )
    await nextTurn()
    vi.advanceTimersByTime(100)
  }
  vi.advanceTimersByTime(LIMIT - 150)
  await nextTurn()
  expect(ends).toEqual(['PostgreSQL gave no answer within 2000 ms'])
  batches[0]?.end()
  await nextTurn()
  expect(words()).toEqual([['one'], ['two'], ['four']])
})

test('what the server refuses, in whatever language, takes no other call with it', async () => {
  const refusal = Object.assign(new Error('syntaxe en entrée invalide'), { severity: 'ERREUR', code: '22P02' })
  const gatherer = new Gatherer<Item, string>(LIMIT, async (items) => {
    if (items.some(({ word }) => word === 'bad')) throw refusal
    return items.map(({ word }) => `${word}!`)
  })
  const calls = [gatherer.add({ token: 'a', word: 'good' }), gatherer.add({ token: 'b', word: 'bad' })]
  expect(await Promise.allSettled(calls)).toEqual([
    { status: 'fulfilled', value: 'good!' },
    { status: 'rejected', reason: refusal },
  ])
})

import { expect, onTestFinished, test, vi } from 'vitest'
import { Gatherer } from '../../src/postgres/gatherer'

interface Item {
  readonly token: string
  readonly word?: string
}

const LIMIT = 2_000

/** Makes a gatherer whose statements end when they are told to. */
function makeGatherer(options = {}) {
  const batches: { words: (string | undefined)[]; limit: number; end: () => void }[] = []
  const gatherer = new Gatherer<Item, string>(
    LIMIT,
    (items, limit) => {
      return new Promise((resolve) => {
        const end = () => resolve(items.map(({ word }) => `${word}!`))
        batches.push({ words: items.map(({ word }) => word), limit, end })
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

test('calls that come while the only lane is taken go together afterwards, in their order', async () => {
  const { gatherer, batches, words, nextTurn } = makeGatherer({ mayRepeat: true, lanes: 1 })
  for (const word of ['one', 'two', 'three', 'two']) {
    void gatherer.add({ token: word, word })
    await nextTurn()
  }
  expect(words()).toEqual([['one']])
  batches[0]?.end()
  await nextTurn()
  expect(words()).toEqual([['one'], ['two', 'three', 'two']])
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

test('a call that had little time left takes none from those that go with it', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const { gatherer, batches, nextTurn } = makeGatherer()
  const ends: string[] = []
  const add = async (word: string, then: number) => {
    gatherer.add({ token: word, word }).then(
      (answer) => ends.push(answer),
      (error) => ends.push(`${word}: ${error.message}`),
    )
    await nextTurn()
    await vi.advanceTimersByTimeAsync(then)
  }
  await add('one', 0)
  await add('two', 0)
  await add('old', 1_000)
  await add('middle', 900)
  await add('fresh', 50)
  batches[0]?.end()
  await nextTurn()
  // Long enough for the youngest, which came 50 ms ago.
  expect(batches[2]).toMatchObject({ words: ['old', 'middle', 'fresh'], limit: LIMIT - 50 })
  await vi.advanceTimersByTimeAsync(50)
  expect(ends).toEqual(['one!', 'old: PostgreSQL gave no answer within 2000 ms'])
  await vi.advanceTimersByTimeAsync(1_000)
  expect(ends.slice(2)).toEqual(['middle: PostgreSQL gave no answer within 2000 ms'])
  batches[2]?.end()
  await nextTurn()
  expect(ends.slice(3)).toEqual(['fresh!'])
})

test('a call that was told it came too late is not carried out when its statement is refused and taken apart', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const sent: string[][] = []
  const refusals: (() => void)[] = []
  const gatherer = new Gatherer<Item, string>(LIMIT, (items) => {
    sent.push(items.map(({ token }) => token))
    return new Promise((_, reject) => refusals.push(() => reject(Object.assign(new Error('no'), { code: '22P02' }))))
  })
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve))
  const add = async (token: string, then: number) => {
    gatherer.add({ token }).catch(() => {})
    await nextTurn()
    await vi.advanceTimersByTimeAsync(then)
  }
  await add('one', 0)
  await add('two', 0)
  await add('old', 1_900)
  await add('fresh', 0)
  refusals[0]?.()
  await nextTurn()
  await vi.advanceTimersByTimeAsync(200)
  refusals[2]?.()
  await nextTurn()
  expect(sent).toEqual([['one'], ['two'], ['old', 'fresh'], ['fresh']])
})

test('calls that wait keep no process alive: the statement under way does', async () => {
  const timers = vi.spyOn(globalThis, 'setTimeout')
  onTestFinished(() => timers.mockRestore())
  const { gatherer, batches, nextTurn } = makeGatherer({ lanes: 1 })
  const calls = []
  for (const word of ['one', 'two']) {
    calls.push(gatherer.add({ token: word, word }))
    await nextTurn()
  }
  batches[0]?.end()
  await nextTurn()
  batches[1]?.end()
  await Promise.all(calls)
  const made = timers.mock.results.map(({ value }) => value as NodeJS.Timeout)
  expect(made.map((timer) => timer.hasRef())).toEqual([false])
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

test('a bad one among a thousand does not take every connection', async () => {
  const refusal = Object.assign(new Error('deadlock detected'), { code: '40P01' })
  const counts = { underWay: 0, most: 0, statements: 0 }
  const gatherer = new Gatherer<Item, string>(LIMIT, async (items) => {
    counts.statements++
    counts.underWay++
    counts.most = Math.max(counts.most, counts.underWay)
    await new Promise((resolve) => setImmediate(resolve))
    counts.underWay--
    if (items.some(({ word }) => word === 'bad')) throw refusal
    return items.map(({ word }) => `${word}!`)
  })
  const calls = Array.from({ length: 1_000 }, (_, index) => {
    return gatherer.add({ token: String(index), word: index === 700 ? 'bad' : 'good' })
  })
  const ends = await Promise.allSettled(calls)
  expect(ends.flatMap(({ status }, index) => (status === 'rejected' ? [index] : []))).toEqual([700])
  expect(counts.most).toBeLessThanOrEqual(2)
  expect(counts.statements).toBeLessThanOrEqual(25)
})

test('what the server refuses changes nothing about the order of the others in a single lane', async () => {
  const refusal = Object.assign(new Error('nothing like that'), { code: '22P02' })
  const carried: string[] = []
  let statements = 0
  const carry = async (items: readonly Item[]) => {
    statements++
    // The first ones take longest.
    await new Promise((resolve) => setTimeout(resolve, 5 * (items.length + (statements === 2 ? 5 : 0))))
    if (items.some(({ word }) => word === 'bad')) throw refusal
    carried.push(...items.map(({ token }) => token))
    return items.map(({ token }) => `${token}!`)
  }
  const gatherer = new Gatherer<Item, string>(LIMIT, carry, { mayRepeat: true, lanes: 1 })
  const tokens = Array.from({ length: 16 }, (_, index) => String(index))
  const calls = tokens.map((token) => gatherer.add({ token, word: token === '6' ? 'bad' : 'good' }))
  const ends = await Promise.allSettled(calls)
  expect(ends.filter(({ status }) => status === 'rejected')).toEqual([{ status: 'rejected', reason: refusal }])
  expect(ends[6]).toEqual({ status: 'rejected', reason: refusal })
  expect(carried).toEqual(tokens.filter((token) => token !== '6'))
  // Found by halves.
  expect(statements).toBeLessThanOrEqual(9)
})

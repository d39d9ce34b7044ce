import { attachAfterJobs, withAfterJobs } from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { DataSource, EntitySchema, Repository } from 'typeorm'
import { expect, onTestFinished, test } from 'vitest'
import { spyLogger } from '../engine/support/spies'

interface Book {
  id: number
  title: string
}

const Book = new EntitySchema<Book>({
  name: 'book',
  columns: { id: { type: 'int', primary: true, generated: true }, title: { type: 'text' } },
})

async function openBooks() {
  const logger = spyLogger()
  const jobs = createTestJobs({ logger })
  const found: unknown[] = []
  class Books extends withAfterJobs(Repository, {
    jobs,
    auto: ['create', 'save', 'remove', 'delete', 'discard'],
  })<Book> {
    /** TypeORM takes the id off what it removes. */
    async discard(book: Book): Promise<number> {
      const { id } = book
      await this.remove(book)
      return id
    }
    async afterSaveJob(id: number) {
      // The manager of the live instance may be that of a transaction, which is over.
      const { manager } = this.manager.dataSource
      found.push(await manager.findOneBy(Book, { id }))
    }
    afterCreateJob() {}
    afterRemoveJob() {}
    afterDeleteJob() {}
    afterDiscardJob() {}
  }
  const source = await new DataSource({ type: 'sqljs', entities: [Book], synchronize: true }).initialize()
  onTestFinished(() => source.destroy())
  return {
    jobs,
    source,
    found,
    books: new Books(Book, source.manager),
    started: () => jobs.dispatched.map(({ hook, id }) => [hook, id]),
    warnings: () => logger.lines.flatMap(({ level, message }) => (level === 'warn' ? message : [])),
  }
}

test('save() of one starts one job, save() of many one for each, save() of none none', async () => {
  const { books, jobs, found, started } = await openBooks()
  const book = await books.save({ title: 'one' })
  const list = await books.save([{ title: 'two' }, { title: 'three' }])
  await books.save([])
  expect(started()).toEqual([1, 2, 3].map((id) => ['afterSaveJob', id]))
  expect([book, ...list].map((each) => books.getJobToken(each))).toEqual(jobs.dispatched.map(({ token }) => token))
  await jobs.drain()
  expect(found).toEqual([{ id: 1, title: 'one' }, ...list])
})

test('an id of 0 is one', async () => {
  const { books, started } = await openBooks()
  await books.insert({ id: 0, title: 'zero' })
  await books.save({ id: 0, title: 'nought' })
  expect(started()).toEqual([['afterSaveJob', 0]])
})

test('its create(), which writes nothing, is passed through with one warning', async () => {
  const { books, started, warnings } = await openBooks()
  const made = [books.create({ title: 'one' }), books.create({ title: 'two' })]
  expect(made).toEqual([{ title: 'one' }, { title: 'two' }])
  expect(books.create([{ title: 'three' }])).toEqual([{ title: 'three' }])
  expect(started()).toEqual([])
  expect(warnings()).toEqual([expect.stringMatching(/Books\.create\(\) returned no promise/)])
})

test('delete(id) takes its id from its argument', async () => {
  const { books, started } = await openBooks()
  await books.insert({ title: 'one' })
  await books.delete(1)
  expect(started()).toEqual([['afterDeleteJob', 1]])
})

test('remove(), after which no id is left, is told, and fails no action; a method that keeps the id is the way', async () => {
  const { books, started, warnings } = await openBooks()
  const [first, second] = await books.save([{ title: 'one' }, { title: 'two' }])
  expect(await books.remove(first as Book)).toMatchObject({ title: 'one' })
  expect(warnings()).toEqual([expect.stringContaining('neither the result nor the first argument is an id')])
  expect(await books.discard(second as Book)).toBe(2)
  expect(started().slice(2)).toEqual([['afterDiscardJob', 2]])
  expect(await books.count()).toBe(0)
})

test('withRepository() gives one that is as much ours, and whose jobs wait for the commit', async () => {
  const { books, jobs, source, found, started } = await openBooks()
  const save = (title: string, isLast: boolean) =>
    jobs.transaction(() =>
      source.transaction(async (manager) => {
        const own = manager.withRepository(books)
        expect(own).toBeInstanceOf(books.constructor)
        expect(own).not.toBe(books)
        const book = await own.save({ title })
        expect(own.getJobToken(book)).toEqual(expect.any(String))
        expect(started()).toHaveLength(isLast ? 1 : 0)
        if (isLast) throw new Error('rollback')
      }),
    )
  await save('kept', false)
  await expect(save('lost', true)).rejects.toThrow('rollback')
  await jobs.drain()
  expect(found).toEqual([{ id: 1, title: 'kept' }])
  expect(started()).toEqual([['afterSaveJob', 1]])
})

test('a plain object around it starts its jobs, too', async () => {
  const { source, jobs, started } = await openBooks()
  const library = attachAfterJobs(
    {
      create: (title: string) => source.manager.save(Book, { title } as Book),
      createMany: (titles: string[]) =>
        source.manager.save(
          Book,
          titles.map((title) => ({ title }) as Book),
        ),
      find: (id: number) => source.manager.findOneBy(Book, { id }),
      async remove(id: number) {
        const { affected } = await source.manager.delete(Book, id)
        return affected ? { id } : null
      },
      afterCreateJob() {},
      afterCreateManyJob() {},
      afterFindJob() {},
      afterRemoveJob() {},
    },
    { jobs, auto: ['create', 'createMany', 'find', 'remove'] },
  )
  await library.create('one')
  await library.createMany(['two', 'three'])
  await library.createMany([])
  await library.find(1)
  await library.find(77)
  await library.remove(1)
  await library.remove(1)
  expect(started()).toEqual([
    ['afterCreateJob', 1],
    ['afterCreateManyJob', 2],
    ['afterCreateManyJob', 3],
    ['afterFindJob', 1],
    ['afterRemoveJob', 1],
  ])
})

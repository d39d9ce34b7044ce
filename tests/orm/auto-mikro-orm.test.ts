import { EntityRepository, EntitySchema, MikroORM } from '@mikro-orm/libsql'
import { type AfterJobsMethods, withAfterJobs } from 'after-jobs'
import { createTestJobs } from 'after-jobs/testing'
import { expect, onTestFinished, test } from 'vitest'
import { spyLogger } from '../engine/support/spies'

interface Book {
  id: number
  title: string
}

async function openBooks() {
  const logger = spyLogger()
  const jobs = createTestJobs({ logger })
  const found: unknown[] = []
  class Books extends withAfterJobs(EntityRepository, {
    jobs,
    auto: ['create', 'add', 'addAll', 'insert', 'drop'],
  })<Book> {
    async add(title: string): Promise<Book> {
      const book = this.create({ title } as Book)
      await this.getEntityManager().persist(book).flush()
      return book
    }
    async addAll(titles: string[]): Promise<Book[]> {
      const books = titles.map((title) => this.create({ title } as Book))
      await this.getEntityManager().persist(books).flush()
      return books
    }
    async drop(book: Book): Promise<Book> {
      return this.getEntityManager()
        .remove(book)
        .flush()
        .then(() => book)
    }
    async afterAddJob(id: number) {
      // A fork: what the caller's has in its memory is no proof of what is in the database.
      found.push((await this.getEntityManager().fork().findOne<Book>('book', { id }))?.title)
    }
    afterCreateJob() {}
    afterAddAllJob() {}
    afterInsertJob() {}
    afterDropJob() {}
  }
  const schema = new EntitySchema<Book>({
    name: 'book',
    repository: () => Books as never,
    properties: { id: { type: 'integer', primary: true }, title: { type: 'string' } },
  })
  const orm = await MikroORM.init({ entities: [schema], dbName: ':memory:' })
  await orm.schema.createSchema()
  onTestFinished(() => orm.close())
  const booksOf = (em: typeof orm.em) => em.getRepository<Book>('book') as unknown as Books & AfterJobsMethods
  return {
    jobs,
    found,
    em: orm.em.fork(),
    booksOf,
    started: () => jobs.dispatched.map(({ hook, id }) => [hook, id]),
    warnings: () => logger.lines.flatMap(({ level, message }) => (level === 'warn' ? message : [])),
  }
}

test('a method that flushes starts the job of what it has made, or of each', async () => {
  const { em, booksOf, jobs, started, found } = await openBooks()
  const books = booksOf(em)
  const book = await books.add('one')
  const list = await books.addAll(['two', 'three'])
  await books.addAll([])
  expect(started()).toEqual([
    ['afterAddJob', 1],
    ['afterAddAllJob', 2],
    ['afterAddAllJob', 3],
  ])
  expect([book, ...list].map((each) => books.getJobToken(each))).toEqual(jobs.dispatched.map(({ token }) => token))
  await jobs.drain()
  expect(found).toEqual(['one'])
})

test('insert() answers the key, 0 included; a removed entity keeps its own', async () => {
  const { em, booksOf, started } = await openBooks()
  const books = booksOf(em)
  expect(await books.insert({ id: 0, title: 'zero' } as Book)).toBe(0)
  await books.insert({ title: 'one' } as Book)
  await books.drop(await books.findOneOrFail({ id: 1 }))
  expect(started()).toEqual([
    ['afterInsertJob', 0],
    ['afterInsertJob', 1],
    ['afterDropJob', 1],
  ])
})

test('its create(), which only remembers, is passed through with one warning', async () => {
  const { em, booksOf, started, warnings } = await openBooks()
  const books = booksOf(em)
  expect(books.create({ title: 'one' } as Book)).toMatchObject({ title: 'one' })
  // Its row is written by the flush of another method, which answers its own only.
  await books.add('two')
  expect(started()).toEqual([['afterAddJob', 2]])
  expect(await books.count()).toBe(2)
  expect(warnings()).toEqual([expect.stringMatching(/Books\.create\(\) returned no promise/)])
})

test('inside of a transaction its jobs wait for the commit', async () => {
  const { em, booksOf, jobs, started, found } = await openBooks()
  const add = (title: string, fails: boolean) =>
    jobs.transaction(() =>
      em.transactional(async (inner) => {
        await booksOf(inner).add(title)
        expect(found).toEqual([])
        if (fails) throw new Error('rollback')
      }),
    )
  await expect(add('lost', true)).rejects.toThrow('rollback')
  await add('kept', false)
  await jobs.drain()
  expect(started()).toHaveLength(1)
  expect(found).toEqual(['kept'])
})

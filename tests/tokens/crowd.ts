import { AfterJobsError, createAfterJobs, withAfterJobs } from 'after-jobs'
import { onTestFinished } from 'vitest'
import type { AfterJobs, ScopeMiddleware } from '../../src/core/runtime'
import { createRandom, SlowDatabase, shuffle } from './chance'
import { actionOf, judge, type Opening, type Question, type Reply, type Tally } from './verdicts'

const SIZE = 1_000

interface Entity {
  id: number
}

/** The requests of a test, which all meet on one service. */
export interface Crowd {
  jobs: AfterJobs
  /** How the scope of a request is opened. */
  openings: Record<Opening, ScopeMiddleware>
  /** Serves one request: it acts, and asks for its token in every form. */
  serve(question: Question): Promise<Reply>
  judge(replies: readonly Reply[]): Tally
  /** What `getJobToken()` said as the first thing in each job. */
  seenInJobs: ReadonlySet<string | undefined>
}

/** Makes the questions of a crowd, in random order. Only in a scope may some of them share an entity. */
export function makeQuestions(openings: readonly Opening[], mayShare: boolean): Question[] {
  const random = createRandom(2)
  const questions = Array.from({ length: SIZE }, (_, n): Question => {
    const opening = openings[Math.floor(random() * openings.length)] as Opening
    return { n, opening, isCached: mayShare && opening !== 'none' && random() < 0.5 }
  })
  return shuffle(questions, random)
}

export function gatherCrowd(): Crowd {
  const jobs = createAfterJobs()
  onTestFinished(() => jobs.drain().then(() => jobs.close()))
  const database = new SlowDatabase(createRandom(1))
  const service = new (defineService(jobs, database))()
  const owners = new Map<string, number>()
  // The id of a job that starts by itself is the number of its request; of one started by hand the token is returned.
  jobs.on('queued', ({ token, hook, id }) => void (hook === 'afterCreateJob' && owners.set(String(token), Number(id))))
  const cached: Entity = { id: -1 }
  return {
    jobs,
    openings: makeOpenings(jobs),
    seenInJobs: service.seenInJobs,
    judge: (replies) => judge(replies, owners),
    async serve(question) {
      const { n, isCached } = question
      const entity = isCached ? cached : { id: n }
      await database.query()
      const token = await service[actionOf(question)](entity, n)
      if (typeof token === 'string') owners.set(token, n)
      await database.query()
      const answers = { bare: ask(() => service.getJobToken()), object: ask(() => service.getJobToken(entity)) }
      // A long answer fills the socket, so that the server pauses it, and resumes it in the course of another request.
      const reply = { ...question, padding: ' '.repeat(n % 7 === 0 ? 20_000 : 0) }
      if (isCached) return { ...reply, answers }
      return { ...reply, answers: { ...answers, copy: ask(() => service.getJobToken({ ...entity })) } }
    },
  }
}

function makeOpenings(jobs: AfterJobs): Crowd['openings'] {
  return {
    middleware: jobs.middleware(),
    scope: (_request, _response, next) => jobs.scope(next),
    none: (_request, _response, next) => next(),
  }
}

function defineService(jobs: AfterJobs, database: SlowDatabase) {
  const numberOf = (_result: unknown, _entity: unknown, n: unknown) => Number(n)
  const auto = { create: numberOf, findNothing: undefined, archive: undefined }
  return class ProjectService extends withAfterJobs({ jobs, auto }) {
    readonly seenInJobs = new Set<string | undefined>()

    async create(entity: Entity, _n: number): Promise<Entity> {
      await database.query()
      return entity
    }

    async store(entity: Entity, _n: number): Promise<string | undefined> {
      await database.query()
      return this.executeJob('after', 'store', entity)
    }

    /** Starts nothing, because there is no such hook. */
    async touch(entity: Entity, _n: number): Promise<string | undefined> {
      await database.query()
      return this.executeJob('after', 'touch' as string, entity)
    }

    /** Starts nothing, because its result is null. */
    async findNothing(_entity: Entity, _n: number): Promise<null> {
      await database.query()
      return null
    }

    /** Starts nothing by itself, because there is no such hook. */
    async archive(entity: Entity, _n: number): Promise<Entity> {
      await database.query()
      return entity
    }

    async afterCreateJob(): Promise<void> {
      this.seenInJobs.add(this.getJobToken())
      await database.query()
    }

    async afterStoreJob(): Promise<void> {
      this.seenInJobs.add(this.getJobToken())
    }

    async afterFindNothingJob(): Promise<void> {
      this.seenInJobs.add('a job for nothing')
    }
  }
}

/** Asks for a token: `null` for none. A refusal is an answer, too; nothing else may be thrown. */
export function ask(getJobToken: () => string | undefined): string | null {
  try {
    return getJobToken() ?? null
  } catch (error) {
    if (AfterJobsError.is(error)) return error.code
    throw error
  }
}

// What a consumer may write, and what must be an error where it is written. Compiled against the packed declarations.
import {
  type AfterJobs,
  AfterJobsError,
  attachAfterJobs,
  createAfterJobs,
  defaultAfterJobs,
  type JobContext,
  JobError,
  type JobStatus,
  jobHeaders,
  keyvCache,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
  type WithAfterJobs,
  withAfterJobs,
} from 'after-jobs'
import { formatElapsed, JobFailedError, type JobWatch, watchJob } from 'after-jobs/client'
import { createJobHandler, createNodeHandler } from 'after-jobs/http'
import { redisCache, redisQueue } from 'after-jobs/redis'
import { cacheConformance, createTestJobs, createTestProgress, queueConformance } from 'after-jobs/testing'

export const jobs: AfterJobs = createAfterJobs()

interface Project {
  id: number
  tasks: string[]
}

class CrudService<T extends { id: number }> {
  static table = 'rows'
  #rows = new Map<number, T>()
  constructor(readonly database: string) {}
  protected async find(id: number): Promise<T | undefined> {
    return this.#rows.get(id)
  }
  async create(data: T): Promise<T> {
    this.#rows.set(data.id, data)
    return data
  }
}

export class ProjectService extends withAfterJobs(CrudService, { jobs, auto: ['create'] })<Project> {
  static readonly jobName = 'project'

  async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
    const project = await this.find(id)
    if (!project) throw new JobError('The project does not exist')
    for await (const task of progress.each(project.tasks)) progress.label(task.toUpperCase())
    return 'done'
  }

  async afterDeleteJob(
    _id: number,
    _token: string,
    _progress: ProgressReporter,
    job: JobContext<{ chapterIds: number[] }>,
  ) {
    return { result: { chapters: job.payload.chapterIds.length } }
  }

  async afterUpdateJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<Why | undefined>) {}

  async afterArchiveJob() {
    if (this.database) return 'done'
    return
  }

  async afterCreateJobFailed(_id: number, _token: string, error: Error) {
    console.error(error.message)
  }

  async inside(id: number) {
    await this.executeJob('after', 'create', id)
    await this.executeJob('after', 'delete', id, { payload: { chapterIds: [1] } })
    // @ts-expect-error the payload is missing
    await this.executeJob('after', 'delete', id)
    // @ts-expect-error no such hook
    await this.executeJob('after', 'crate', id)
  }
}

interface Why {
  why: string
}

export async function outside(action: string): Promise<string | undefined> {
  const service = new ProjectService('database')
  const project = await service.create({ id: 1, tasks: ['read'] })
  const names: [string, string, string[]] = [ProjectService.table, service.database, project.tasks]
  const token: string | undefined = await service.executeJob('after', 'create', project)
  await service.executeJob('after', 'create', project.id, { delay: 5, backoff: { type: 'fixed', delay: 10 } })
  await service.executeJob('after', 'archive', 1)
  await service.executeJob('after', 'update', 1)
  await service.executeJob('after', 'update', 1, { payload: { why: 'because' } })
  await service.executeJob('after', action, 1)
  const tokens: string[] = await service.executeJobs('after', 'create', [1, project])
  // @ts-expect-error an action is a name
  await service.executeJob('after', 'bulk-create', 1)
  // @ts-expect-error there is no hook before it
  await service.executeJob('before', 'create', 1)
  // @ts-expect-error a payload of another type
  await service.executeJob('after', 'delete', 1, { payload: { chapterIds: ['one'] } })
  // @ts-expect-error a payload of another type
  await service.executeJob('after', 'update', 1, { payload: { why: 1 } })
  // @ts-expect-error the payload is missing
  await service.executeJob('after', 'delete', 1)
  // @ts-expect-error an id is a string or a number
  await service.executeJob('after', 'create', 1n)
  // @ts-expect-error the constructor of the base wants a string
  new ProjectService(1)
  return service.getJobToken(project) ?? token ?? tokens[0] ?? names[0]
}

export class Wrong extends withAfterJobs() {
  // @ts-expect-error the second parameter is the token, a string
  async afterCreateJob(_id: number, _token: number) {}
  // @ts-expect-error a hook returns no number
  async afterUpdateJob(_id: number) {
    return 5
  }
}

export abstract class Named {
  constructor(protected readonly prefix: string) {}
  abstract name(): string
}

// For consumers that annotate every export, as isolatedDeclarations wants it.
export const NamedWithJobs: WithAfterJobs<typeof Named> = withAfterJobs(Named, { jobs })

export class Leaf extends NamedWithJobs {
  name() {
    return this.prefix
  }
  afterSaveJob() {}
  save() {
    return this.executeJob('after', 'save', this.name())
  }
}

export class Twice extends withAfterJobs(ProjectService) {
  afterPublishJob() {}
  publish() {
    return [this.executeJob('after', 'publish', 1), this.executeJob('after', 'create', 1)]
  }
}

export function describe(status: JobStatus): string {
  switch (status.status) {
    case 'pending':
    case 'running':
      return `${status.progress} % ${status.label ?? ''} ${status.attempt}/${status.attempts}`
    case 'done':
      return JSON.stringify(status.result)
    case 'error':
      return `${status.code}: ${status.message}`
    case 'unknown':
      return 'unknown'
    default:
      return status satisfies never
  }
}

export const handlers = [createJobHandler(jobs), createNodeHandler(jobs, { basePath: '/api/jobs' })]
export const watch: JobWatch = watchJob('/jobs/status/1', { interval: 500, onProgress: (status) => status.progress })
export const kit = { jobs: createTestJobs(), progress: createTestProgress() }

export const shared: AfterJobs = createAfterJobs({
  queue: redisQueue({ url: 'redis://localhost', lockDuration: 10_000 }),
  cache: redisCache('redis://localhost'),
})
export const local: AfterJobs = createAfterJobs({ queue: memoryQueue({ concurrency: 2 }), cache: memoryCache() })
export const kept = createAfterJobs({ cache: keyvCache({ get: async () => undefined, set: async () => true }) })

// A plain object, whose hooks are checked like those of a class.
export const cities = attachAfterJobs({ afterCreateJob(_id: number) {} }, { jobs: defaultAfterJobs(), name: 'city' })

export async function follow(id: number): Promise<string> {
  const token = await cities.executeJob('after', 'create', id)
  // @ts-expect-error no such hook
  await cities.executeJob('after', 'delete', id)
  const headers: Record<string, string> = jobHeaders(token)
  try {
    const { startedAt, finishedAt } = await watchJob(headers['Operation-Location'] ?? '').done
    return formatElapsed(Number(finishedAt) - Number(startedAt))
  } catch (error) {
    if (error instanceof JobFailedError) return error.status.status
    if (AfterJobsError.is(error) && error.code === 'QUEUE_FULL') return error.code
    throw error
  }
}

export const suites = [cacheConformance, queueConformance]

type Notice = { by: 'mail' | 'sms'; to: [name: string, copies: 1 | 2][] } | { by: 'none'; why?: 'muted' }

export class Notices extends withAfterJobs() {
  afterSendJob(_id: number, _token: string, _progress: ProgressReporter, job: JobContext<Notice>): void {
    console.log(job.payload.by)
  }
}
const notices = new Notices()
void notices.executeJob(
  'after',
  'send',
  { id: 1, name: 'written in place' },
  { payload: { by: 'sms', to: [['ada', 2]] } },
)
void notices.executeJob('after', 'send', 1, { payload: { by: 'mail', to: [] } })
void notices.executeJobs('after', 'send', [1], { payload: { by: 'none', why: 'muted' } })
// @ts-expect-error nobody sends by pigeon
void notices.executeJob('after', 'send', 1, { payload: { by: 'pigeon', to: [] } })

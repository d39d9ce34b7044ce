// What a service may write, and what must be an error where it is written.
import {
  type AfterJobs,
  type AfterJobsMethods,
  attachAfterJobs,
  type ExecuteOptions,
  type FailureHook,
  type Hook,
  type JobContext,
  type JobSubject,
  type JsonValue,
  type ProgressReporter,
  withAfterJobs,
} from 'after-jobs'
import { expectTypeOf } from 'vitest'

declare const jobs: AfterJobs

interface Project {
  id: number
  tasks: string[]
}

class Crud<T extends { id: number }> {
  static table = 'rows'
  static make(this: void): number {
    return 1
  }
  #secret = 1
  protected readonly cache: Map<number, T> = new Map()
  constructor(
    readonly database: string,
    readonly options?: { readonly: boolean },
  ) {}
  async find(id: number): Promise<T | undefined> {
    return this.#secret > 0 ? this.cache.get(id) : undefined
  }
  async create(data: T): Promise<T> {
    return data
  }
}

interface Why {
  why: string
}

class ProjectService extends withAfterJobs(Crud, { jobs, auto: ['create'] })<Project> {
  static readonly jobName = 'project'

  async afterCreateJob(id: number, token: string, progress: ProgressReporter) {
    const project = await this.find(id)
    for await (const task of progress.each(project?.tasks ?? [])) expectTypeOf(task).toEqualTypeOf<string>()
    expectTypeOf(token).toEqualTypeOf<string>()
    return 'done'
  }

  async afterDeleteJob(
    _id: number,
    _token: string,
    _progress: ProgressReporter,
    job: JobContext<{ chapterIds: number[] }>,
  ) {
    expectTypeOf(job.payload).toEqualTypeOf<{ chapterIds: number[] }>()
    expectTypeOf(job.context).toEqualTypeOf<JsonValue | undefined>()
    expectTypeOf(job.parent).toEqualTypeOf<string | null>()
    expectTypeOf(job.signal).toEqualTypeOf<AbortSignal>()
    expectTypeOf(job.attempt).toEqualTypeOf<number>()
    return { result: { chapters: job.payload.chapterIds.length } }
  }

  async afterUpdateJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<Why | undefined>) {}

  async afterImportJob(_id: number, _token: string, _progress: ProgressReporter, job: JobContext) {
    expectTypeOf(job.payload).toBeUnknown()
  }

  async afterArchiveJob() {
    if (this.database) return 'done'
    return
  }

  beforeDeleteJob(_id: number): 'error' | undefined {
    return undefined
  }

  async afterCreateJobFailed(_id: number, _token: string, error: Error, job: JobContext) {
    expectTypeOf(error.message).toEqualTypeOf<string>()
    expectTypeOf(job.id).toEqualTypeOf<string | number>()
  }

  async inside(id: number) {
    await this.executeJob('after', 'create', id)
    await this.executeJob('after', 'delete', id, { payload: { chapterIds: [1] } })
    await this.executeJobs('after', 'delete', [id], { payload: { chapterIds: [1] } })
    // @ts-expect-error the payload is missing
    await this.executeJob('after', 'delete', id)
    // @ts-expect-error no such hook
    await this.executeJob('after', 'crate', id)
    // What is protected stays reachable here, and only here.
    expectTypeOf(this.cache).toEqualTypeOf<Map<number, Project>>()
  }
}

// What the mixin keeps of a class.

const service = new ProjectService('database', { readonly: true })
expectTypeOf(service.database).toEqualTypeOf<string>()
expectTypeOf(service.find).returns.resolves.toEqualTypeOf<Project | undefined>()
expectTypeOf(service.create).returns.resolves.toEqualTypeOf<Project>()
expectTypeOf(ProjectService.table).toEqualTypeOf<string>()
expectTypeOf(ProjectService.make).returns.toEqualTypeOf<number>()
expectTypeOf(service).toExtend<Crud<Project>>()
// @ts-expect-error the constructor of the base wants a string
new ProjectService(1)
// @ts-expect-error and wants it
new ProjectService()
// @ts-expect-error protected
service.cache
// @ts-expect-error a type argument that breaks the base's constraint
export class Broken extends withAfterJobs(Crud, { jobs })<string> {}

abstract class Named {
  constructor(protected readonly prefix: string) {}
  abstract name(): string
}
abstract class Middle extends withAfterJobs(Named) {}
class Leaf extends Middle {
  name() {
    return this.prefix
  }
  afterSaveJob() {}
  save() {
    return this.executeJob('after', 'save', this.name())
  }
}
expectTypeOf(new Leaf('x').save()).resolves.toEqualTypeOf<string | undefined>()
// @ts-expect-error an abstract class stays abstract
new Middle('x')
// @ts-expect-error an abstract method stays to be written
export class Nameless extends withAfterJobs(Named) {}
// @ts-expect-error the constructor of the base wants a string
new Leaf(1)

class Twice extends withAfterJobs(ProjectService) {
  afterPublishJob() {}
  publish() {
    return [this.executeJob('after', 'publish', 1), this.executeJob('after', 'create', 1)]
  }
}
expectTypeOf(new Twice('database').publish()).toEqualTypeOf<Promise<string | undefined>[]>()

// A base that does not know the hooks of its subclasses.
class GenericCrud<T> extends withAfterJobs() {
  rows: T[] = []
  async save(action: string, id: number) {
    return this.executeJob('after', action, id)
  }
}
expectTypeOf(new GenericCrud<Project>().rows).toEqualTypeOf<Project[]>()

// Actions.

declare const action: string
expectTypeOf(service.executeJob('after', 'create', { id: 1 })).resolves.toEqualTypeOf<string | undefined>()
declare const project: Project
service.executeJob('after', 'create', project)
service.executeJob('after', 'archive', 1)
service.executeJob('before', 'delete', 1)
service.executeJob('after', action, 1)
service.executeJob('after', action, 1, { payload: { anything: 1 }, delay: 5 })
service.executeJobs('after', action, [1])
// @ts-expect-error an action is a name
service.executeJob('after', 'bulk-create', 1)
// @ts-expect-error there is no hook before it
service.executeJob('before', 'create', 1)
// @ts-expect-error no hook at all
service.executeJob('after', 'publish', 1)
// @ts-expect-error a compensation is not a hook
service.executeJob('after', 'createJobFailed', 1)
// @ts-expect-error during is no moment
service.executeJob('during', 'create', 1)
// @ts-expect-error no such hook for many, either
service.executeJobs('after', 'crate', [1])

class Optional extends withAfterJobs({ jobs }) {
  afterNameJob?: (id: string) => void
}
new Optional().executeJob('after', 'name', 'x')

// Subjects.

expectTypeOf<string | number | { readonly id: string | number }>().toExtend<JobSubject>()
expectTypeOf<{ id: string; name: string }>().toExtend<JobSubject>()
service.executeJob('after', 'create', { id: 1, name: 'an entity that is written in place' })
service.executeJob('after', 'create', 0)
service.executeJob('after', 'create', 'x')
expectTypeOf(service.executeJobs('after', 'create', [1, 'x', { id: 2 }])).resolves.toEqualTypeOf<string[]>()
// @ts-expect-error an id is a string or a number
service.executeJob('after', 'create', 1n)
// @ts-expect-error nor an entity with another id
service.executeJob('after', 'create', { id: new Date() })
// @ts-expect-error an entity has an id
service.executeJob('after', 'create', { name: 'x' })
// @ts-expect-error many are a list
service.executeJobs('after', 'create', 1)

// Payloads.

service.executeJob('after', 'delete', 1, { payload: { chapterIds: [] } })
service.executeJob('after', 'update', 1)
service.executeJob('after', 'update', 1, { delay: 5 })
service.executeJob('after', 'update', 1, { payload: { why: 'because' } })
service.executeJob('after', 'import', 1)
service.executeJob('after', 'import', 1, { payload: [1, 2] })
// @ts-expect-error the payload is missing
service.executeJob('after', 'delete', 1)
// @ts-expect-error the payload is missing
service.executeJob('after', 'delete', 1, { delay: 5 })
// @ts-expect-error the payload is missing
service.executeJobs('after', 'delete', [1])
// @ts-expect-error a payload of another type
service.executeJob('after', 'delete', 1, { payload: { chapterIds: ['one'] } })
// @ts-expect-error a payload of another type
service.executeJobs('after', 'delete', [1], { payload: { chapterIds: ['one'] } })
// @ts-expect-error a payload of another type
service.executeJob('after', 'update', 1, { payload: { why: 1 } })

// Options.

service.executeJob('after', 'create', 1, {
  delay: 1,
  priority: -1,
  attempts: 3,
  backoff: { type: 'exponential', delay: 1 },
  timeout: 1,
  dedupe: 'key',
})
// @ts-expect-error a misspelt option
service.executeJob('after', 'create', 1, { atempts: 3 })
// @ts-expect-error milliseconds are a number
service.executeJob('after', 'create', 1, { delay: '5s' })
// @ts-expect-error there are two ways to wait
service.executeJob('after', 'create', 1, { backoff: { type: 'linear', delay: 1 } })
// @ts-expect-error a wait has a length
service.executeJob('after', 'create', 1, { backoff: { type: 'fixed' } })
expectTypeOf<ExecuteOptions<number>['payload']>().toEqualTypeOf<number | undefined>()

// Tokens.

expectTypeOf(service.getJobToken()).toEqualTypeOf<string | undefined>()
expectTypeOf(service.getJobToken({ id: 1 })).toEqualTypeOf<string | undefined>()

// The signature of a hook is checked where it is declared.

export class Wrong extends withAfterJobs() {
  // @ts-expect-error the second parameter is the token, a string
  async afterCreateJob(_id: number, _token: number) {}
  // @ts-expect-error a hook returns no number
  async afterUpdateJob(_id: number) {
    return 5
  }
  // @ts-expect-error nor an object without a result
  async afterImportJob(_id: number) {
    return { rows: 5 }
  }
  // @ts-expect-error an id is a string or a number
  async beforeDeleteJob(_id: Date) {}
  // @ts-expect-error the third parameter is the reporter
  async beforeCreateJob(_id: number, _token: string, _progress: string) {}
  // @ts-expect-error a hook is a method
  afterListJob = 'soon'
  // @ts-expect-error the third parameter of a compensation is the error
  async afterCreateJobFailed(_id: number, _token: string, _progress: ProgressReporter) {}
}

export class Right extends withAfterJobs() {
  afterAJob() {}
  async afterBJob() {
    return 'done'
  }
  afterCJob(id: string) {
    return id === '' ? 'error' : undefined
  }
  async afterDJob(): Promise<{ result: number[] }> {
    return { result: [1] }
  }
  afterEJob() {
    return null
  }
  afterFJob(_id: string | number) {}
  readonly afterGJob = async (_id: number) => {}
  afterAJobFailed() {}
  afterBJobFailed(_id: number, _token: string, _error: Error) {}
  // Names that only look alike are nobody's business.
  afterwards = 5
  after = 'x'
  afterCreate(): number {
    return 1
  }
  jobAfterCreate = 1
}

expectTypeOf<(id: number) => Promise<void>>().toExtend<Hook>()
expectTypeOf<(id: string, token: string, error: Error) => void>().toExtend<FailureHook>()

// Options of the mixin.

withAfterJobs(Crud, { auto: { create: (result: Project) => result.id } })
withAfterJobs(Crud, {
  auto: { create: (_result: Project, data: Project) => (data.tasks.length > 0 ? data.id : undefined) },
})
withAfterJobs({ onEnqueueError: 'throw', tokenScope: 'instance', auto: ['create'] })
// @ts-expect-error an id is a string or a number
withAfterJobs({ auto: { create: () => new Date() } })
// @ts-expect-error jobs is a runtime
withAfterJobs({ jobs: {} })
// @ts-expect-error a misspelt option
withAfterJobs({ job: jobs })
// @ts-expect-error one of two words
withAfterJobs({ onEnqueueError: 'ignore' })
// @ts-expect-error only a plain object needs a name
withAfterJobs({ name: 'rows' })

// Plain objects.

const attached = attachAfterJobs(
  {
    rows: [1],
    async create(id: number) {
      return { id }
    },
    afterCreateJob(_id: number) {},
    afterDeleteJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<Why>) {},
  },
  { jobs, name: 'rows', auto: ['create'] },
)
expectTypeOf(attached.rows).toEqualTypeOf<number[]>()
expectTypeOf(attached.create(1)).resolves.toEqualTypeOf<{ id: number }>()
expectTypeOf(attached).toExtend<AfterJobsMethods>()
attached.executeJob('after', 'create', 1)
attached.executeJob('after', 'delete', 1, { payload: { why: 'x' } })
// @ts-expect-error no such hook
attached.executeJob('after', 'crate', 1)
// @ts-expect-error the payload is missing
attached.executeJob('after', 'delete', 1)
// @ts-expect-error a service is an object
attachAfterJobs('service')

// Their hooks are checked as well.

// @ts-expect-error the second parameter is the token, a string
attachAfterJobs({ async afterCreateJob(_id: number, _token: number) {} }, { jobs })
// @ts-expect-error a hook returns no number
attachAfterJobs({ afterCreateJob: async (_id: number) => 5 }, { jobs, auto: ['create'] })
// @ts-expect-error a hook is a method
attachAfterJobs({ beforeCreateJob: 'soon' })
attachAfterJobs({
  afterCreateJob() {},
  // @ts-expect-error the third parameter of a compensation is the error
  afterCreateJobFailed(_id: number, _token: string, _progress: ProgressReporter) {},
})

const own = attachAfterJobs({
  rows: [1],
  afterwards: 5,
  afterCreateJob(id: number) {
    this.rows.push(id)
    return 'done'
  },
  // What a hook returns of `this` must be declared, or nobody knows yet what `this` is.
  async afterSaveJob(_id: string, _token: string, progress: ProgressReporter): Promise<{ result: number[] }> {
    for await (const row of progress.each(this.rows)) expectTypeOf(row).toEqualTypeOf<number>()
    return { result: this.rows }
  },
  // Parameters need no types.
  beforeSaveJob(id, token, progress, job) {
    expectTypeOf(id).toEqualTypeOf<string | number>()
    expectTypeOf(token).toEqualTypeOf<string>()
    expectTypeOf(progress).toEqualTypeOf<ProgressReporter>()
    expectTypeOf(job).toEqualTypeOf<JobContext<unknown, unknown>>()
  },
  find(index: number) {
    return this.rows[index]
  },
  afterCreateJobFailed(_id: number, _token: string, error: Error) {
    expectTypeOf(error).toEqualTypeOf<Error>()
  },
})
own.executeJob('after', 'save', 'x')
expectTypeOf(own.afterwards).toEqualTypeOf<number>()
expectTypeOf(own.find).returns.toEqualTypeOf<number | undefined>()
class Plain {
  readonly #rows: number[] = []
  afterCreateJob(id: number) {
    this.#rows.push(id)
  }
}
expectTypeOf(attachAfterJobs(new Plain())).toExtend<Plain>()
interface Maybe {
  afterCreateJob?: (id: number) => void
  afterSaveJob: Hook | undefined
}
declare const maybe: Maybe
attachAfterJobs(maybe).executeJob('after', 'create', 1)

// A context is typed as the application captures it, by a type or an interface.
interface Caller {
  user: string
}
class Called extends withAfterJobs() {
  async afterCreateJob(_id: number, _token: string, _progress: ProgressReporter, job: JobContext<undefined, Caller>) {
    expectTypeOf(job.context.user).toEqualTypeOf<string>()
  }
  async afterCreateJobFailed(_id: number, _token: string, _error: Error, job: JobContext<undefined, Caller>) {
    expectTypeOf(job.context.user).toEqualTypeOf<string>()
  }
}
void (() => new Called().executeJob('after', 'create', 1))

// Payloads that are written in place, where a literal, a tuple and a member of a union would else widen.

type Order = { kind: 'new'; lines: [sku: string, count: number][] } | { kind: 'gone'; reason?: 'sold' | 'lost' }

class Precise extends withAfterJobs({ jobs }) {
  afterSendJob(
    _id: number,
    _token: string,
    _progress: ProgressReporter,
    job: JobContext<{ by: 'mail' | 'sms'; n?: 1 | 2 }>,
  ) {
    expectTypeOf(job.payload.by).toEqualTypeOf<'mail' | 'sms'>()
  }
  afterOrderJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<Order>) {}
  afterPairJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<[number, 'a' | 'b']>) {}
  afterMaybeJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<'a' | 'b' | undefined>) {}
  async remind(id: number) {
    await this.executeJob('after', 'send', id, { payload: { by: 'sms', n: 2 } })
  }
}
const precise = new Precise()
precise.executeJob('after', 'send', 1, { payload: { by: 'mail' } })
precise.executeJobs('after', 'send', [1], { payload: { by: 'mail', n: 1 } })
precise.executeJob('after', 'order', 1, { payload: { kind: 'new', lines: [['a', 1]] } })
precise.executeJob('after', 'order', 1, { payload: { kind: 'new', lines: [] } })
precise.executeJob('after', 'order', 1, { payload: { kind: 'gone', reason: 'lost' } })
precise.executeJob('after', 'pair', 1, { payload: [1, 'b'] })
precise.executeJob('after', 'maybe', 1)
precise.executeJob('after', 'maybe', 1, { payload: 'a' })
const order: Order = { kind: 'gone' }
precise.executeJob('after', 'order', 1, { payload: order })
// @ts-expect-error no member of the union
precise.executeJob('after', 'send', 1, { payload: { by: 'pigeon' } })
// @ts-expect-error a reason belongs to the other kind
precise.executeJob('after', 'order', 1, { payload: { kind: 'new', reason: 'lost' } })
// @ts-expect-error the payload is missing
precise.executeJob('after', 'pair', 1)
// @ts-expect-error no such letter
precise.executeJob('after', 'maybe', 1, { payload: 'c' })

// Payloads of types that have no end, or of unions with a member that is no object, in variables.

class Loose extends withAfterJobs({ jobs }) {
  afterJsonJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<JsonValue>) {}
  afterDeepJob(_id: number, _token: string, _progress: ProgressReporter, _job: JobContext<{ v: JsonValue }>) {}
  afterMixJob(
    _id: number,
    _token: string,
    _progress: ProgressReporter,
    _job: JobContext<string | { a: number } | string[]>,
  ) {}
}
const loose = new Loose()
declare const json: JsonValue
declare const deep: { v: JsonValue }
declare const mix: string | { a: number } | string[]
declare const coin: boolean
loose.executeJob('after', 'json', 1, { payload: json })
loose.executeJobs('after', 'json', [1], { payload: json })
loose.executeJob('after', 'json', 1, { payload: { a: [1, null, { b: 'c' }] } })
loose.executeJob('after', 'deep', 1, { payload: deep })
loose.executeJob('after', 'deep', 1, { payload: { v: [json] } })
loose.executeJob('after', 'mix', 1, { payload: mix })
loose.executeJob('after', 'mix', 1, { payload: coin ? 'x' : { a: 1 } })
loose.executeJob('after', 'mix', 1, { payload: coin ? 'x' : ['y'] })
loose.executeJob('after', action, 1, { payload: json })
// @ts-expect-error a date is no JSON
loose.executeJob('after', 'json', 1, { payload: new Date() })

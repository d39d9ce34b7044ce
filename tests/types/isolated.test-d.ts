// What a library writes that annotates every export, as isolatedDeclarations wants it: this file compiles under it, too.
import {
  type AfterJobs,
  type Auto,
  type ImmediateCache,
  type ImmediateQueue,
  type JobCache,
  type JobHeadersOptions,
  type JobQueue,
  jobHeaders,
  type MemoryQueue,
  memoryQueue,
  type OnEnqueueError,
  type QueueListener,
  type WithAfterJobs,
  withAfterJobs,
} from 'after-jobs'
import type {
  ErrorStatus,
  Fetch,
  JobErrorCode,
  JobStatus,
  PendingStatus,
  RunningStatus,
  watchJob,
} from 'after-jobs/client'
import { type CacheConformanceOptions, cacheConformance } from 'after-jobs/testing'
import { expectTypeOf } from 'vitest'

declare const jobs: AfterJobs

export class Crud<T extends { id: number }> {
  static table: string = 'rows'
  constructor(readonly database: string) {}
  async create(data: T): Promise<T> {
    return data
  }
}

export abstract class Named {
  constructor(protected readonly prefix: string) {}
  abstract name(): string
}

interface Project {
  id: number
  tasks: string[]
}

export const CrudWithJobs: WithAfterJobs<typeof Crud> = withAfterJobs(Crud, { jobs, auto: ['create'] })
export const NamedWithJobs: WithAfterJobs<typeof Named> = withAfterJobs(Named, { jobs })
export const BareWithJobs: WithAfterJobs<new () => object> = withAfterJobs({ jobs })

export class Projects extends CrudWithJobs<Project> {
  static readonly jobName: string = 'project'
  afterSaveJob(): void {}
  save(id: number): Promise<string | undefined> {
    return this.executeJob('after', 'save', id)
  }
}
expectTypeOf(new Projects('database').database).toEqualTypeOf<string>()
expectTypeOf(new Projects('database').create).returns.resolves.toEqualTypeOf<Project>()
expectTypeOf(Projects.table).toEqualTypeOf<string>()
// @ts-expect-error no such hook
new Projects('database').executeJob('after', 'crate', 1)
// @ts-expect-error the constructor of the base wants a string
new Projects()

export class Leaf extends NamedWithJobs {
  name(): string {
    return this.prefix
  }
  afterSaveJob(): void {}
}
expectTypeOf(new Leaf('x').executeJob('after', 'save', 1)).resolves.toEqualTypeOf<string | undefined>()
// @ts-expect-error an abstract class stays abstract
new NamedWithJobs('x')
export class Wrong extends BareWithJobs {
  // @ts-expect-error a hook returns no number
  afterSaveJob(): number {
    return 5
  }
}

// Whatever a public signature takes or gives can be named.
export const queue: MemoryQueue = memoryQueue()
export const auto: Auto = ['create']
export const onEnqueueError: OnEnqueueError = 'throw'
export const Automatic: WithAfterJobs<new () => object> = withAfterJobs({ auto, onEnqueueError })
expectTypeOf<Parameters<JobQueue['listen']>[0]>().toEqualTypeOf<QueueListener>()
expectTypeOf<JobQueue['immediate']>().toEqualTypeOf<ImmediateQueue | undefined>()
expectTypeOf<JobCache['immediate']>().toEqualTypeOf<ImmediateCache | undefined>()
expectTypeOf(jobHeaders).parameter(1).toEqualTypeOf<JobHeadersOptions | undefined>()
expectTypeOf(cacheConformance).parameter(2).toEqualTypeOf<CacheConformanceOptions | undefined>()
expectTypeOf<NonNullable<Parameters<typeof watchJob>[1]>['fetch']>().toEqualTypeOf<Fetch | undefined>()
expectTypeOf<Extract<JobStatus, { status: 'pending' }>>().toEqualTypeOf<PendingStatus>()
expectTypeOf<Extract<JobStatus, { status: 'running' }>>().toEqualTypeOf<RunningStatus>()
expectTypeOf<ErrorStatus['code']>().toEqualTypeOf<JobErrorCode>()

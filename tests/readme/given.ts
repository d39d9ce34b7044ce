// What the README takes for granted where a block says so in a hidden comment: <!-- given: jobs, service -->
import { createAfterJobs, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { pgTable, serial, text } from 'drizzle-orm/pg-core'

export const jobs = createAfterJobs()

class CrudService {
  constructor(readonly database?: string) {}

  async create(tasks: string[]) {
    return { id: 1, tasks }
  }
}

export class ProjectService extends withAfterJobs(CrudService, { jobs, auto: ['create'] }) {
  static readonly jobName = 'project'

  async afterCreateJob(_id: number, _token: string, _progress: ProgressReporter) {}
}

export const service = new ProjectService()

export declare const message: { tasks: string[]; reply(text: string | undefined): void }
export declare const token: string
export declare const bar: { value: number; title: string }
export declare const database: string
export declare const app: import('express').Express
export declare const client: import('pg').Client
export declare const drizzle: import('drizzle-orm/node-postgres').NodePgDatabase
export const projects = pgTable('projects', { id: serial('id').primaryKey(), title: text('title').notNull() })

interface PrismaTransaction {
  readonly project: { create(query: { data: { title: string } }): Promise<{ id: number }> }
}
/** In the shape of a generated client. */
export declare const prisma: { $transaction<T>(run: (tx: PrismaTransaction) => Promise<T>): Promise<T> }

// Runs as a process of its own: `script.ts <scenario>` prints what the scenario answers, as JSON.
import asyncHooks from 'node:async_hooks'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { syncBuiltinESMExports } from 'node:module'
import { createServer, type Server } from 'node:net'
import { acceptConnection } from './serving'

const calls = watchAsyncLocalStorage()
// Only now, so that nothing of the library goes unseen.
const { AfterJobsError, createAfterJobs, memoryQueue, withAfterJobs } = await import('after-jobs')
const jobs = createAfterJobs({ queue: memoryQueue({ autoStart: false }) })
const queued: unknown[] = []
jobs.on('queued', ({ token }) => queued.push(token))

class ProjectService extends withAfterJobs({ jobs, auto: ['create'] }) {
  async create(id: number): Promise<number> {
    return id
  }

  async afterCreateJob(): Promise<void> {}

  /** Says which of the tokens it is told: the number of the job, none, or the code of a refusal. */
  tell(): number | string {
    try {
      const token = this.getJobToken()
      return token === undefined ? 'none' : queued.indexOf(token)
    } catch (error) {
      return AfterJobsError.is(error) ? error.code : String(error)
    }
  }
}

const SERVERS: Record<string, () => Server> = {
  net: () => createServer(),
  http: () => createHttpServer(),
  http2: () => createHttp2Server(),
}

const SCENARIOS: Record<string, (argument: string) => Promise<unknown>> = {
  async lastToken() {
    const [service, other] = [new ProjectService(), new ProjectService()]
    const told = [service.tell()]
    await service.create(7)
    await service.create(8)
    await other.create(9)
    told.push(service.tell(), other.tell())
    await service.executeJob('after', 'touch' as string, 7)
    return [...told, service.tell(), other.tell()]
  },

  async overlap() {
    const [service, other] = [new ProjectService(), new ProjectService()]
    await Promise.all([service.create(7), other.create(8)])
    const told = [service.tell(), other.tell()]
    await Promise.all([service.create(7), service.executeJob('after', 'create', 8)])
    await service.create(9)
    return [...told, service.tell(), other.tell()]
  },

  async connectionBefore(kind) {
    await acceptConnection(SERVERS[kind]?.())
    const service = new ProjectService()
    const told = [service.tell()]
    await service.create(7)
    return [...told, service.tell()]
  },

  async connectionAfter(kind) {
    const service = new ProjectService()
    await service.create(7)
    const told = [service.tell()]
    await acceptConnection(SERVERS[kind]?.())
    return [...told, service.tell()]
  },

  /** Is a client only, which is no reason to refuse. */
  async connecting(url) {
    const service = new ProjectService()
    await service.create(7)
    await (await fetch(url)).text()
    return [service.tell()]
  },

  /** Counts the calls to AsyncLocalStorage: while jobs are started and asked for, in a job, and in a scope. */
  async asyncLocalStorage() {
    const service = new ProjectService()
    await service.create(7)
    const entity = { id: 8 }
    await service.executeJob('after', 'create', entity)
    service.getJobToken(entity)
    const told = [{ ...calls }]
    await jobs.runNext()
    told.push({ ...calls })
    await jobs.scope(() => service.create(7))
    return [...told, { ...calls }]
  },
}

/** Counts what is done with every AsyncLocalStorage that is made from here on. */
function watchAsyncLocalStorage() {
  const calls = { made: 0, run: 0, enterWith: 0 }
  const { AsyncLocalStorage } = asyncHooks
  class Watched<T> {
    // Node 24 enters with each run, which shall not count: so this one stands before a storage, not below it.
    readonly #storage = new AsyncLocalStorage<T>()

    constructor() {
      calls.made++
    }

    getStore(): T | undefined {
      return this.#storage.getStore()
    }

    run<R>(store: T, callback: () => R): R {
      calls.run++
      return this.#storage.run(store, callback)
    }

    disable(): void {
      this.#storage.disable()
    }

    enterWith(store: T): void {
      calls.enterWith++
      this.#storage.enterWith(store)
    }
  }
  Object.defineProperty(asyncHooks, 'AsyncLocalStorage', { value: Watched })
  syncBuiltinESMExports()
  return calls
}

const [scenario = '', argument = ''] = process.argv.slice(2)
console.log(JSON.stringify(await SCENARIOS[scenario]?.(argument)))
process.exit()

// Behind the server of Bun or Deno itself: the fetch handler, the client on it, and whose token a caller is given there.
import { AfterJobsError, createAfterJobs, withAfterJobs } from 'after-jobs'
import { type JobStatus, watchJob } from 'after-jobs/client'
import { createJobHandler } from 'after-jobs/http'

type Answer = (request: Request) => Response | Promise<Response>

interface Address {
  readonly hostname: string
  readonly port: number
}

declare const Bun: undefined | { serve(options: Address & { fetch: Answer }): { port: number } }
declare const Deno: undefined | { serve(options: Address & { onListen(): void }, answer: Answer): { addr: Address } }

const jobs = createAfterJobs()

let endSilence = () => {}
const silence = new Promise<void>((resolve) => {
  endSilence = resolve
})

class CityService extends withAfterJobs({ jobs }) {
  async create(id: number) {
    await this.executeJob('after', 'create', id)
    return { id }
  }
  async afterCreateJob(id: number) {
    return { result: { id } }
  }
  async afterWaitJob() {
    await silence
  }
}

const service = new CityService()
const handler = createJobHandler(jobs)

async function answer(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url)
  if (pathname === '/guess') return new Response(guess())
  if (pathname !== '/cities') return handler(request)
  return jobs.scope(async () => {
    await service.create(Number(await request.text()))
    return new Response(service.getJobToken(), { status: 201 })
  })
}

/** Asks for a token outside of every scope, as a request that started no job. */
function guess(): string | undefined {
  try {
    return service.getJobToken()
  } catch (error) {
    return AfterJobsError.is(error) ? error.code : String(error)
  }
}

function serve(): number {
  const address = { hostname: '127.0.0.1', port: 0 }
  if (typeof Bun !== 'undefined') return Bun.serve({ ...address, fetch: answer }).port
  if (typeof Deno !== 'undefined') return Deno.serve({ ...address, onListen() {} }, answer).addr.port
  throw new Error('This runtime has no server of its own.')
}

const origin = `http://127.0.0.1:${serve()}`

/** Creates a city over HTTP and follows its job, with or without a stream of events. */
async function create(id: number): Promise<JobStatus> {
  const response = await fetch(`${origin}/cities`, { method: 'POST', body: String(id) })
  return watchJob(await response.text(), { basePath: `${origin}/jobs`, events: id % 2 === 0 }).done
}

/** Follows a job that says nothing, for longer than Bun lets a connection be silent, and answers what came last. */
async function listen(): Promise<string | undefined> {
  const token = await service.executeJob('after', 'wait', 1)
  const response = await fetch(`${origin}/jobs/events/${token}`)
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += new TextDecoder().decode(chunk)
    if (text.split('\n\n').filter((part) => part === ':').length === 2) endSilence()
  }
  return /.*"status":"(\w+)"/s.exec(text)?.[1]
}

await service.create(99)
const guessed = await (await fetch(`${origin}/guess`)).text()
const silent = listen()
const ended = await Promise.all(Array.from({ length: 20 }, (_, id) => create(id)))
const results = ended.map((status) => (status.status === 'done' ? status.result : status))
console.log(JSON.stringify({ guessed, results, silent: await silent }))
process.exit()

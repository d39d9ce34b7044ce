// Whole programs, run by close.test.ts in processes of their own: each says what it did, and must then exit by itself.
import { attachAfterJobs, createAfterJobs, type Hook, memoryQueue } from 'after-jobs'

type Life = () => Promise<unknown>

const say = (text: string) => void process.stdout.write(`${text}\n`)
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

function makeService(afterCreateJob: Hook, options: Parameters<typeof createAfterJobs>[0] = {}) {
  const jobs = createAfterJobs(options)
  return { jobs, service: attachAfterJobs({ afterCreateJob }, { jobs }) }
}

const LIVES: Record<string, Life> = {
  async 'jobs that end'() {
    const { service } = makeService(async (id, _token, progress) => {
      progress.set(50)
      await pause(30)
      say(`job ${id}`)
    })
    for (const id of [1, 2, 3]) await service.executeJob('after', 'create', id)
    say('started')
  },

  async 'a delayed job and a retried one'() {
    const { service } = makeService((id, _token, _progress, { attempt }) => {
      if (id === 'retried' && attempt === 1) throw new Error('again')
      say(`job ${id}`)
    })
    const backoff = { type: 'fixed', delay: 300 } as const
    await service.executeJob('after', 'create', 'retried', { attempts: 2, backoff })
    await service.executeJob('after', 'create', 'delayed', { delay: 500 })
    say('started')
  },

  async 'delayed jobs that nobody runs'() {
    const { service } = makeService(() => say('job'), { queue: memoryQueue({ autoStart: false }) })
    await service.executeJob('after', 'create', 1, { delay: 60_000 })
    await service.executeJob('after', 'create', 2)
    say('started')
  },

  async 'a delayed job whose worker has closed'() {
    const { jobs, service } = makeService(() => say('job'))
    const worker = jobs.work()
    await service.executeJob('after', 'create', 1, { delay: 60_000 })
    await worker.close()
    say('closed')
  },

  async 'a cancelled delay'() {
    const { jobs, service } = makeService(() => say('job'))
    const token = await service.executeJob('after', 'create', 1, { delay: 60_000 })
    say(`cancelled ${await jobs.cancel(token as string)}`)
  },

  async 'a closed runtime'() {
    const { jobs, service } = makeService(() => pause(20), { timeout: 60_000 })
    await service.executeJob('after', 'create', 1)
    const token = (await service.executeJob('after', 'create', 2, { delay: 60_000 })) as string
    await jobs.close()
    say((await jobs.status(token)).status)
    await pause(1)
    say(`timers ${process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length}`)
  },

  async 'a runtime closed on a deaf hook'() {
    const { jobs, service } = makeService(() => new Promise(() => {}), { timeout: 60_000 })
    const token = (await service.executeJob('after', 'create', 1)) as string
    for await (const { status } of jobs.watch(token)) if (status === 'running') break
    await jobs.close({ grace: 50 })
    say((await jobs.status(token)).status)
  },

  async 'a runtime that was never used'() {
    createAfterJobs().on('done', () => {})
    say('made')
  },

  async 'await using'() {
    await (async () => {
      await using jobs = createAfterJobs()
      const service = attachAfterJobs({ afterCreateJob: () => pause(20).then(() => say('job')) }, { jobs })
      const token = (await service.executeJob('after', 'create', 1)) as string
      for await (const { status } of jobs.watch(token)) if (status === 'running') break
    })()
    say('closed')
  },

  async 'a job that fails, with a hook that rejects later'() {
    const { service } = makeService(() => Promise.reject(new Error('fails')))
    await service.executeJob('after', 'create', 1)
    say('started')
  },
}

const [, , name = ''] = process.argv
const startedAt = performance.now()
process.on('exit', (code) => say(`exit ${code} after ${Math.round(performance.now() - startedAt)}`))
await LIVES[name]?.()

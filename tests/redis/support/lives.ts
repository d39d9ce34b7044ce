// Whole programs on a Redis, in processes of their own: each says what it did, and must then exit by itself.
import { type AfterJobsOptions, attachAfterJobs, createAfterJobs, type Hook } from 'after-jobs'
import { redisCache, redisQueue } from 'after-jobs/redis'

type Life = (url: string) => Promise<unknown>

const say = (text: string) => void process.stdout.write(`${text}\n`)
const prefix = `life-${process.pid}`

function makeService(url: string, afterCreateJob: Hook = () => {}, options: AfterJobsOptions = {}) {
  const queue = redisQueue({ url, prefix: `${prefix}-queue` })
  const jobs = createAfterJobs({ queue, cache: redisCache({ url, prefix }), ...options })
  const service = attachAfterJobs({ afterCreateJob }, { jobs, name: 'life' })
  jobs.register('life', () => service)
  return { jobs, start: () => service.executeJob('after', 'create', 1) as Promise<string> }
}

const LIVES: Record<string, Life> = {
  async 'one that runs a job'(url) {
    const { jobs, start } = makeService(url)
    jobs.work()
    say((await jobs.settled(await start())).status)
    await jobs.close()
  },

  async 'one that runs a job by hand'(url) {
    const { jobs, start } = makeService(url)
    const token = await start()
    await jobs.runNext()
    say((await jobs.status(token)).status)
    await jobs.close()
  },

  async 'one that only starts a job'(url) {
    const { jobs, start } = makeService(url)
    say((await jobs.status(await start())).status)
    await jobs.close()
  },

  async 'one that closes on a deaf hook'(url) {
    const { jobs, start } = makeService(url, () => new Promise(() => {}))
    jobs.work()
    const token = await start()
    for await (const { status } of jobs.watch(token)) if (status === 'running') break
    await jobs.close({ grace: 50 })
    say('closed')
  },

  async 'one that was never used'(url) {
    makeService(url)
    say('made')
  },

  async 'one that is not let in'(url) {
    const { jobs, start } = makeService(url, () => {}, { enqueueTimeout: 500 })
    jobs.work()
    const refusal = await start().catch(({ code }) => code)
    await jobs.close({ grace: 50 })
    say(refusal)
  },

  async 'one that ends with its first error'(url) {
    const { start } = makeService(url)
    await start().catch(({ code, message }) => say(`${code}: ${message}`))
    process.exit()
  },
}

const [, , name = '', url = ''] = process.argv
const watchdog = setTimeout(() => say(`still open: ${process.getActiveResourcesInfo()}`), 15_000)
watchdog.unref()
await LIVES[name]?.(url)

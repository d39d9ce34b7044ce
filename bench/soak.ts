/**
 * Does anything leak? Jobs come at a steady pace for five minutes, in memory and on Redis, each side in a process of its own:
 * they tick, some fail, are tried again, delayed, deduped or cancelled; watchers and streams over HTTP come and go, and many go
 * before the end. After the warm-up, which is longer than any status lives, heap and handles are looked at every few seconds:
 * they must be in the end where they were in the beginning.
 *
 *     npm run soak [-- --quick]
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setInterval as ticking } from 'node:timers/promises'
import { type AfterJobs, createAfterJobs, JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { watchJob } from 'after-jobs/client'
import { createNodeHandler } from 'after-jobs/http'
import { redisCache, redisQueue } from 'after-jobs/redis'
import { RedisServer } from '../tests/redis/support/redis-server'
import { checkBuild, IS_QUICK, measureVariant, printTable, quantile, runBenchmark, type Variants } from './rounds'

const SECOND = 1_000
const TTL = (IS_QUICK ? 1 : 10) * SECOND
const WARM_UP = (IS_QUICK ? 4 : 60) * SECOND
const DURATION = (IS_QUICK ? 6 : 300) * SECOND
const SAMPLE_INTERVAL = (IS_QUICK ? 1 : 5) * SECOND
const MEGABYTE = 1024 * 1024
/** Jobs for each turn of the clock, and milliseconds between two of them. */
const TURN = 20
const PER_TURN = { memory: 10, Redis: 2 }

interface Sample {
  heap: number
  handles: number
}

interface Figures {
  jobs: number
  watchers: number
  samples: Sample[]
}

interface World {
  readonly jobs: AfterJobs
  /** Closes what the runtime does not. */
  close(): Promise<void>
}

const VARIANTS: Variants<Figures> = {
  memory: () => soak('memory', async () => ({ jobs: createAfterJobs({ ttl: TTL }), close: async () => {} })),
  Redis: () => soak('Redis', openRedis),
}

async function openRedis(): Promise<World> {
  const server = await new RedisServer().start()
  const { url } = server
  const jobs = createAfterJobs({ queue: redisQueue(url), cache: redisCache(url), ttl: TTL })
  return { jobs, close: () => server.close() }
}

/** Starts jobs of every kind, and watches some of them. */
class Load {
  jobs = 0
  watchers = 0
  readonly #runtime: AfterJobs
  readonly #service
  readonly #origin: string

  constructor(runtime: AfterJobs, origin: string) {
    this.#runtime = runtime
    this.#origin = origin
    class Service extends withAfterJobs({ jobs: runtime }) {
      static readonly jobName = 'soak'
      async afterRunJob(id: number, _token: string, progress: ProgressReporter) {
        progress.label(`job ${id}`)
        for await (const _ of progress.each([1, 2, 3])) progress.split(1).tick()
        if (id % 10 === 1) throw new JobError('The tenth one fails')
        if (id % 10 === 2) throw new Error('The tenth one is tried again')
      }
      afterRunJobFailed(): void {}
    }
    runtime.register(Service, () => new Service())
    this.#service = new Service()
  }

  async startOne(): Promise<void> {
    const id = this.jobs++
    const kinds = { 2: { attempts: 2 }, 3: { delay: 200 }, 4: { dedupe: 'four' }, 5: { timeout: 5_000 } } as const
    const options = kinds[(id % 10) as keyof typeof kinds] ?? {}
    const call = () => this.#service.executeJob('after', 'run', id, options)
    const token = (await (id % 2 === 0 ? this.#runtime.scope(call) : call())) ?? ''
    if (id % 10 === 6) await this.#runtime.cancel(token)
    if (id % 10 === 3) this.#watch(token)
  }

  /** One in three goes before the end. */
  #watch(token: string): void {
    const kind = this.watchers++ % 6
    const signal = kind < 2 ? AbortSignal.timeout(50) : AbortSignal.timeout(30_000)
    const ended =
      kind % 2 === 0
        ? this.#runtime.settled(token, { signal })
        : watchJob(`${this.#origin}/jobs/status/${token}`, { signal }).done
    ended.catch(() => {})
    if (kind === 5)
      void fetch(`${this.#origin}/jobs/events/${token}`, { signal })
        .then((response) => response.text())
        .catch(() => {})
  }
}

async function soak(name: keyof typeof PER_TURN, open: () => Promise<World>): Promise<Figures> {
  checkBuild()
  const { jobs, close } = await open()
  const server = createServer(createNodeHandler(jobs, { authorize: () => true }))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const load = new Load(jobs, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  jobs.work({ concurrency: 10 })
  const samples: Sample[] = []
  const begin = performance.now()
  let nextSample = begin + WARM_UP
  for await (const _ of ticking(TURN)) {
    const now = performance.now()
    if (now > begin + WARM_UP + DURATION) break
    await Promise.all(Array.from({ length: PER_TURN[name] }, () => load.startOne()))
    if (now < nextSample) continue
    nextSample += SAMPLE_INTERVAL
    samples.push(look())
  }
  await jobs.close()
  server.closeAllConnections()
  server.close()
  await close()
  return { jobs: load.jobs, watchers: load.watchers, samples }
}

function look(): Sample {
  if (globalThis.gc === undefined) throw new Error('Needs node --expose-gc.')
  globalThis.gc()
  return { heap: process.memoryUsage().heapUsed, handles: process.getActiveResourcesInfo().length }
}

function rowOf(name: string, { jobs, watchers, samples }: Figures): string[] {
  const third = Math.floor(samples.length / 3)
  const [first, last] = [samples.slice(0, third), samples.slice(-third)]
  const heap = (part: readonly Sample[]) =>
    quantile(
      part.map((sample) => sample.heap),
      0.5,
    ) / MEGABYTE
  const handles = (part: readonly Sample[]) =>
    quantile(
      part.map((sample) => sample.handles),
      0.5,
    )
  const figures = [heap(first), heap(last)].map((value) => value.toFixed(2))
  return [name, String(jobs), String(watchers), ...figures, String(handles(first)), String(handles(last))]
}

async function main(): Promise<void> {
  const rows: string[][] = []
  for (const name of Object.keys(VARIANTS)) {
    rows.push(rowOf(name, await measureVariant<Figures>(import.meta.filename, name, 0, ['--expose-gc'])))
  }
  console.log(
    `${DURATION / SECOND} s after ${WARM_UP / SECOND} s of warm-up; medians of the first and the last third\n`,
  )
  const headings = ['where', 'jobs', 'watchers', 'heap at first, MB', 'at last, MB', 'handles at first', 'at last']
  printTable(headings, rows)
}

await runBenchmark(VARIANTS, main)

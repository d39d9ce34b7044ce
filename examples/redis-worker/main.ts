// A web process starts a job, a worker process runs it and is killed half-way, and another worker finishes it.
// Run it after a build: npx tsx --tsconfig examples/tsconfig.json examples/redis-worker/main.ts
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { watchJob } from 'after-jobs/client'
import { createBar } from '../terminal'
import { openRedis } from './redis'

const PHOTOS = 50
/** When the worker dies. */
const FATAL_PERCENT = 40

async function main(): Promise<void> {
  const redis = await openRedis()
  const folder = await mkdtemp(join(tmpdir(), 'albums-'))
  const env = { ...process.env, REDIS_URL: redis.url, ALBUMS: folder }
  const start = (script: string, name: string): ChildProcess => {
    const child = fork(join(import.meta.dirname, script), [name], { env })
    console.log(`${name} is process ${child.pid}`)
    return child
  }
  const web = start('web.ts', 'The web server')
  const workers = new Map(['Anna', 'Ben'].map((name) => [name, start('worker.ts', name)]))
  try {
    await makeAlbum(await hear(web), workers)
  } finally {
    await Promise.all([web, ...workers.values()].map(end))
    await rm(folder, { recursive: true })
    await redis.close()
  }
}

/** Plays the client, which knows nothing of workers, and the misfortune, which knows one of them. */
async function makeAlbum(origin: string, workers: ReadonlyMap<string, ChildProcess>): Promise<void> {
  const starts = [...workers].map(async ([name, worker]) => {
    await hear(worker)
    return { name, worker }
  })
  const [location, { name, worker }] = await Promise.all([orderAlbum(origin), Promise.race(starts)])
  const showBar = createBar()
  const watch = watchJob(location, {
    interval: 500,
    onProgress(status) {
      showBar(status)
      if (status.progress < FATAL_PERCENT || worker.killed) return
      worker.kill('SIGKILL')
      console.log(`\n${name} is killed in the middle of the job.`)
    },
  })
  const { result } = (await watch.done) as { result: unknown }
  console.log(`${PHOTOS} thumbnails were made by`, result)
}

/** Answers where the job can be watched. */
async function orderAlbum(origin: string): Promise<URL> {
  const response = await fetch(`${origin}/albums`, { method: 'POST', body: JSON.stringify({ photos: PHOTOS }) })
  const location = response.headers.get('Operation-Location')
  console.log(`POST /albums → ${response.status}, the job is at ${location}`)
  if (!location) throw new Error('The server started no job.')
  return new URL(location, origin)
}

/** Resolves with the first word of a process; rejects when it ends without one. */
async function hear(child: ChildProcess): Promise<string> {
  const silence = once(child, 'exit').then(() => {
    throw new Error(`Process ${child.pid} has ended before its time.`)
  })
  const [word] = await Promise.race([once(child, 'message'), silence])
  return word
}

/** Lets a process close in an orderly way, and waits for it. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.disconnect()
  await once(child, 'exit')
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})

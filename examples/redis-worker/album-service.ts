import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { createAfterJobs, JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import { redisCache, redisQueue } from 'after-jobs/redis'

const { REDIS_URL: url = '', ALBUMS: folder = '' } = process.env

// These two lines are what an application changes when it goes from one process to many.
export const jobs = createAfterJobs({
  // A worker that has been silent for 2 s counts as dead, so that this example is short; the default is 30 s.
  queue: redisQueue({ url, name: 'albums', lockDuration: 2_000, stalledInterval: 1_000 }),
  cache: redisCache(url),
})

export interface Album {
  readonly id: string
  /** How many there are. */
  readonly photos: number
}

/** Stands for a database: all processes see the same folder. */
class AlbumStore {
  async create(photos: number): Promise<Album> {
    const album = { id: crypto.randomUUID(), photos }
    await mkdir(join(folder, album.id))
    await writeFile(join(folder, `${album.id}.json`), JSON.stringify(album))
    return album
  }

  async find(id: string): Promise<Album | undefined> {
    const text = await readFile(join(folder, `${id}.json`), 'utf8').catch(() => undefined)
    return text === undefined ? undefined : (JSON.parse(text) as Album)
  }
}

/** Makes a thumbnail of each photo of a new album. */
export class AlbumService extends withAfterJobs(AlbumStore, { jobs, auto: ['create'] }) {
  /** What a message in the queue calls this service, and a worker knows it by. */
  static readonly jobName = 'album'
  readonly #worker: string

  constructor(worker: string) {
    super()
    this.#worker = worker
  }

  async afterCreateJob(id: string, _token: string, progress: ProgressReporter) {
    const album = await this.find(id)
    if (!album) throw new JobError(`Album ${id} does not exist.`)
    // A job whose worker died runs again from the beginning, so it leaves out what it finds done.
    const made = new Set(await readdir(join(folder, id)))
    for await (const photo of progress.each(listPhotos(album))) {
      if (made.has(photo)) continue
      progress.label(`${this.#worker}: ${photo}`)
      await this.#makeThumbnail(id, photo)
    }
    return { result: await this.#countThumbnails(id) }
  }

  async #makeThumbnail(id: string, photo: string): Promise<void> {
    await pause(100)
    await writeFile(join(folder, id, photo), this.#worker)
  }

  /** Tells how many thumbnails each worker has made. */
  async #countThumbnails(id: string): Promise<Record<string, number>> {
    const counts: Record<string, number> = {}
    for (const photo of await readdir(join(folder, id))) {
      const worker = await readFile(join(folder, id, photo), 'utf8')
      counts[worker] = (counts[worker] ?? 0) + 1
    }
    return counts
  }
}

function listPhotos({ photos }: Album): string[] {
  return Array.from({ length: photos }, (_, index) => `photo-${index + 1}.jpg`)
}

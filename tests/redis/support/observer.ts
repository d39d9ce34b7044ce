import { setTimeout as pause } from 'node:timers/promises'
import { Redis } from 'ioredis'

/** The longest pause between two looks at all records, in milliseconds. */
const LOOK_INTERVAL = 500

interface Sight {
  readonly status: string
  readonly version: string
}

/**
 * Sees every write of a record, in the order in which Redis carried them out, through MONITOR; and, for what was written
 * while its connection was lost, looks at all records again and again. It reads the hashes themselves and shares no code
 * with those who write them.
 */
export class Observer {
  readonly faults: string[] = []
  writes = 0
  readonly #prefix: string
  readonly #versions = new Map<string, Set<string>>()
  /** Ends as MONITOR told of them, and as they were looked at: news of the one may be older than news of the other. */
  readonly #written = new Map<string, Sight>()
  readonly #lookedAt = new Map<string, Sight>()
  readonly #client: Redis
  readonly #monitor: Redis
  readonly #end = new AbortController()
  readonly #looking: Promise<void>

  constructor(url: string, prefix: string) {
    this.#prefix = `${prefix}.`
    // Redis is to go away: that is no news.
    const silent = () => {}
    this.#client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 100 }).on('error', silent)
    this.#monitor = new Redis(url, { monitor: true, retryStrategy: () => 20 }).on('error', silent)
    this.#monitor.on('monitor', (_time: string, [command, key, ...fields]: string[]) => {
      if (/^hset$/i.test(command ?? '') && key?.startsWith(this.#prefix)) this.#onWrite(key, toSight(fields))
    })
    this.#looking = this.#lookAgainAndAgain()
  }

  async close(): Promise<void> {
    this.#end.abort()
    await this.#looking
    this.#client.disconnect()
    this.#monitor.disconnect()
  }

  #onWrite(key: string, sight: Sight): void {
    this.writes++
    const versions = this.#versions.get(key) ?? new Set()
    this.#versions.set(key, versions)
    if (versions.has(sight.version)) this.#blame(key, `version ${sight.version} was written twice`)
    versions.add(sight.version)
    this.#compare(key, this.#written.get(key), sight)
    if (isEnd(sight)) this.#written.set(key, sight)
  }

  #compare(key: string, end: Sight | undefined, { status, version }: Sight): void {
    if (end === undefined || (end.status === status && end.version === version)) return
    this.#blame(key, `${end.status} (${end.version}) became ${status} (${version})`)
  }

  #blame(key: string, what: string): void {
    this.faults.push(`${key}: ${what}`)
  }

  async #lookAgainAndAgain(): Promise<void> {
    while (!this.#end.signal.aborted) {
      await this.look().catch(() => {})
      await pause(LOOK_INTERVAL, undefined, { signal: this.#end.signal }).catch(() => {})
    }
  }

  /** Looks at every record there is, those that were never seen being written among them. */
  async look(): Promise<void> {
    for await (const keys of this.#client.scanStream({ match: `${this.#prefix}*`, count: 1_000 })) {
      await Promise.all((keys as string[]).map((key) => this.#lookAt(key)))
    }
  }

  async #lookAt(key: string): Promise<void> {
    const ends = [this.#written.get(key), this.#lookedAt.get(key)]
    const [status, version] = await this.#client.hmget(key, 'status', 'version')
    if (!status || !version) return
    for (const end of ends) this.#compare(key, end, { status, version })
    if (isEnd({ status, version })) this.#lookedAt.set(key, { status, version })
  }
}

function isEnd({ status }: Sight): boolean {
  return status === 'done' || status === 'error'
}

function toSight(fields: readonly string[]): Sight {
  const valueAfter = (name: string) => fields.find((_, index) => index % 2 === 1 && fields[index - 1] === name) ?? ''
  return { status: valueAfter('status'), version: valueAfter('version') }
}

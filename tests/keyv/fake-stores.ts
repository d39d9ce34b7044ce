import { EventEmitter } from 'node:events'

/** How a store fails: it throws, answers `false`, tells its listeners only, or never answers. */
export type Failure = 'throws' | 'answers false' | 'emits' | 'hangs'

/** A store beside the process, like Redis: every call takes a turn, values are text, and it can fail in every known way. */
export class RemoteStore extends EventEmitter {
  readonly values = new Map<string, { value: string; ttl: number | undefined }>()
  readonly calls: string[] = []
  opts = {}
  namespace: string | undefined
  failure: Failure | undefined
  /** Which keys fail, when not all do. */
  fails: (key: string) => boolean = () => true
  #thaw: (() => void)[] = []

  async get(key: string): Promise<string | undefined> {
    this.calls.push(`get ${key}`)
    if (await this.#isDown([key])) return undefined
    return this.values.get(key)?.value
  }

  async getMany(keys: string[]): Promise<(string | undefined)[]> {
    this.calls.push(`getMany ${keys.length}`)
    if (await this.#isDown(keys)) return keys.map(() => undefined)
    return keys.map((key) => this.values.get(key)?.value)
  }

  async set(key: string, value: string, ttl?: number): Promise<false | undefined> {
    this.calls.push(`set ${key}`)
    if (await this.#isDown([key])) return this.failure === 'answers false' ? false : undefined
    this.values.set(key, { value, ttl })
    return undefined
  }

  async setMany(entries: { key: string; value: string; ttl?: number }[]): Promise<boolean[] | undefined> {
    this.calls.push(`setMany ${entries.length}`)
    const isDown = await this.#isDown(entries.map(({ key }) => key))
    if (isDown) return this.failure === 'answers false' ? entries.map(() => false) : undefined
    for (const { key, value, ttl } of entries) this.values.set(key, { value, ttl })
    return undefined
  }

  async delete(key: string): Promise<boolean> {
    return this.values.delete(key)
  }

  async clear(): Promise<void> {
    this.values.clear()
  }

  /** Lets the calls that hang go on. */
  thaw(): void {
    this.failure = undefined
    for (const goOn of this.#thaw.splice(0)) goOn()
  }

  async #isDown(keys: string[]): Promise<boolean> {
    await Promise.resolve()
    if (this.failure === undefined || !keys.some(this.fails)) return false
    if (this.failure === 'hangs') await new Promise<void>((resolve) => this.#thaw.push(resolve))
    if (this.failure === 'throws') throw new Error('ECONNREFUSED')
    if (this.failure === 'emits') this.emit('error', new Error('ECONNREFUSED'))
    return this.failure !== undefined
  }
}

/** The same without the calls for many: Keyv then makes them out of single ones. */
export class PlainStore extends RemoteStore {
  override getMany = undefined as never
  override setMany = undefined as never
}

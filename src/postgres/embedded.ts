import { resolve } from 'node:path'
import type { Database, Listening } from './database-port'
import { type FolderLock, lockFolder } from './folder-lock'
import { loadPeer } from './peer'

/** What is used of a PGlite. */
export interface PGliteLike {
  readonly waitReady?: Promise<unknown>
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>
  exec(text: string): Promise<{ rows: unknown[] }[]>
  listen(channel: string, onNotice: (payload: string) => void): Promise<() => Promise<unknown>>
  close(): Promise<void>
}

/** A folder that a database of this process works in. */
interface OpenFolder {
  readonly lock: FolderLock
  readonly pglite: PGliteLike
}

interface SharedFolder {
  readonly opening: Promise<OpenFolder>
  users: number
}

/** The folders of this process: two databases in one folder destroy each other's rows. */
const shared = new Map<string, SharedFolder>()
/** Those that are being closed, which takes a moment. */
const closing = new Map<string, Promise<void>>()

/** Opens a database in this process: in a folder, or by a PGlite that is there already. */
export function openEmbedded(target: string | PGliteLike, who: string): Database {
  return new Embedded(target, who)
}

class Embedded implements Database {
  readonly #target: string | PGliteLike
  readonly #who: string
  #opened: Promise<PGliteLike> | undefined
  #shared: SharedFolder | undefined
  #isClosed = false

  constructor(target: string | PGliteLike, who: string) {
    // However it is spelt.
    this.#target = typeof target === 'string' ? resolve(target) : target
    this.#who = who
  }

  async ready(): Promise<void> {
    const pglite = await this.#open()
    await pglite.waitReady
  }

  async query<R>(text: string, values?: readonly unknown[]): Promise<{ rows: R[] }> {
    const pglite = await this.#open()
    if (values !== undefined) return (await pglite.query(text, [...values])) as { rows: R[] }
    try {
      const results = await pglite.exec(text)
      return { rows: results.flatMap(({ rows }) => rows as R[]) }
    } catch (error) {
      // There is one connection for all, and a transaction that has failed would fail what comes next.
      await pglite.exec('ROLLBACK').catch(() => {})
      throw error
    }
  }

  listen(channel: string, onNotice: (payload: string) => void, onTrouble: (error: Error) => void): Listening {
    const listening = this.#open().then((pglite) => pglite.listen(channel, onNotice))
    listening.then(() => onNotice(''), onTrouble)
    return {
      close: async () => {
        const stop = await listening.catch(() => undefined)
        await stop?.().catch(() => {})
      },
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#shared !== undefined) await leave(this.#target as string, this.#shared)
  }

  #open(): Promise<PGliteLike> {
    if (this.#isClosed) return Promise.reject(new Error('It is closed'))
    if (typeof this.#target !== 'string') return Promise.resolve(this.#target)
    this.#opened ??= this.#join(this.#target).catch((error) => {
      this.#opened = undefined
      throw error
    })
    return this.#opened
  }

  async #join(folder: string): Promise<PGliteLike> {
    await closing.get(folder)
    const known = shared.get(folder) ?? { opening: openFolder(folder, this.#who), users: 0 }
    shared.set(folder, known)
    known.opening.catch(() => shared.delete(folder))
    // Counted from now on, because all may have closed before it is open.
    known.users++
    const { pglite } = await known.opening
    if (this.#isClosed) {
      await leave(folder, known)
      throw new Error('It is closed')
    }
    this.#shared = known
    return pglite
  }
}

async function openFolder(folder: string, who: string): Promise<OpenFolder> {
  const { PGlite } = await loadPeer('@electric-sql/pglite', () => import('@electric-sql/pglite'))
  const lock = await lockFolder(folder, who)
  try {
    // Its default, but it is what a commit means here.
    const pglite = new PGlite(folder, { relaxedDurability: false })
    await pglite.waitReady
    return { lock, pglite }
  } catch (error) {
    lock.release()
    throw error
  }
}

async function leave(folder: string, known: SharedFolder): Promise<void> {
  if (--known.users > 0) return
  shared.delete(folder)
  const isClosed = known.opening.then(async ({ pglite, lock }) => {
    await pglite.close().catch(() => {})
    lock.release()
  })
  closing.set(folder, isClosed)
  await isClosed
  closing.delete(folder)
}

import { inspect } from 'node:util'
import { type JobCache, type JobRecord, type Logger, memoryCache } from 'after-jobs'

export interface CacheWrite {
  token: string
  record: JobRecord
  /** Epoch milliseconds. */
  at: number
}

/** A cache that remembers what was stored in it. */
export interface SpyCache extends JobCache {
  /** What was stored, in order; writes that were refused are not here. */
  readonly writes: CacheWrite[]
  readonly calls: { read: number; write: number; writeMany: number }
  /** The stored versions of one token's record, in order. */
  versions(token: string): JobRecord[]
}

export function spyCache(inner: JobCache = memoryCache()): SpyCache {
  const writes: CacheWrite[] = []
  const calls = { read: 0, write: 0, writeMany: 0 }
  const note = (token: string, record: JobRecord) => writes.push({ token, record, at: Date.now() })
  const { immediate } = inner
  return {
    isLocal: inner.isLocal,
    ...(immediate && { immediate: spyImmediate(immediate, calls, note) }),
    writes,
    calls,
    versions: (token) => writes.filter((write) => write.token === token).map(({ record }) => record),
    async read(token) {
      calls.read++
      return inner.read(token)
    },
    async write(token, record, ttl) {
      calls.write++
      const isStored = await inner.write(token, record, ttl)
      if (isStored) note(token, record)
      return isStored
    },
    async writeMany(entries) {
      calls.writeMany++
      const results = await inner.writeMany(entries)
      for (const [index, { token, record }] of entries.entries()) if (results[index]) note(token, record)
      return results
    },
    close: () => inner.close(),
  }
}

/** The same for the way without promises. */
function spyImmediate(
  inner: NonNullable<JobCache['immediate']>,
  calls: SpyCache['calls'],
  note: (token: string, record: JobRecord) => void,
): NonNullable<JobCache['immediate']> {
  return {
    read(token) {
      calls.read++
      return inner.read(token)
    },
    write(token, record, ttl) {
      calls.write++
      const isStored = inner.write(token, record, ttl)
      if (isStored) note(token, record)
      return isStored
    },
  }
}

/** A cache whose answers take a moment, like those of a store outside the process; it can still be read after the end. */
export function distantCache(inner: JobCache = memoryCache()): JobCache {
  return {
    isLocal: false,
    read: (token) => inner.read(token),
    write: (token, record, ttl) => inner.write(token, record, ttl),
    writeMany: (entries) => inner.writeMany(entries),
    close: () => inner.close(),
  }
}

type Fault = 'none' | 'rejects' | 'hangs'

/** A cache as processes share it, which can be away. */
export interface FaultyCache extends JobCache {
  fault: Fault
  writeFault: Fault
}

export function faultyCache(inner: JobCache = memoryCache()): FaultyCache {
  const cache: FaultyCache = {
    isLocal: false,
    fault: 'none',
    writeFault: 'none',
    read: (token) => suffer(cache.fault, () => inner.read(token)),
    write: (token, record, ttl) => suffer(worse(cache), () => inner.write(token, record, ttl)),
    writeMany: (entries) => suffer(worse(cache), () => inner.writeMany(entries)),
    close: () => inner.close(),
  }
  return cache
}

function worse({ fault, writeFault }: FaultyCache): Fault {
  return fault === 'none' ? writeFault : fault
}

function suffer<T>(fault: Fault, call: () => Promise<T>): Promise<T> {
  if (fault === 'rejects') return Promise.reject(new Error('connect ECONNREFUSED'))
  return fault === 'hangs' ? new Promise(() => {}) : call()
}

export interface LogLine {
  level: keyof Logger
  fields: Record<string, unknown>
  message: string
}

export interface SpyLogger extends Logger {
  readonly lines: LogLine[]
  /** Everything that a logger could print of the lines. */
  print(): string
}

export function spyLogger(): SpyLogger {
  const lines: LogLine[] = []
  const keep = (level: keyof Logger) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message })
  }
  return {
    lines,
    print: () => inspect(lines, { depth: 10, maxArrayLength: null, maxStringLength: null }),
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
  }
}

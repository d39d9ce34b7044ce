import type { JobStatus } from 'after-jobs'
import type { Ask, AskOptions, Reply } from './faces'

/** A stream that a test follows. */
export interface Live {
  /** What has come so far; of HTTP/1.1 with the head. */
  text(): string
  /** The statuses that have come so far. */
  statuses(): JobStatus[]
  /** Resolves when the server has ended the stream. */
  ended: Promise<Reply>
  leave(): void
}

/** Opens a stream. */
export function openLive(ask: Ask, token: string, headers: Record<string, string> = {}): Live {
  const leaving = new AbortController()
  let text = ''
  const onText: AskOptions['onText'] = (soFar) => {
    text = soFar
  }
  const ended = ask('GET', `/jobs/events/${token}`, { headers, onText, signal: leaving.signal })
  ended.catch(() => {})
  return { text: () => text, statuses: () => statusesIn(text), ended, leave: () => leaving.abort() }
}

/** Reads the statuses out of a stream, whose events each have one line of data. */
export function statusesIn(text: string): JobStatus[] {
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data = '']) => JSON.parse(data))
}

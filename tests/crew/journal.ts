import { appendFileSync, existsSync, readFileSync } from 'node:fs'

/** What happened to a job, in the words of the process that ran it. */
export interface Entry {
  readonly at: number
  readonly pid: number
  readonly token: string
  readonly id: string | number
  readonly attempt: number
  readonly event: 'started' | 'ended' | 'threw' | 'aborted' | 'compensated'
  /** What was thrown, or why it was aborted. */
  readonly reason?: string
}

/** A file in which all workers note what they do: it survives the worker that wrote into it, and Redis. */
export class Journal {
  readonly #file: string

  constructor(file: string) {
    this.#file = file
  }

  /** Returns when the system has it, so that a SIGKILL in the next moment takes nothing back. */
  note(entry: Omit<Entry, 'at' | 'pid'>): void {
    appendFileSync(this.#file, `${JSON.stringify({ at: Date.now(), pid: process.pid, ...entry })}\n`)
  }

  read(): Entry[] {
    if (!existsSync(this.#file)) return []
    const lines = readFileSync(this.#file, 'utf8').split('\n').slice(0, -1)
    return lines.map((line) => JSON.parse(line) as Entry)
  }

  /** What happened to one job, or one kind of it. */
  find(token: string, event?: Entry['event']): Entry[] {
    return this.read().filter((entry) => entry.token === token && (event === undefined || entry.event === event))
  }
}

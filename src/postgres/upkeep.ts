import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Delivery } from './delivery'
import { type Engine, RENEWALS } from './engine'
import type { Settings } from './settings'

/** What a consumer, and what it does beside taking jobs, work with. */
export interface ConsumerParts {
  readonly settings: Settings
  readonly engine: Engine
  /** Asks as the engine does, and has an answer also while the application holds every connection of its pool. */
  readonly ask: Engine['query']
  readonly onLost: (token: string) => void
  readonly onTrouble: (error: unknown) => void
}

interface RenewedRow {
  token: string
  delivery: number
  place: string
}

/** A worker looks for lost jobs so often in the time that it is given for one look. */
const CHECKS = 2
/** How often ended jobs are deleted, in milliseconds: each worker at times of its own. */
const SWEEP_INTERVAL = 60_000
const SHORTEST_BEAT = 1_000

/** What a worker does from time to time: renew its locks, take lost jobs back, say that it lives, and delete what is old. */
export class Upkeep {
  readonly #parts: ConsumerParts
  readonly #held: Iterable<Delivery>
  readonly #id = randomUUID()
  readonly #timers: NodeJS.Timeout[] = []

  constructor(parts: ConsumerParts, held: Iterable<Delivery>) {
    this.#parts = parts
    this.#held = held
  }

  /** Begins to renew the locks of the jobs that are held. */
  renew(): void {
    this.#every(this.#parts.settings.lockDuration / RENEWALS, () => this.#renew())
  }

  /** Begins with all of it, for a worker that runs so many jobs at once. */
  start(concurrency: number): void {
    const { lockDuration, stalledInterval } = this.#parts.settings
    const beat = Math.max(SHORTEST_BEAT, lockDuration / RENEWALS)
    const attend = () => this.#attend(concurrency, beat)
    this.renew()
    this.#every(stalledInterval / CHECKS, () => this.recover())
    this.#every(beat, attend)
    this.#every(SWEEP_INTERVAL * (0.5 + Math.random()), () => this.#sweepAll())
    for (const work of [attend, () => this.recover(), () => this.#sweepAll()]) void this.#attempt(work)
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers.length = 0
  }

  /** Says that the worker is no more. */
  async leave(): Promise<void> {
    this.stop()
    const { statements, query } = this.#parts.engine
    await this.#attempt(() => query(statements.leave, [this.#id]))
  }

  /** Takes jobs back whose worker has died. A process that has slept for longer than its locks must not rob itself. */
  async recover(): Promise<void> {
    await this.#renew()
    const { engine, onLost } = this.#parts
    const lost = await engine.query<{ token: string }>(engine.statements.recover)
    for (const { token } of lost) onLost(token)
  }

  /** Deletes some of the jobs that ended long ago, and answers how many. */
  async sweep(): Promise<number> {
    const { statements, query } = this.#parts.engine
    const [row] = await query<{ swept: number }>(statements.sweep)
    return row?.swept ?? 0
  }

  async #renew(): Promise<void> {
    const held = [...this.#held].filter(({ isLost }) => !isLost)
    if (held.length === 0) return
    const { engine, ask, settings } = this.#parts
    const rows = held.map(({ token, number }) => ({ token, delivery: number }))
    const renewed = await ask<RenewedRow>(engine.statements.renew, [JSON.stringify(rows), settings.lockDuration])
    const rowsOfToken = new Map(renewed.map((row) => [row.token, row]))
    for (const delivery of held) {
      const row = rowsOfToken.get(delivery.token)
      if (row?.delivery === delivery.number) delivery.place = row.place
      // One that was answered meanwhile is not lost.
      else if (delivery.chain !== undefined) delivery.lose()
    }
  }

  #attend(concurrency: number, beat: number): Promise<unknown> {
    const { engine, ask } = this.#parts
    const values = [this.#id, hostname(), process.pid, process.version, Math.ceil(beat / 1_000), concurrency]
    return ask(engine.statements.attend, values)
  }

  async #sweepAll(): Promise<void> {
    while (this.#timers.length > 0 && (await this.sweep()) > 0);
  }

  #every(ms: number, work: () => Promise<unknown>): void {
    this.#timers.push(setInterval(() => void this.#attempt(work), ms))
  }

  async #attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#parts.onTrouble(error)
    }
  }
}

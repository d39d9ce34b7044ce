import { sleep } from '../core/timer'
import type { JobAnswer } from '../ports/queue'
import type { Delivery } from './delivery'
import { toOutput } from './message'

/** What became of a delivery, as the database is told. */
export interface AnswerRow {
  token: string
  place: string
  delivery: number
  state: 'completed' | 'failed' | 'retry'
  /** Milliseconds until the job is due again; absent for one that has ended. */
  delay?: number
  output?: unknown
}

/** The pause before answers are sent again to a database that was away, in milliseconds. */
const RETRY_PAUSE = 500

interface Item {
  readonly delivery: Delivery
  readonly row: AnswerRow
  readonly resolve: () => void
}

/** Sends what became of deliveries, all of one turn at once, and as often as it takes. */
export class Outbox {
  readonly #send: (rows: readonly AnswerRow[]) => Promise<unknown>
  readonly #onTrouble: (error: unknown) => void
  #items: Item[] = []
  #isSending = false
  #isAbandoned = false

  constructor(send: (rows: readonly AnswerRow[]) => Promise<unknown>, onTrouble: (error: unknown) => void) {
    this.#send = send
    this.#onTrouble = onTrouble
  }

  /** Resolves when the answer was stored, or nobody waits for it any more. */
  answer(delivery: Delivery, answer: JobAnswer): Promise<void> {
    return new Promise((resolve) => {
      this.#items.push({ delivery, row: toAnswerRow(delivery, answer), resolve })
      if (this.#items.length === 1 && !this.#isSending) setImmediate(() => void this.#empty())
    })
  }

  /** Gives up what could not be sent: those jobs are delivered again. */
  abandon(): void {
    this.#isAbandoned = true
  }

  async #empty(): Promise<void> {
    if (this.#isSending) return
    this.#isSending = true
    while (this.#items.length > 0) {
      const items = this.#items
      this.#items = []
      if (await this.#trySend(items)) for (const { resolve } of items) resolve()
      else this.#items = [...items, ...this.#items]
    }
    this.#isSending = false
  }

  async #trySend(items: readonly Item[]): Promise<boolean> {
    const rows = items.flatMap(({ delivery, row }) => (delivery.isLost ? [] : { ...row, place: delivery.place }))
    if (this.#isAbandoned || rows.length === 0) return true
    try {
      await this.#send(rows)
      return true
    } catch (error) {
      this.#onTrouble(error)
      await sleep(RETRY_PAUSE)
      return false
    }
  }
}

function toAnswerRow({ token, place, number, attempt }: Delivery, answer: JobAnswer): AnswerRow {
  const row = { token, place, delivery: number }
  switch (answer.type) {
    case 'completed':
    case 'failed':
      return { ...row, state: answer.type, output: toOutput(answer.outcome) }
    case 'retry':
      return { ...row, state: 'retry', delay: Math.ceil(answer.delay), output: { attempt } }
    case 'handed back':
      return { ...row, state: 'retry', delay: Math.ceil(answer.delay) }
    default:
      return answer satisfies never
  }
}

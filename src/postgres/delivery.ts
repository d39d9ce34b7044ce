import type { Chain, Link } from '../core/chain'
import type { JobEnvelope } from '../core/job'
import { Lock } from '../core/lock'
import { CANCELLED, type JobOutcome } from '../core/status'
import type { JobDelivery } from '../ports/queue'
import { toEnvelope, toFailures } from './message'

/** A job as it comes out of the database. */
export interface TakenRow {
  token: string
  /** Where its row is: the shortest way to it, which no plan can miss. */
  place: string
  data: string | null
  delivery: number
  failures: string | null
  /** Whether it stands for a dedupe key. */
  stands: boolean
  cancelled: boolean
}

/** One job in the hands of this process. */
export class Delivery extends Lock implements JobDelivery, Link<Delivery> {
  readonly token: string
  readonly envelope: JobEnvelope
  readonly attempt: number
  readonly outcome: JobOutcome | undefined
  /** Which delivery of the job this is, so that no answer is taken for one to a later delivery. */
  readonly number: number
  /** Where its row is, unless somebody else has changed it. */
  place: string
  /** Where it stands while it is held. */
  chain: Chain<Delivery> | undefined
  before: Delivery | undefined
  after: Delivery | undefined
  readonly #stands: boolean
  readonly #free: (delivery: Delivery) => Promise<unknown>

  constructor(row: TakenRow, free: (delivery: Delivery) => Promise<unknown>) {
    super()
    this.token = row.token
    this.place = row.place
    this.envelope = toEnvelope(row.token, row.data)
    this.attempt = toFailures(row.failures) + 1
    this.outcome = row.cancelled ? CANCELLED : undefined
    this.number = row.delivery
    this.#stands = row.stands
    this.#free = free
  }

  /** The first start frees the dedupe key. */
  async onStart(): Promise<void> {
    // Where the database is away, the key is freed with the end of the job.
    if (this.#stands) await this.#free(this).catch(() => {})
  }
}

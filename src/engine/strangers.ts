import type { JobEnvelope } from '../core/job'
import { isToken, shortToken } from '../core/token'
import type { JobAnswer } from '../ports/queue'
import { type Aftermath, tags } from './aftermath'
import { fail } from './ending'
import type { Log } from './log'
import { Memo } from './memo'
import type { RecordStore } from './record-store'

/** How long a worker hands back the jobs of a service that it does not know: a rolling deploy is over by then. */
const MISSING_HOOK_LIMIT = 600_000
const MISSING_HOOK_DELAY = 5_000
/** So many jobs at once are known for how long they have been handed back. */
const STRANGERS = 1_000_000

/** What the answers for strangers work with. */
export interface StrangersParts {
  readonly store: RecordStore
  readonly aftermath: Aftermath
  readonly log: Log
}

/** Answers for messages that this process cannot run. */
export class Strangers {
  readonly #parts: StrangersParts
  readonly #seenSince = new Memo<string, number>(STRANGERS)

  constructor(parts: StrangersParts) {
    this.#parts = parts
  }

  /** Ends a message that no runtime wrote: forged, or broken on its way. */
  async refuse({ token }: JobEnvelope, flaw: string): Promise<JobAnswer> {
    const { log, store } = this.#parts
    const { outcome } = fail('missing_hook', `The queue held a message whose ${flaw} is not what after-jobs writes`)
    const isJob = isToken(token)
    if (isJob) await store.end(token, outcome)
    log.error?.(isJob ? { token: shortToken(token), flaw } : { flaw }, 'a malformed message was refused')
    return { type: 'failed', outcome }
  }

  /** Hands back a job whose service or hook is not registered here, because another process may know it. */
  async strand(envelope: JobEnvelope): Promise<JobAnswer> {
    const { log, store, aftermath } = this.#parts
    const { token, service, hook } = envelope
    const since = await this.#seenSince.get(token, 2 * MISSING_HOOK_LIMIT, async () => {
      log.error?.(tags(envelope), 'no such service or hook is registered here')
      return Date.now()
    })
    if (Date.now() - since < MISSING_HOOK_LIMIT) return { type: 'handed back', delay: MISSING_HOOK_DELAY }
    const { outcome, error } = fail('missing_hook', `No worker knows the hook ${hook} of the service ${service}`)
    const { isStored } = await store.end(token, outcome)
    if (isStored) aftermath.announce(envelope, 0, outcome, error)
    return { type: 'failed', outcome }
  }
}

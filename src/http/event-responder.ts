import type { AfterJobs } from '../core/runtime'
import { BUSY, type HttpAnswer, NO_CONTENT, UNAVAILABLE, UNKNOWN } from './answers'
import { type Channel, hubOf } from './events'
import type { HandlerSettings } from './options'
import { isAllowed, logError } from './responder'
import { EventStream, type StreamAnswer } from './stream'

/** Answers a well-formed token with a stream of its job's changes, or says why not. Never rejects. */
export type EventResponder<R> = (request: R, token: string) => Promise<HttpAnswer | StreamAnswer>

/** Reads the header `Last-Event-ID` off a face's request. */
export type ReadLastEventId<R> = (request: R) => string | undefined

/** Makes the door through which a request follows a job. What may be seen is decided once, when it comes in. */
export function createEventResponder<R>(
  jobs: AfterJobs,
  settings: HandlerSettings<R>,
  readLastEventId: ReadLastEventId<R>,
): EventResponder<R> {
  const hub = hubOf(jobs)
  return async (request, token) => {
    if (hub.isFull) return BUSY
    const { channel: opening, release } = hub.hold(token)
    try {
      const channel = await opening
      const refusal = await findRefusal(channel, request, token)
      if (channel !== undefined && refusal === undefined) return answerStream(channel, settings.exposeErrors, release)
      release()
      return refusal ?? UNKNOWN
    } catch (error) {
      release()
      logError(jobs, 'after-jobs: a job could not be read', error, token)
      return UNAVAILABLE
    }
  }

  async function findRefusal(channel: Channel | undefined, request: R, token: string): Promise<HttpAnswer | undefined> {
    if (channel === undefined) return UNKNOWN
    const { authorize } = settings
    const access = { token, context: channel.context, action: 'read' } as const
    if (authorize !== undefined && !(await isAllowed(jobs, authorize, request, access))) return UNKNOWN
    // It may have changed while `authorize` was thinking.
    const { newest } = channel
    if (newest.record.status === 'unknown') return UNKNOWN
    return newest.isLast && readLastEventId(request) === newest.id ? NO_CONTENT : undefined
  }
}

function answerStream(channel: Channel, exposeErrors: boolean, release: () => void): StreamAnswer {
  return {
    open(sink) {
      const stream = new EventStream(sink, exposeErrors, release)
      stream.follow(channel)
      return stream
    },
    discard: release,
  }
}

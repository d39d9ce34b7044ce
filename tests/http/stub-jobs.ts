import { type Mock, vi } from 'vitest'
import type { AfterJobs, JobStatusRecord, Logger } from '../../src/core/runtime'
import { type JobStatus, unknownStatus } from '../../src/core/status'

/** Well-formed tokens, one for each state that a job can be in. */
export const TOKENS = {
  pending: '11111111-1111-4111-8111-111111111111',
  running: '22222222-2222-4222-9222-222222222222',
  done: '33333333-3333-4333-a333-333333333333',
  failed: '44444444-4444-4444-b444-444444444444',
  unexpected: '55555555-5555-4555-8555-555555555555',
  unknown: '66666666-6666-4666-8666-666666666666',
} as const

/** What only servers may see; no answer may hold this word. */
export const CONTEXT = { tenant: 'context-that-stays-inside' }

/** In the order in which an answer has them. */
const UNFINISHED = {
  ...{ token: TOKENS.pending, status: 'pending', progress: 0, label: 'Größe 🚀', message: null, code: null },
  ...{ attempt: 1, attempts: 3, result: null, parent: null, hint: null },
  ...{ createdAt: 1, startedAt: null, updatedAt: 3, finishedAt: null },
} as const satisfies JobStatusRecord
const FAILED = { ...UNFINISHED, status: 'error', progress: 40, startedAt: 2, finishedAt: 3 } as const

/** The statuses that the stub knows, as an answer shows them. */
export const STATUSES = {
  pending: UNFINISHED,
  running: { ...UNFINISHED, token: TOKENS.running, status: 'running', progress: 40, startedAt: 2 },
  done: {
    ...{ ...UNFINISHED, token: TOKENS.done, status: 'done', progress: 100, startedAt: 2, finishedAt: 3 },
    result: { rows: [1, 'ü'] },
  },
  failed: { ...FAILED, token: TOKENS.failed, code: 'failed', message: 'The project does not exist' },
  unexpected: {
    ...FAILED,
    token: TOKENS.unexpected,
    code: 'unexpected',
    message: 'connect ECONNREFUSED 10.0.0.7:5432',
  },
} satisfies Record<string, JobStatusRecord>

/** A runtime by hand: what the handlers call, as spies. */
export interface StubJobs {
  jobs: AfterJobs
  record: Mock<AfterJobs['record']>
  /** Yields what it is told, until its signal aborts. */
  watch: Mock<AfterJobs['watch']>
  /** Tells whoever watches a job, and ends the watch after a final status and with an error. */
  tell(news: JobStatus | Error): void
  cancel: Mock<AfterJobs['cancel']>
  runNext: Mock<AfterJobs['runNext']>
  logger: { [Level in keyof Logger]: Mock<Logger[Level]> }
}

/** Makes a runtime that knows {@link STATUSES} and cancels like the real one: a final status never changes. */
export function createStubJobs(): StubJobs {
  const records = new Map<string, JobStatusRecord>()
  for (const status of Object.values(STATUSES)) records.set(status.token, { ...status, context: CONTEXT })
  const record = vi.fn<AfterJobs['record']>(async (token) => records.get(token) ?? unknownStatus())
  const cancel = vi.fn<AfterJobs['cancel']>(async (token) => {
    const found = records.get(token)
    if (found?.status !== 'pending' && found?.status !== 'running') return false
    records.set(token, {
      ...found,
      status: 'error',
      code: 'cancelled',
      message: 'The job was cancelled',
      finishedAt: 9,
    })
    return true
  })
  const script = createScript()
  const watch = vi.fn<AfterJobs['watch']>((_, { signal } = {}) => script.play(signal))
  const runNext = vi.fn<AfterJobs['runNext']>(async () => true)
  const logger = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() }
  const jobs = { record, watch, cancel, runNext, logger } as object as AfterJobs
  return { jobs, record, watch, tell: script.tell, cancel, runNext, logger }
}

function createScript() {
  const left: (JobStatus | Error)[] = []
  let wake = (): void => {}
  return {
    tell(news: JobStatus | Error): void {
      left.push(news)
      wake()
    },
    async *play(signal: AbortSignal | undefined): AsyncGenerator<JobStatus, void> {
      for (;;) {
        const news = left.shift()
        if (news instanceof Error) throw news
        if (news !== undefined) yield news
        if (news?.status === 'unknown' || news?.status === 'done') return
        if (left.length > 0) continue
        await new Promise<void>((resolve, reject) => {
          wake = resolve
          signal?.addEventListener('abort', () => reject(signal.reason))
        })
      }
    },
  }
}

import { type JobEnvelope, show } from './job'
import type { JsonValue } from './json'

/** The five words of a job's life. `done` and `error` are final; `unknown` is the answer for a token that nobody knows. */
export const JOB_STATES = ['pending', 'running', 'done', 'error', 'unknown'] as const
/** One of the five words. */
export type JobState = (typeof JOB_STATES)[number]

/** Why a job ended as an error. */
export const JOB_ERROR_CODES = [
  'failed',
  'unexpected',
  'timeout',
  'cancelled',
  'worker_lost',
  'enqueue_failed',
  'missing_hook',
] as const
/** One of the reasons for which a job ends as an error. */
export type JobErrorCode = (typeof JOB_ERROR_CODES)[number]

/** Tells whether a value is one of the reasons. */
export function isJobErrorCode(value: unknown): value is JobErrorCode {
  return JOB_ERROR_CODES.some((code) => code === value)
}

/** What stands for the message of an unexpected error where that was not meant for users. */
export const UNEXPECTED_FAILURE = 'The job failed unexpectedly'

/** The one record of a token, as a cache stores it. It is never mutated: each change makes the next version of it. */
export interface JobRecord {
  /** 1 when created, then one more with each write. */
  readonly version: number
  /** A number given at creation, so that a record that was lost and made anew is not taken for the old one. */
  readonly incarnation: number
  readonly status: Exclude<JobState, 'unknown'>
  readonly progress: number
  readonly label: string | null
  readonly message: string | null
  readonly code: JobErrorCode | null
  readonly attempt: number
  readonly attempts: number
  readonly result: JsonValue | null
  readonly parent: string | null
  readonly context: JsonValue | null
  /** How often the hook was started; with `runId` it fences off a worker that lost its job. */
  readonly run: number
  readonly runId: number
  readonly crashes: number
  /** When a job that waits may start, where that is later than its creation. Epoch milliseconds. */
  readonly dueAt: number | null
  readonly createdAt: number
  readonly startedAt: number | null
  readonly updatedAt: number
  readonly finishedAt: number | null
}

interface StatusFields {
  token: string
  /** Whole percent, 0 to 100; 100 only with `done`. */
  progress: number
  /** What the job is doing, in the hook's words. */
  label: string | null
  /** 0 before the first start, then the number last started. */
  attempt: number
  attempts: number
  /** The token of the job inside which this one was started. */
  parent: string | null
  /** `no_worker`: it has waited for 2 s and nothing is there to run it. */
  hint: 'no_worker' | null
  /** Epoch milliseconds, like the other times. */
  createdAt: number
  startedAt: number | null
  updatedAt: number
}

/** A job that waits: for a worker, for its delay, or for its next attempt. */
export interface PendingStatus extends StatusFields {
  status: 'pending'
  message: null
  code: null
  result: null
  finishedAt: null
}

/** A job whose hook is running. */
export interface RunningStatus extends StatusFields {
  status: 'running'
  message: null
  code: null
  result: null
  finishedAt: null
}

/** A job that succeeded, with the hook's result where it returned one. */
export interface DoneStatus extends StatusFields {
  status: 'done'
  message: null
  code: null
  result: JsonValue | null
  finishedAt: number
}

/** A job that finally failed, with the error's own text. */
export interface ErrorStatus extends StatusFields {
  status: 'error'
  message: string
  code: JobErrorCode
  result: null
  finishedAt: number
}

/** The answer for a token that is malformed, never existed, or whose record has expired. */
export interface UnknownStatus {
  status: 'unknown'
  progress: 0
  message: null
}

/** What a watcher sees of a job; told apart by `status`. */
export type JobStatus = PendingStatus | RunningStatus | DoneStatus | ErrorStatus | UnknownStatus

/** How a job ended. */
export type JobOutcome =
  | { status: 'done'; result: JsonValue | null }
  | { status: 'error'; code: JobErrorCode; message: string }

/** How a job ends that somebody has cancelled. */
export const CANCELLED: JobOutcome & { status: 'error' } = {
  status: 'error',
  code: 'cancelled',
  message: 'The job was cancelled',
}

/** What a job is from its creation on, whoever writes its record first: a part of its envelope. */
export interface JobBirth extends Pick<JobEnvelope, 'attempts' | 'parent' | 'createdAt' | 'delay'> {
  readonly context: JsonValue | null | undefined
}

/** Makes the birth of a job of which nothing but its token is known. */
export function unknownBirth(at: number): JobBirth {
  return { attempts: 1, parent: null, context: undefined, createdAt: at, delay: 0 }
}

/** What happened to a job. `at` is the epoch in milliseconds; `runId` names the run that speaks. */
export type JobChange =
  /** The queue was handed the job. A given incarnation lets the worker know the record without reading it. */
  | { type: 'queued'; at: number; birth: JobBirth; incarnation?: number | undefined }
  /** The job still waits for the end of a transaction. */
  | { type: 'held'; at: number }
  /** A worker claims the job. */
  | { type: 'started'; at: number; runId: number; attempt: number; birth: JobBirth }
  /** The run moved on, or only shows that it is alive. */
  | { type: 'progressed'; at: number; runId: number; progress: number; label: string | null }
  /** The run failed and the job waits for its next attempt, or was handed back unharmed. */
  | { type: 'returned'; at: number; runId: number; dueAt: number | null }
  /** The queue says that the worker of the run is gone. */
  | { type: 'lost'; at: number; runId: number }
  /** The job ended: by its run, or without one by cancellation, a failed enqueue or the queue's own word. */
  | { type: 'finished'; at: number; runId?: number; outcome: JobOutcome; last?: RunState; birth: JobBirth }

/** The newest state of a progress bar. */
export interface ProgressState {
  progress: number
  label: string | null
}

/** What a run knows of itself at its end, in case its record is gone. */
export interface RunState extends ProgressState {
  attempt: number
  startedAt: number | null
}

/**
 * Applies a change to a record: every rule of the life of a job, in one pure function.
 *
 * @returns the next version of the record, or `undefined` where the rules refuse the change.
 */
export function transition(record: JobRecord | undefined, change: JobChange): JobRecord | undefined {
  if (record !== undefined && isFinal(record.status)) return undefined
  switch (change.type) {
    case 'queued':
      return record === undefined ? createRecord(change.birth, change.at, change.incarnation) : undefined
    case 'held':
      return record?.status === 'pending' ? draftNext(record, change.at) : undefined
    case 'started':
      return start(record, change)
    case 'progressed':
      return isRunOf(record, change.runId) ? progress(record, change) : undefined
    case 'returned':
      return isRunOf(record, change.runId) ? putBack(record, change.at, change.dueAt, 0) : undefined
    case 'lost':
      return isRunOf(record, change.runId) ? putBack(record, change.at, null, 1) : undefined
    case 'finished':
      return finish(record, change)
    default:
      return change satisfies never
  }
}

/** Tells whether a status never changes again. */
export function isFinal(status: JobState): status is 'done' | 'error' {
  return status === 'done' || status === 'error'
}

function createRecord(birth: JobBirth, at: number, incarnation: number = randomNumber()): Draft {
  return {
    version: 1,
    incarnation,
    status: 'pending',
    progress: 0,
    label: null,
    message: null,
    code: null,
    attempt: 0,
    attempts: birth.attempts,
    result: null,
    parent: birth.parent,
    context: birth.context ?? null,
    run: 0,
    runId: 0,
    crashes: 0,
    dueAt: birth.delay > 0 ? birth.createdAt + birth.delay : null,
    createdAt: birth.createdAt,
    startedAt: null,
    updatedAt: at,
    finishedAt: null,
  }
}

/** A record in the making. */
type Draft = { -readonly [K in keyof JobRecord]: JobRecord[K] }

/** Begins the next version. Fields are then set one by one, which V8 does many times faster than spreading two objects. */
function draftNext(record: JobRecord, at: number): Draft {
  const draft: Draft = { ...record }
  draft.version = record.version + 1
  // Clocks of two machines differ; a record's own time never goes back.
  draft.updatedAt = Math.max(record.updatedAt, at)
  return draft
}

function isRunOf(record: JobRecord | undefined, runId: number): record is JobRecord {
  return record !== undefined && record.status === 'running' && record.runId === runId
}

/** A start is a claim: it takes a job over from a run that still seems to be running, which is how a crash shows. */
function start(record: JobRecord | undefined, change: JobChange & { type: 'started' }): JobRecord {
  // Created by its start, a record lacks only the step that was lost, so its first version is the running one.
  const draft = record === undefined ? createRecord(change.birth, change.at) : draftNext(record, change.at)
  // The same claim again is a write that was answered too late, not a crash.
  if (record?.status === 'running' && record.runId !== change.runId) draft.crashes++
  draft.status = 'running'
  draft.progress = 0
  draft.label = null
  draft.attempt = change.attempt
  draft.run++
  draft.runId = change.runId
  draft.dueAt = null
  draft.startedAt = change.at
  return draft
}

function progress(record: JobRecord, change: JobChange & { type: 'progressed' }): JobRecord {
  const draft = draftNext(record, change.at)
  moveProgress(draft, change)
  return draft
}

function moveProgress(draft: Draft, state: ProgressState): void {
  draft.progress = Math.max(draft.progress, Math.min(99, Math.floor(state.progress) || 0))
  draft.label = state.label === null ? null : cleanText(state.label)
}

function putBack(record: JobRecord, at: number, dueAt: number | null, crashes: number): JobRecord {
  const draft = draftNext(record, at)
  draft.status = 'pending'
  draft.progress = 0
  draft.label = null
  draft.dueAt = dueAt
  // It belongs to no run until the next start.
  draft.runId = 0
  draft.crashes += crashes
  return draft
}

function finish(record: JobRecord | undefined, change: JobChange & { type: 'finished' }): JobRecord | undefined {
  const { outcome, runId, at } = change
  if (record !== undefined && runId !== undefined && !isRunOf(record, runId)) return undefined
  const hasStarted = record !== undefined && record.attempt > 0
  if (hasStarted && outcome.status === 'error' && outcome.code === 'enqueue_failed') return undefined
  const draft = record === undefined ? createRecord(change.birth, at) : draftNext(record, at)
  if (change.last !== undefined) moveProgress(draft, change.last)
  if (record === undefined && runId !== undefined) {
    draft.runId = runId
    draft.attempt = change.last?.attempt ?? 0
    draft.startedAt = change.last?.startedAt ?? null
  }
  draft.status = outcome.status
  draft.dueAt = null
  draft.finishedAt = at
  if (outcome.status === 'done') {
    draft.progress = 100
    draft.result = outcome.result
  } else {
    draft.code = outcome.code
    draft.message = cleanText(outcome.message)
  }
  return draft
}

/** Reads how a job ended out of its final record. */
export function outcomeOf(record: JobRecord): JobOutcome {
  if (record.status === 'done') return { status: 'done', result: record.result }
  return { status: 'error', code: record.code ?? 'unexpected', message: record.message ?? '' }
}

/** Makes a random integer that V8 keeps without a box: 31 bits, never 0. */
export function randomNumber(): number {
  return 1 + Math.floor(Math.random() * 0x7fff_fffe)
}

/** Shows a record to its watchers. */
export function toStatus(token: string, record: JobRecord, hint: 'no_worker' | null = null): JobStatus {
  return {
    token,
    status: record.status,
    progress: record.progress,
    label: record.label,
    message: record.message,
    code: record.code,
    attempt: record.attempt,
    attempts: record.attempts,
    result: record.result,
    parent: record.parent,
    hint,
    createdAt: record.createdAt,
    startedAt: record.startedAt,
    updatedAt: record.updatedAt,
    finishedAt: record.finishedAt,
  } as JobStatus
}

/** Makes the answer for a token that nobody knows: exactly these three fields. */
export function unknownStatus(): UnknownStatus {
  return { status: 'unknown', progress: 0, message: null }
}

const MAX_TEXT = 500
// C0 and C1 controls, halves of an emoji, which a cut leaves and no database takes, and the marks that turn the direction of
// what follows them.
const CONTROLS = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu

/** Bounds a label or a message: at most 500 characters, no control characters. */
export function cleanText(text: unknown): string {
  // Cut first, so that a text of a megabyte costs no more than a short one.
  const head = (typeof text === 'string' ? text : show(text)).slice(0, 2 * MAX_TEXT)
  const clean = head.replace(CONTROLS, ' ').trim()
  if (clean.length <= MAX_TEXT) return clean
  return `${clean.slice(0, MAX_TEXT - 1).replace(CONTROLS, '')}…`
}

import { describe, expect, test } from 'vitest'
import {
  cleanText,
  type JOB_ERROR_CODES,
  type JobBirth,
  type JobChange,
  type JobOutcome,
  type JobRecord,
  toStatus,
  transition,
  unknownStatus,
} from '../../src/core/status'

const T0 = 1_700_000_000_000
const BIRTH: JobBirth = { attempts: 3, parent: null, context: { user: 7 }, createdAt: T0, delay: 0 }
const DONE: JobOutcome = { status: 'done', result: { rows: 3 } }

const queued = (birth: JobBirth = BIRTH): JobChange => ({ type: 'queued', at: T0, birth })
const started = (runId = 7, attempt = 1): JobChange => ({ type: 'started', at: T0 + 10, runId, attempt, birth: BIRTH })
const progressed = (progress: number, label: string | null = null, runId = 7): JobChange => {
  return { type: 'progressed', at: T0 + 20, runId, progress, label }
}
const returned = (runId = 7, dueAt: number | null = null): JobChange => ({
  type: 'returned',
  at: T0 + 30,
  runId,
  dueAt,
})
const lost = (runId = 7): JobChange => ({ type: 'lost', at: T0 + 30, runId })
const finished = (outcome: JobOutcome = DONE, runId?: number): JobChange => {
  return { type: 'finished', at: T0 + 40, ...(runId !== undefined && { runId }), outcome, birth: BIRTH }
}
const failed = (code: (typeof JOB_ERROR_CODES)[number], message = 'no'): JobOutcome => ({
  status: 'error',
  code,
  message,
})

describe('a job that runs to its end', () => {
  test('waits, runs, moves on and is done', () => {
    expect(after(queued())).toMatchObject({ version: 1, status: 'pending', progress: 0, attempt: 0, startedAt: null })
    expect(after(queued(), started())).toMatchObject({ version: 2, status: 'running', attempt: 1, startedAt: T0 + 10 })
    expect(after(queued(), started(), progressed(40, 'Rows'))).toMatchObject({ progress: 40, label: 'Rows' })
    expect(after(queued(), started(), progressed(40, 'Rows'), finished(DONE, 7))).toMatchObject({
      version: 4,
      status: 'done',
      progress: 100,
      label: 'Rows',
      result: { rows: 3 },
      updatedAt: T0 + 40,
      finishedAt: T0 + 40,
    })
  })

  test('keeps what it was born with', () => {
    const birth = { attempts: 5, parent: 'p', context: undefined, createdAt: T0 - 1, delay: 500 }
    const born = { attempts: 5, parent: 'p', context: null, createdAt: T0 - 1, dueAt: T0 + 499 }
    expect(after(queued(birth))).toMatchObject(born)
    expect(after(queued(birth), started())).toMatchObject({ ...born, dueAt: null })
  })

  test('is one record, told apart from one that was lost and made anew', () => {
    const record = after(queued())
    expect(Number.isInteger(record?.incarnation)).toBe(true)
    expect(after(queued(), started(), finished())?.incarnation).not.toBe(record?.incarnation)
    expect(transition(record, started())?.incarnation).toBe(record?.incarnation)
  })
})

describe('who may create a record', () => {
  test.each([queued(), started(), finished(), finished(failed('enqueue_failed'))])('$type may', (change) => {
    expect(transition(undefined, change)?.version).toBe(1)
  })

  test.each([progressed(1), returned(), lost()])('$type may not', (change) => {
    expect(transition(undefined, change)).toBeUndefined()
  })

  test('queued only creates: a late one changes nothing', () => {
    expect(transition(after(queued()), queued())).toBeUndefined()
    expect(transition(after(started()), queued())).toBeUndefined()
  })
})

describe('a final status', () => {
  const changes = [
    queued(),
    started(8),
    progressed(50),
    returned(),
    lost(),
    finished(),
    finished(failed('cancelled'), 7),
  ]

  test.each(changes)('done is not changed by $type', (change) => {
    expect(transition(after(queued(), started(), finished(DONE, 7)), change)).toBeUndefined()
  })

  test.each(changes)('error is not changed by $type', (change) => {
    expect(transition(after(queued(), finished(failed('cancelled'))), change)).toBeUndefined()
  })
})

describe('progress', () => {
  test('never goes back within a run, but begins anew with the next', () => {
    expect(after(queued(), started(), progressed(40), progressed(30))?.progress).toBe(40)
    expect(after(queued(), started(), progressed(40), returned(), started(8, 2))?.progress).toBe(0)
    expect(after(queued(), started(), progressed(40, 'Rows'), started(8))).toMatchObject({ progress: 0, label: null })
  })

  test.each([
    [0.99, 0],
    [99.99, 99],
    [100, 99],
    [250, 99],
    [-5, 0],
    [Number.NaN, 0],
    [Number.POSITIVE_INFINITY, 99],
  ])('%d is shown as %d: 100 comes only with done', (reported, shown) => {
    expect(after(queued(), started(), progressed(reported))?.progress).toBe(shown)
  })

  test('its newest state comes along with the end, whoever creates the record', () => {
    const last = { progress: 100, label: 'a\nb' }
    const end = { ...finished(failed('unexpected'), 7), last } as JobChange
    expect(after(queued(), started(), end)).toMatchObject({ status: 'error', progress: 99, label: 'a b' })
    expect(after(end)).toMatchObject({ status: 'error', progress: 99, label: 'a b' })
  })
})

describe('a start is a claim', () => {
  test('the run that was fenced off can change nothing any more', () => {
    const record = after(queued(), started(7), started(8))
    for (const change of [progressed(50, null, 7), returned(7), lost(7), finished(DONE, 7)]) {
      expect(transition(record, change)).toBeUndefined()
    }
    expect(transition(record, finished(DONE, 8))?.status).toBe('done')
  })

  test('over a run that seems to be running, it counts a crash; the same claim again does not', () => {
    expect(after(queued(), started(7), started(8))).toMatchObject({ run: 2, crashes: 1 })
    expect(after(queued(), started(7), started(7))).toMatchObject({ run: 2, crashes: 0 })
    expect(after(queued(), started(7), returned(7), started(8))).toMatchObject({ run: 2, crashes: 0 })
  })

  test('after the queue lost the worker, the crash is counted once', () => {
    expect(after(queued(), started(7), lost(7))).toMatchObject({ status: 'pending', progress: 0, crashes: 1 })
    expect(after(queued(), started(7), lost(7), started(8))).toMatchObject({ crashes: 1 })
  })
})

describe('an attempt that failed', () => {
  test('leaves the job pending, with the number of the attempt last started', () => {
    const record = after(queued(), started(), progressed(40, 'Rows'), returned(7, T0 + 5_000))
    expect(record).toMatchObject({ status: 'pending', progress: 0, label: null, attempt: 1, dueAt: T0 + 5_000 })
    expect(transition(record, progressed(50))).toBeUndefined()
  })
})

describe('an end without a run', () => {
  test('cancels a job that waits and one that runs', () => {
    expect(after(queued(), finished(failed('cancelled')))?.code).toBe('cancelled')
    expect(after(queued(), started(), finished(failed('cancelled')))?.code).toBe('cancelled')
  })

  test('enqueue_failed is refused once the job has started: the queue did take it', () => {
    expect(transition(after(queued(), started()), finished(failed('enqueue_failed')))).toBeUndefined()
    expect(transition(after(queued(), started(), returned()), finished(failed('enqueue_failed')))).toBeUndefined()
    expect(transition(after(queued()), finished(failed('enqueue_failed')))?.status).toBe('error')
  })
})

describe('time', () => {
  test('of a record never goes back, though clocks differ', () => {
    const late = { ...started(), at: T0 - 60_000 } as JobChange
    expect(after(queued(), late)?.updatedAt).toBe(T0)
  })
})

describe('texts', () => {
  test.each([
    ['  a\r\n\tb\0 ', 'a b'],
    ['\u202edrawkcab\u202c', 'drawkcab'],
    ['x'.repeat(500), 'x'.repeat(500)],
    ['x'.repeat(501), `${'x'.repeat(499)}…`],
    [`${'x'.repeat(498)}🚀🚀`, `${'x'.repeat(498)}…`],
    [`a${'\0'.repeat(998)}🚀`, 'a'],
    ['🚀'.slice(0, 1), ''],
    ['a title cut in \ud83d x', 'a title cut in   x'],
    ['\ude80\ud83da🚀', 'a🚀'],
    [`${'x'.repeat(501)}\ud83d`, `${'x'.repeat(499)}…`],
    ['', ''],
    [undefined, 'undefined'],
  ])('%j becomes %j', (raw, clean) => {
    expect(cleanText(raw)).toBe(clean)
  })

  test('labels and messages are cleaned on their way into the record', () => {
    expect(after(queued(), started(), progressed(1, 'a\u0007b'))?.label).toBe('a b')
    expect(after(queued(), finished(failed('failed', 'a\u0000b')))?.message).toBe('a b')
  })
})

describe('what a watcher sees', () => {
  test('is the record without what is only for the rules and the server', () => {
    const record = after(queued(), started()) as JobRecord
    const status = toStatus('t', record, 'no_worker')
    expect(status).toMatchObject({ token: 't', status: 'running', hint: 'no_worker' })
    for (const field of ['context', 'run', 'runId', 'version', 'incarnation', 'crashes', 'dueAt']) {
      expect(status).not.toHaveProperty(field)
    }
  })

  test('is three fields for a token that nobody knows', () => {
    expect(unknownStatus()).toStrictEqual({ status: 'unknown', progress: 0, message: null })
  })
})

function after(...changes: JobChange[]): JobRecord | undefined {
  return changes.reduce<JobRecord | undefined>((record, change) => {
    const next = transition(record, change)
    if (next === undefined) throw new Error(`'${change.type}' was refused.`)
    return Object.freeze(next)
  }, undefined)
}

import { expect } from 'vitest'
import { isFinal, type JobChange, type JobRecord } from '../../src/core/status'

/** Says which changes the rules let through, in the words of the contract rather than in those of the code. */
export function isAllowed(record: JobRecord | undefined, change: JobChange): boolean {
  if (record === undefined) return ['queued', 'started', 'finished'].includes(change.type)
  if (record.status === 'done' || record.status === 'error') return false
  if (change.type === 'queued') return false
  if (change.type === 'held') return record.status === 'pending'
  if (change.type === 'started') return true
  if (change.type === 'finished' && change.outcome.status === 'error' && change.outcome.code === 'enqueue_failed') {
    if (record.attempt > 0) return false
  }
  if (change.type === 'finished' && change.runId === undefined) return true
  return record.status === 'running' && record.runId === change.runId
}

/** Checks everything that must hold after a change was stored. */
export function expectRules(before: JobRecord | undefined, change: JobChange, after: JobRecord): void {
  expectVersion(before, change, after)
  expectProgress(before, change, after)
  expectEnd(after)
  for (const text of [after.label, after.message]) {
    expect(text?.length ?? 0).toBeLessThanOrEqual(500)
    expect(text ?? '').not.toMatch(/\p{Cc}/u)
  }
}

function expectVersion(before: JobRecord | undefined, change: JobChange, after: JobRecord): void {
  expect(after.version).toBe((before?.version ?? 0) + 1)
  expect(after.updatedAt).toBe(Math.max(before?.updatedAt ?? 0, change.at))
  if (before !== undefined) {
    const { incarnation, createdAt, attempts, parent, context } = before
    expect(after).toMatchObject({ incarnation, createdAt, attempts, parent, context })
  }
  expect(after.crashes).toBe((before?.crashes ?? 0) + (isCrash(before, change) ? 1 : 0))
  if (change.type !== 'started') {
    expect(after.run).toBe(before?.run ?? 0)
    return
  }
  expect(after).toMatchObject({
    status: 'running',
    run: (before?.run ?? 0) + 1,
    runId: change.runId,
    attempt: change.attempt,
  })
}

/** A worker is gone when the queue says so, or when another run takes over a job that seems to be running. */
function isCrash(before: JobRecord | undefined, change: JobChange): boolean {
  if (change.type === 'lost') return true
  return change.type === 'started' && before?.status === 'running' && before.runId !== change.runId
}

function expectProgress(before: JobRecord | undefined, change: JobChange, after: JobRecord): void {
  expect(Number.isInteger(after.progress)).toBe(true)
  expect(after.progress).toBeGreaterThanOrEqual(0)
  expect(after.progress).toBeLessThanOrEqual(100)
  expect(after.progress === 100).toBe(after.status === 'done')
  const isNewRun = ['started', 'returned', 'lost'].includes(change.type)
  if (isNewRun) expect(after.progress).toBe(0)
  else expect(after.progress).toBeGreaterThanOrEqual(before?.progress ?? 0)
}

function expectEnd(after: JobRecord): void {
  expect(after.finishedAt !== null).toBe(isFinal(after.status))
  expect(after.code !== null).toBe(after.status === 'error')
  expect(after.message !== null).toBe(after.status === 'error')
  if (after.status !== 'done') expect(after.result).toBe(null)
  if (after.status !== 'pending') expect(after.dueAt).toBe(null)
}

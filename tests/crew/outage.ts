import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import type { AfterJobsError } from 'after-jobs'
import { expect } from 'vitest'
import { rejection } from '../engine/support/runtime'
import type { Crew } from './crew'

/** What `executeJob` may take at most while the server is away. */
const ENQUEUE_LIMIT = 6_000

/** Starts so many jobs at once, and answers how each call failed: in time, and without a flood in the log. */
export async function failToStart(crew: Crew, count: number): Promise<AfterJobsError[]> {
  const before = crew.logger.lines.length
  const begin = Date.now()
  const calls = Array.from({ length: count }, (_, id) => rejection(crew.start([], { id })))
  const errors = await Promise.all(calls)
  const ms = Date.now() - begin
  expect(ms).toBeLessThan(ENQUEUE_LIMIT)
  expectCalm(crew.logger.lines.slice(before), ms)
  for (const error of errors) expect(error).toMatchObject({ code: 'ENQUEUE_FAILED', token: expect.any(String) })
  return errors as AfterJobsError[]
}

/** At most a line per second, and one for the second that has begun. */
export function expectCalm(lines: readonly { level: string }[], ms: number): void {
  const loud = lines.filter(({ level }) => level === 'warn' || level === 'error')
  expect(loud.length, inspect(loud)).toBeLessThanOrEqual(Math.floor(ms / 1_000) + 1)
}

/** Runs a job that nothing hinders any more. */
export async function runAnother(crew: Crew): Promise<void> {
  const token = await crew.start([{ do: 'return', result: 'another' }], { id: 'another' })
  expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'another' })
}

/** Takes the server away while five jobs end: their ends wait, their worker goes on by itself, and nobody floods the log. */
export async function endDuringOutage(
  crew: Crew,
  leave: () => Promise<void>,
  comeBack: () => Promise<void>,
): Promise<void> {
  const worker = await crew.addWorker(5)
  const tokens = await crew.startMany(
    [
      { do: 'wait', gate: 'end' },
      { do: 'return', result: 'kept' },
    ],
    5,
  )
  for (const token of tokens) await crew.happened(token, 'started')

  const begin = Date.now()
  await leave()
  crew.openGate('end')
  for (const token of tokens) await crew.happened(token, 'ended')
  // An outage that is worth the name.
  await pause(5_000)
  const ms = Date.now() - begin
  expect(worker.lines).toContainEqual(expect.objectContaining({ level: 'error' }))
  expectCalm(worker.lines, ms)
  expectCalm(crew.logger.lines, ms)
  await comeBack()

  for (const token of tokens) expect(await crew.ended(token)).toMatchObject({ status: 'done', result: 'kept' })
  await runAnother(crew)
  expect(worker.isAlive).toBe(true)
  expect(worker.stderr).toBe('')
  for (const token of tokens) expect(crew.journal.find(token, 'started')).toHaveLength(1)
}

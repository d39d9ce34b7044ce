import type { JobStatus } from 'after-jobs/element'
import { jobProgressWords } from 'after-jobs/element'
import { afterEach, expect, test } from 'vitest'
import { describe } from '../../src/element/description'
import { statusOf, TOKEN } from '../client/fake-server'

const english = { ...jobProgressWords }

afterEach(() => {
  Object.assign(jobProgressWords, english)
})

test.each<[string, object, ...ReturnType<typeof describe>]>([
  ['pending', {}, 'pending', { label: 'Waiting' }],
  ['pending', { attempt: 2 }, 'pending', { label: 'Trying again' }],
  ['pending', { label: 'Queued at the printer' }, 'pending', { label: 'Queued at the printer' }],
  ['running', { progress: 0 }, 'running', { progress: 0, label: 'Running' }],
  ['running', { progress: 42, label: 'Printing' }, 'running', { progress: 42, label: 'Printing' }],
  ['done', { progress: 100, label: 'Printing' }, 'done', { progress: 100, message: 'Done' }],
  ['error', { progress: 7, message: 'No paper' }, 'error', { progress: 7, message: 'No paper' }],
  ['error', { progress: 7, message: null }, 'error', { progress: 7, message: 'Failed' }],
  ['unknown', {}, 'pending', { label: 'Waiting' }],
])('%s %j', (status, fields, state, view) => {
  const job = statusOf(status as JobStatus['status'], { token: TOKEN, attempt: 0, ...fields }) as JobStatus
  expect(describe(job)).toEqual([state, view])
})

test('its words can be translated', () => {
  Object.assign(jobProgressWords, { pending: 'Wartet', done: 'Fertig' })
  expect(describe(statusOf('done', { progress: 100 }) as JobStatus)[1].message).toBe('Fertig')
})

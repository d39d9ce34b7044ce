import type { JobStatus } from '../core/status'
import type { View } from './face'
import { jobProgressWords as words } from './words'

/** What the element is in: its attribute `state`. */
export type JobProgressState = 'pending' | 'running' | 'done' | 'error'

/** Puts a status into words. One that nobody knows may still come, so it waits like a pending one. */
export function describe(status: JobStatus): [JobProgressState, View] {
  switch (status.status) {
    case 'unknown':
      return ['pending', { label: words.pending }]
    case 'pending':
      return ['pending', { label: status.label || (status.attempt ? words.again : words.pending) }]
    case 'running':
      return ['running', { progress: status.progress, label: status.label || words.running }]
    case 'done':
      return ['done', { progress: 100, message: words.done }]
    case 'error':
      return ['error', { progress: status.progress, message: status.message || words.error }]
  }
}

import { createHash } from 'node:crypto'

/** Names a statement that connections keep prepared. A name belongs to one text, because connections are shared. */
export function nameOf(text: string): string {
  return `after_jobs_${createHash('sha256').update(text).digest('hex').slice(0, 16)}`
}

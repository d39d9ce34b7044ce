import type { JobStatus } from 'after-jobs'
import { createAfterJobs, withAfterJobs } from 'after-jobs'
import { expect, test } from 'vitest'
import { createBar, formatTable, type Terminal } from '../../examples/terminal'

const CLEAR = '\r\u001b[2K'

test('a terminal gets one line that is drawn again, no wider than itself', async () => {
  const { pending, done } = await statuses()
  const { written, terminal } = fakeTerminal({ isTTY: true, columns: 50 })
  const show = createBar(terminal)
  show(pending)
  show(done)
  expect(written).toEqual([
    `${CLEAR}${'░'.repeat(30)}   0 %  pending  0s`,
    `${CLEAR}${'█'.repeat(30)} 100 %  done  0s\n`,
  ])
  const narrow = fakeTerminal({ isTTY: true, columns: 20 })
  createBar(narrow.terminal)(pending)
  expect(narrow.written[0]?.length).toBe(CLEAR.length + 19)
})

test('a pipe gets a line for each change', async () => {
  const { pending, done } = await statuses()
  const { written, terminal } = fakeTerminal({})
  const show = createBar(terminal)
  for (const status of [pending, pending, done]) show(status)
  expect(written).toEqual([`${'░'.repeat(30)}   0 %  pending\n`, `${'█'.repeat(30)} 100 %  done\n`])
})

test('a table aligns words to the left and numbers to the right', () => {
  const rows = [
    { country: 'Fiji', population: 223_055 },
    { country: 'New Zealand', population: 7 },
  ]
  expect(formatTable(rows).split('\n')).toEqual([
    'country      population',
    '-----------  ----------',
    'Fiji            223,055',
    'New Zealand           7',
  ])
  expect(formatTable([])).toBe('')
})

function fakeTerminal(properties: Omit<Terminal, 'write'>): { written: string[]; terminal: Terminal } {
  const written: string[] = []
  return { written, terminal: { ...properties, write: (text) => written.push(text) } }
}

/** Real statuses, from a job that does nothing. */
async function statuses(): Promise<{ pending: JobStatus; done: JobStatus }> {
  const jobs = createAfterJobs()
  class Service extends withAfterJobs({ jobs }) {
    afterCreateJob(): void {}
  }
  const token = (await new Service().executeJob('after', 'create', 1)) ?? ''
  const pending = await jobs.status(token)
  return { pending, done: await jobs.settled(token) }
}

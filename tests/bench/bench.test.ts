import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

interface Row {
  name: string | undefined
  ratio: string | undefined
}

const MEDIAN = /^\d+(\.\d+)? \(\d+(\.\d+)?–\d+(\.\d+)?\)$/

/** Milliseconds: many times what it takes on an idle machine. */
const TIME_LIMIT = 300_000

test(
  'the short form of the benchmarks prints every table in full',
  async () => {
    const command = ['--import', 'tsx', 'bench/main.ts', '--quick']
    const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: TIME_LIMIT })
    const tables = readTables(stdout)
    expect([...tables.keys()]).toEqual([
      'Throughput of jobs that do nothing',
      'Progress ticks',
      'Memory of ended jobs',
      'Statuses over HTTP',
      'Streams over HTTP',
      'Jobs in Redis',
      'Jobs in PostgreSQL',
      'Statuses in PostgreSQL',
      'Scaling',
      'Beside other libraries',
    ])
    const names = [...tables.values()].map((rows) => rows.map(({ name }) => name))
    expect(names.slice(0, 3)).toEqual([
      ['1', '10', '100'],
      ['counter', 'progress.tick', 'counter, a turn after each', 'progress.tick, a turn after each'],
      ['Map of records', 'memoryCache'],
    ])
    expect(names[3]).toEqual(expect.arrayContaining(['bare node:http', 'createNodeHandler']))
    for (const row of [...tables.values()].flat()) expect(row.ratio).toMatch(MEDIAN)
  },
  TIME_LIMIT,
)

/** Reads the tables by the headings above them. */
function readTables(markdown: string): Map<string, Row[]> {
  const sections = markdown.split(/^## /m).slice(1)
  return new Map(sections.map((section) => [section.split('\n', 1)[0] ?? '', readRows(section)]))
}

/** Reads the first table, which has the ratios. */
function readRows(section: string): Row[] {
  const table = section.split(/\n\n/).find((part) => part.startsWith('|')) ?? ''
  const [headings = [], , ...rows] = table
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    )
  const ratio = headings.indexOf('ratio')
  return rows.map((cells) => ({ name: cells[0], ratio: cells[ratio] }))
}

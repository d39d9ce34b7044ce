import type { JobStatus } from 'after-jobs'
import { formatElapsed } from 'after-jobs/client'

/** The part of `process.stdout` that a bar needs. */
export interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const BAR_WIDTH = 30

/** Makes a function that shows each status it is given: on a terminal in one line, elsewhere in a line per change. */
export function createBar(terminal: Terminal = process.stdout): (status: JobStatus) => void {
  const startedAt = Date.now()
  let shown = ''
  return (status) => {
    const text = describe(status)
    if (terminal.isTTY) {
      const line = `${text}  ${formatElapsed(Date.now() - startedAt)}`.slice(0, (terminal.columns ?? 80) - 1)
      terminal.write(`\r\u001b[2K${line}${isFinal(status) ? '\n' : ''}`)
    } else if (text !== shown) {
      terminal.write(`${text}\n`)
    }
    shown = text
  }
}

function describe(status: JobStatus): string {
  const filled = Math.round((status.progress / 100) * BAR_WIDTH)
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_WIDTH - filled)
  const step = status.status === 'running' && status.label ? status.label : status.status
  return `${bar} ${String(status.progress).padStart(3)} %  ${step}`
}

function isFinal({ status }: JobStatus): boolean {
  return status === 'done' || status === 'error'
}

/** A row of a table; its keys are the headings. */
export type TableRow = Readonly<Record<string, string | number>>

/** Lays rows out as a table, numbers to the right. */
export function formatTable(rows: readonly TableRow[]): string {
  const columns = Object.keys(rows[0] ?? {}).map((heading) => {
    const values = rows.map((row) => row[heading] ?? '')
    const cells = [heading, ...values.map((value) => value.toLocaleString('en'))]
    const width = Math.max(...cells.map((cell) => cell.length))
    const isNumeric = values.every((value) => typeof value === 'number')
    return [cells[0] ?? '', '-'.repeat(width), ...cells.slice(1)].map((cell) => {
      return isNumeric ? cell.padStart(width) : cell.padEnd(width)
    })
  })
  const lines = (columns[0] ?? []).map((_, row) => columns.map((cells) => cells[row]).join('  '))
  return lines.map((line) => line.trimEnd()).join('\n')
}

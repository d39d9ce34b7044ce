/** Controls, and the marks that turn the direction of what follows them: ids and messages come from strangers. */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu
const MAX_LINE = 1_000

/** Prints a line of the log on stdout, with its time. */
export function printLine(text: string): void {
  process.stdout.write(`${new Date().toISOString()} ${toLine(text)}\n`)
}

/** Prints a line on stderr, with the name of the command. */
export function printComplaint(text: string): void {
  process.stderr.write(`after-jobs: ${toLine(text)}\n`)
}

/** Goes on where nobody reads the output any more: a log that is gone is no reason to leave jobs half done. */
export function forgiveBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}

function toLine(text: string): string {
  return text.slice(0, MAX_LINE).replace(CONTROLS, ' ')
}

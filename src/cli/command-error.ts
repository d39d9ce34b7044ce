/** Ends the command with one line on stderr and an exit code: 1 for a failure, 2 for wrong usage. */
export class CommandError extends Error {
  readonly exitCode: 1 | 2

  constructor(exitCode: 1 | 2, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

/** Says in a few words what was thrown, without its stack. */
export function describeThrown(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown)
  const { name, message, code } = thrown as NodeJS.ErrnoException
  // Node says nothing but a code where a host has several addresses and none answers.
  const text = message || code || 'no message'
  return /^(Error|AfterJobsError|CommandError)$/.test(name) ? text : `${name}: ${text}`
}

#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { debuglog } from 'node:util'
import { CommandError, describeThrown } from './command-error'
import { HELP, readCommandLine } from './command-line'
import { forgiveBrokenPipes, printComplaint } from './output'
import { work } from './worker'

forgiveBrokenPipes()
const exitCode = await main(process.argv.slice(2))
// Whatever the module has opened must not keep a closed worker alive; what was printed goes out first.
process.stdout.write('', () => process.exit(exitCode))

/** Does what the command line says, and answers the exit code. */
async function main(args: readonly string[]): Promise<number> {
  try {
    const command = readCommandLine(args)
    if (command === 'help') process.stdout.write(HELP)
    else if (command === 'version') process.stdout.write(`${readVersion()}\n`)
    else await work(command)
    return 0
  } catch (error) {
    printComplaint(describeThrown(error))
    debuglog('after-jobs')('%O', error)
    return error instanceof CommandError ? error.exitCode : 1
  }
}

function readVersion(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(manifest) as { version: string }).version
}

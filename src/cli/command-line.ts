import { parseArgs } from 'node:util'
import { CommandError } from './command-error'

/** What `after-jobs work` was asked to do. */
export interface WorkCommand {
  readonly module: string
  /** When to end: at a signal, after one job, or when nothing waits or runs any more. */
  readonly until: 'signal' | 'one job' | 'empty'
  readonly concurrency: number
  /** Milliseconds. */
  readonly grace: number
}

const USAGE = 'after-jobs work <module> [--concurrency n] [--once] [--stop-when-empty] [--grace seconds]'

/** What `--help` prints. */
export const HELP: string = `${USAGE}

Runs the jobs of a runtime: the default export of <module>, made by createAfterJobs().
<module> is a path, or the name of a module in a package: ./worker.js, @company/app/worker

  --concurrency n    how many jobs to run at once (default 1)
  --once             run one job, if one is due, and end
  --stop-when-empty  end when no job waits or runs any more
  --grace seconds    how long running jobs may go on after SIGTERM or SIGINT (default 10);
                     then they are handed back. A second signal ends at once
  -h, --help         print this
  -v, --version      print the version

Exit codes: 0 it ended as it was told to, 1 it failed, 2 it was not understood.
With NODE_DEBUG=after-jobs in the environment a failure shows its stack.
`

const CONFIG = {
  allowPositionals: true,
  options: {
    concurrency: { type: 'string', default: '1' },
    once: { type: 'boolean', default: false },
    'stop-when-empty': { type: 'boolean', default: false },
    grace: { type: 'string', default: '10' },
    help: { type: 'boolean', short: 'h', default: false },
    version: { type: 'boolean', short: 'v', default: false },
  },
} as const
const MAX_GRACE = 86_400

/**
 * Reads the arguments that follow the name of the program.
 *
 * @throws CommandError that says what was expected.
 */
export function readCommandLine(args: readonly string[]): 'help' | 'version' | WorkCommand {
  const { values, positionals } = parse(args)
  if (values.help) return 'help'
  if (values.version) return 'version'
  const [command, module, ...rest] = positionals
  if (command === undefined) throw misuse('no command was given')
  if (command !== 'work') throw misuse(`there is no command '${command}'`)
  if (module === undefined) throw misuse('no module was given')
  if (rest.length > 0) throw misuse(`one module is enough, and '${rest[0]}' is one more`)
  if (values.once && values['stop-when-empty']) throw misuse('--once and --stop-when-empty exclude each other')
  const until = values.once ? 'one job' : values['stop-when-empty'] ? 'empty' : 'signal'
  return { module, until, concurrency: readConcurrency(values.concurrency), grace: readGrace(values.grace) }
}

function parse(args: readonly string[]): ReturnType<typeof parseArgs<typeof CONFIG>> {
  try {
    return parseArgs({ ...CONFIG, args: [...args] })
  } catch (error) {
    // Node adds advice of several lines, which knows nothing of this command.
    const [complaint = ''] = (error as Error).message.split(/\. |\.?\n/)
    throw misuse(complaint)
  }
}

function readConcurrency(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= 1 && Number.isSafeInteger(value)) return value
  throw new CommandError(2, `--concurrency is '${text}'; expected an integer of at least 1.`)
}

function readGrace(text: string): number {
  const seconds = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && seconds <= MAX_GRACE) return seconds * 1_000
  throw new CommandError(2, `--grace is '${text}'; expected seconds, from 0 to ${MAX_GRACE}.`)
}

function misuse(complaint: string): CommandError {
  return new CommandError(2, `${complaint}; expected ${USAGE}`)
}

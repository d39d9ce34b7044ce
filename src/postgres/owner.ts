import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'

/** A process, so described that another one that gets its number is not taken for it. */
export interface Owner {
  readonly pid: number
  readonly host: string
  /** Which start of the machine it is, where the system tells. */
  readonly boot: string
  /** Which container it is in, where the system tells: numbers mean something only there. */
  readonly space: string
  /** When it was started, as the system writes that; empty where it does not tell. */
  readonly started: string
}

/** The machine's own space has this number on every Linux. */
const NO_CONTAINER = 'pid:[4026531836]'

/** Describes this process. */
export function describeSelf(): Owner {
  return { pid: process.pid, host: hostname(), ...worldOf(), started: startOf(process.pid) ?? '' }
}

/** Tells whether a process lives; `unseen` where it is in another container, or on another machine. */
export function judge({ pid, host, boot, space, started }: Owner): 'alive' | 'dead' | 'unseen' {
  const here = worldOf()
  if (host !== hostname() || space !== here.space) return 'unseen'
  if (boot !== here.boot) return space === NO_CONTAINER ? 'dead' : 'unseen'
  const start = startOf(pid)
  if (start !== undefined) return start === started ? 'alive' : 'dead'
  return canBeSignalled(pid) ? 'alive' : 'dead'
}

function worldOf(): Pick<Owner, 'boot' | 'space'> {
  if (process.platform !== 'linux') return { boot: '', space: process.platform }
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return { boot, space: readlinkSync('/proc/self/ns/pid') }
}

/** Answers `undefined` for what is not there, and where the system does not tell. */
function startOf(pid: number): string | undefined {
  try {
    if (process.platform === 'win32') return undefined
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)])
        .toString()
        .trim()
    // The second field, a name in parentheses, may hold anything.
    const [state, ...fields] = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
    return state === 'Z' || state === 'X' ? undefined : fields[18]
  } catch {
    return undefined
  }
}

function canBeSignalled(pid: number): boolean {
  // Where the system tells when a process was started, and did not, there is none.
  if (process.platform !== 'win32') return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

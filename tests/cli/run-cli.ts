import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll } from 'vitest'

/** A command that has ended. */
export interface Outcome {
  /** `null` when it did not end by itself in time. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Command {
  /** Resolves with the first match in what it prints on either stream; rejects when it ends without one. */
  awaitOutput(pattern: RegExp): Promise<RegExpMatchArray>
  signal(name: 'SIGTERM' | 'SIGINT'): void
  /** Closes the reader's end of stdout. */
  stopReading(): void
  readonly ended: Promise<Outcome>
}

export interface CommandOptions {
  readonly cwd?: string
  readonly env?: NodeJS.ProcessEnv
}

const ROOT = resolve(import.meta.dirname, '../..')
const TSX = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
/** On the build, as its users run it; `CLI_ON=sources` spares whoever works on it the build. */
const ON_SOURCES = process.env.CLI_ON === 'sources'
const PROGRAM = ON_SOURCES ? ['--import', TSX, join(ROOT, 'src/cli/main.ts')] : [join(ROOT, 'dist/cli/main.js')]
/** Many times what the slowest takes. */
const TIME_LIMIT = 60_000

/** A test that gave up on its command leaves it behind. */
const running = new Set<ChildProcess>()
const folders: string[] = []
afterAll(() => {
  for (const child of running) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** The path of a module in `fixtures`, where `after-jobs` is this package. */
export function fixture(name: string): string {
  return join(ROOT, 'tests/cli/fixtures', name)
}

/** Writes modules that need nothing but themselves to a new folder, and answers its path. */
export function writeModules(modules: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'after-jobs-cli-'))
  folders.push(folder)
  for (const [name, text] of Object.entries(modules)) writeFileSync(join(folder, name), text)
  return folder
}

/** Runs the command `after-jobs` in a process of its own. */
export function startCommand(args: readonly string[], { cwd = ROOT, env = {} }: CommandOptions = {}): Command {
  const child = spawn(process.execPath, [...PROGRAM, ...args], {
    cwd,
    env: { ...process.env, NODE_DEBUG: '', TSX_TSCONFIG_PATH: join(ROOT, 'tsconfig.json'), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIME_LIMIT,
    killSignal: 'SIGKILL',
  })
  running.add(child)
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      running.delete(child)
      resolve({ code, ...output })
    })
  })
  const awaitOutput = (pattern: RegExp): Promise<RegExpMatchArray> => {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const match = output.stdout.match(pattern) ?? output.stderr.match(pattern)
        if (match) resolve(match)
      }
      for (const name of ['stdout', 'stderr'] as const) child[name].on('data', look)
      ended.then(() => reject(new Error(`It ended without ${pattern}:\n${output.stdout}${output.stderr}`)), reject)
      look()
    })
  }
  return {
    awaitOutput,
    ended,
    signal: (name) => void child.kill(name),
    stopReading: () => void child.stdout.destroy(),
  }
}

/** Runs the command to its end. */
export function runCommand(args: readonly string[], options?: CommandOptions): Promise<Outcome> {
  return startCommand(args, options).ended
}

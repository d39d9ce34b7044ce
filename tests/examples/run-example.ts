import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'

/** An example that has ended. */
export interface Outcome {
  /** `null` when it did not end by itself in time. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Example {
  /** Resolves with the first match in what the example prints; rejects when it ends without one. */
  awaitOutput(pattern: RegExp): Promise<RegExpMatchArray>
  readonly ended: Promise<Outcome>
}

/** What `npx tsx` runs; the package's own build stands behind its name. */
export const COMMAND = ['--tsconfig', 'examples/tsconfig.json']
const TSX = 'node_modules/tsx/dist/cli.mjs'
/** Many times what an example takes on an idle machine. */
const TIME_LIMIT = 100_000

/** Runs an example as its reader would, in a process of its own. */
export function startExample(name: string, ...args: string[]): Example {
  if (!existsSync('dist/index.js')) throw new Error('The examples run on dist/; run `npm run build` first.')
  const child = spawn(process.execPath, [TSX, ...COMMAND, `examples/${name}/main.ts`, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: TIME_LIMIT,
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, ...output }))
  })
  const awaitOutput = (pattern: RegExp): Promise<RegExpMatchArray> => {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const match = output.stdout.match(pattern)
        if (match) resolve(match)
      }
      child.stdout.on('data', look)
      ended.then(() => reject(new Error(`${name} ended without ${pattern}:\n${output.stdout}${output.stderr}`)), reject)
      look()
    })
  }
  return { awaitOutput, ended }
}

/** What a bar has shown, one entry for each line that it printed. */
export interface BarLine {
  readonly percent: number
  readonly step: string
}

/** Reads the lines of all bars out of what an example printed. */
export function readBars(stdout: string): BarLine[] {
  const lines = stdout.matchAll(/^[█░]{30} +(\d+) % {2}(.+)$/gm)
  return [...lines].map(([, percent, step = '']) => ({ percent: Number(percent), step }))
}

/** Tells whether a bar never went back. */
export function isMonotone(bar: readonly BarLine[]): boolean {
  return bar.every(({ percent }, index) => percent >= (bar[index - 1]?.percent ?? 0))
}

// What the benchmarks share: a process of its own for each variant, and figures that show their spread.
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** Whether a short form is asked for, which shows that the scripts work; its figures mean nothing. */
export const IS_QUICK: boolean = process.argv.includes('--quick')

/** The environment of a script of this folder: without the project's `paths`, so that `after-jobs` is the build, as its users have it. */
export const ENV: NodeJS.ProcessEnv = {
  ...process.env,
  TSX_TSCONFIG_PATH: fileURLToPath(new URL('../src/tsconfig.json', import.meta.url)),
}

/** Flags of a Node process that runs a script of this folder. */
export const TSX: readonly string[] = ['--import', 'tsx']

/** What one process measures, by the name that it gets on its command line. */
export type Variants<F> = Readonly<Record<string, (parameter: number) => Promise<F>>>

/** Runs what this process was started for: one variant of a benchmark, whose figures it prints, or else all of it. */
export async function runBenchmark<F>(variants: Variants<F>, main: () => Promise<void>): Promise<void> {
  const [flag, name = '', parameter] = process.argv.slice(2)
  if (flag !== '--variant') return main()
  const variant = variants[name]
  if (variant === undefined) throw new Error(`There is no variant '${name}'.`)
  const figures = JSON.stringify(await variant(Number(parameter)))
  // Connections that are still open keep no process.
  process.stdout.write(figures, () => process.exit(0))
}

/** Measures one variant of a script in a new process, and answers its figures. */
export async function measureVariant<F>(
  script: string,
  name: string,
  parameter = 0,
  nodeFlags: readonly string[] = [],
): Promise<F> {
  const own = ['--variant', name, String(parameter), ...(IS_QUICK ? ['--quick'] : [])]
  const { stdout } = await promisify(execFile)(process.execPath, [...nodeFlags, ...TSX, script, ...own], { env: ENV })
  return JSON.parse(stdout) as F
}

/** @throws Error when `after-jobs` leads to the sources, or to a build that is not there. */
export function checkBuild(): void {
  const file = import.meta.resolve('after-jobs')
  if (!file.endsWith('/dist/index.js')) throw new Error(`The benchmark would measure ${file}, not the build.`)
}

/** The value below which a part of the values lies; the median with 0.5. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN
}

/** The median, and between which values the middle half lies. */
export function show(values: readonly number[], digits: number): string {
  const [low, middle, high] = [0.25, 0.5, 0.75].map((part) => quantile(values, part).toFixed(digits))
  return `${middle} (${low}–${high})`
}

/** Divides each value by the one that was measured beside it. */
export function ratios(values: readonly number[], beside: readonly number[]): number[] {
  return values.map((value, index) => value / (beside[index] ?? Number.NaN))
}

/** Prints a table in Markdown: the first column holds names, the others figures. */
export function printTable(headings: readonly string[], rows: readonly (readonly string[])[]): void {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rule = `|${headings.map((_, index) => (index === 0 ? '---' : '--:')).join('|')}|`
  console.log([line(headings), rule, ...rows.map(line)].join('\n'))
}

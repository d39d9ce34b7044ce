import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** Milliseconds: many times what it takes on an idle machine. */
const TIME_LIMIT = 120_000

test(
  '500 streams of 10 jobs: each has its end, takes less than 20 kB, and the store does not notice how many there are',
  async () => {
    const command = ['--import', 'tsx', 'bench/streams.ts', '--quick']
    const env = { ...process.env, TSX_TSCONFIG_PATH: 'src/tsconfig.json' }
    const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: TIME_LIMIT, env })
    const [headings = [], , ...rows] = stdout
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .map((line) => line.split('|').map((cell) => cell.trim()))
    const ours = rows.find((cells) => cells[1] === 'createNodeHandler') ?? []
    const read = (heading: string): number => Number.parseFloat(ours[headings.indexOf(heading)] ?? '')
    expect(read('streams with their end')).toBe(1)
    expect(read('bytes per stream')).toBeGreaterThan(0)
    expect(read('bytes per stream')).toBeLessThan(20_000)
    // A timer may be early by a part of a millisecond, and the last interval cut.
    expect(read('reads per token and interval')).toBeLessThan(1.1)
  },
  TIME_LIMIT,
)

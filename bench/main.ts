/**
 * Runs every benchmark on the build, one after the other, and prints their tables in Markdown: `npm run bench`. Each table
 * has the raw side beside ours. `-- redis.ts http.ts` runs only these; `-- --quick` takes a minute or two on an idle machine
 * and only shows that the scripts work.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { ENV, IS_QUICK, TSX } from './rounds'

const BENCHMARKS: Readonly<Record<string, string>> = {
  'Throughput of jobs that do nothing': 'throughput.ts',
  'Progress ticks': 'ticks.ts',
  'Memory of ended jobs': 'memory.ts',
  'Statuses over HTTP': 'http.ts',
  'Streams over HTTP': 'streams.ts',
  'Jobs in Redis': 'redis.ts',
  'Jobs in PostgreSQL': 'postgres.ts',
  'Statuses in PostgreSQL': 'postgres-cache.ts',
  Scaling: 'scaling.ts',
  'Beside other libraries': 'peers.ts',
}

const wanted = process.argv.slice(2).filter((argument) => argument.endsWith('.ts'))

console.log(`# Benchmarks${IS_QUICK ? ', short form: the figures mean nothing' : ''}\n`)
console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, ${loadOf()}`)
for (const [title, script] of Object.entries(BENCHMARKS)) {
  if (wanted.length > 0 && !wanted.includes(script)) continue
  console.log(`\n## ${title}\n`)
  await run(script)
}
console.log(`\nAt the end: ${loadOf()}`)

async function run(script: string): Promise<void> {
  const file = fileURLToPath(new URL(script, import.meta.url))
  const own = IS_QUICK ? ['--quick'] : []
  const child = spawn(process.execPath, [...TSX, file, ...own], { env: ENV, stdio: ['ignore', 'inherit', 'inherit'] })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${script} ended with ${code}.`)
}

function loadOf(): string {
  return `load ${loadavg()[0]?.toFixed(1)}`
}

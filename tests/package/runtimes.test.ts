import { spawnSync } from 'node:child_process'
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, inject, test } from 'vitest'
import { runtimes } from './toolchain'

const SAMPLES = 'tests/package/consumer'
const consumer = inject('consumer')

// Both runtimes take TypeScript as it is.
beforeAll(() => {
  copyFileSync(join(SAMPLES, 'run.ts'), join(consumer, 'elsewhere.mts'))
  copyFileSync(join(SAMPLES, 'own-server.mts'), join(consumer, 'own-server.mts'))
})

test.for(runtimes)('a first job runs on $name, and is served over HTTP', (runtime) => {
  expect(run(runtime, 'elsewhere.mts')).toMatchObject([
    { status: 'done', progress: 100, label: 'Side Street', result: { id: 1 } },
    { status: 'done', progress: 100, label: 'Side Street', result: { id: 1 } },
    { status: 'done', progress: 100, label: null, result: null },
  ])
})

// Whose token it is, where no connection passes through Node's channel; and a stream that is silent for 14 s, which Bun
// gives up after 10 s where nothing shows that it lives.
test.for(runtimes)("$name's own server gives each caller its own token, and keeps a silent stream", (runtime) => {
  const results = Array.from({ length: 20 }, (_, id) => ({ id }))
  expect(run(runtime, 'own-server.mts')).toEqual({ guessed: 'NO_SCOPE', results, silent: 'done' })
})

function run({ name, runtime, flags }: (typeof runtimes)[number], script: string): unknown {
  // Deno keeps what it has compiled, and asks for newer versions of itself.
  const env = { ...process.env, DENO_DIR: join(consumer, '.deno'), DENO_NO_UPDATE_CHECK: '1' }
  const options = { cwd: consumer, encoding: 'utf8', timeout: 60_000, env } as const
  const { status, stdout, stderr, error } = spawnSync(runtime, [...flags, script], options)
  if (error) throw error
  if (status !== 0) throw new Error(stderr || `${name} ended with ${status}`)
  return JSON.parse(stdout)
}

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, inject, test } from 'vitest'
import { nodes } from './toolchain'

const consumer = inject('consumer')
const PEERS = [
  'bullmq',
  'ioredis',
  '@keyv/redis',
  'keyv',
  'redis',
  'pg',
  'pg-boss',
  '@electric-sql/pglite',
  'drizzle-orm',
]
const INSTALL = expect.stringContaining('npm install bullmq ioredis @keyv/redis keyv')

/** Uses both adapters, each by itself and in a runtime, and prints how that failed. */
const USE = `
  const url = 'redis://localhost:6379'
  const token = '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10'
  const jobs = createAfterJobs({ queue: redisQueue(url), cache: redisCache(url) })
  const service = attachAfterJobs({ afterCreateJob() {} }, { jobs, name: 'city' })
  const uses = [
    redisQueue(url).find(token),
    redisCache(url).read(token),
    service.executeJob('after', 'create', 1),
    jobs.runNext(),
  ]
  Promise.allSettled(uses).then(async (results) => {
    await jobs.close()
    console.log(JSON.stringify(results.map(({ reason }) => ({ code: reason?.code, message: reason?.message }))))
  })`

const LOADS = {
  import: `
    import { attachAfterJobs, createAfterJobs } from 'after-jobs'
    import { redisCache, redisQueue } from 'after-jobs/redis'`,
  require: `
    const { attachAfterJobs, createAfterJobs } = require('after-jobs')
    const { redisCache, redisQueue } = require('after-jobs/redis')`,
} as const

test('the project of the tests has none of the peers', () => {
  expect(PEERS.filter((name) => existsSync(join(consumer, 'node_modules', name)))).toEqual([])
})

test.for(nodes.flatMap((node) => (['import', 'require'] as const).map((how) => ({ ...node, how }))))(
  'by $how on Node $version, after-jobs/redis loads without its peers, and says what to install when it needs them',
  ({ node, how }) => {
    const type = how === 'import' ? ['--input-type=module'] : ['--input-type=commonjs']
    const failures = run(node, ...type, '-e', LOADS[how] + USE)
    const names = ['bullmq', '@keyv/redis', 'bullmq', 'bullmq']
    expect(failures).toEqual(names.map(() => ({ code: 'MISSING_PACKAGE', message: INSTALL })))
    for (const [index, { message }] of failures.entries()) expect(message).toContain(`the package ${names[index]},`)
  },
)

/** Uses queue and cache of each kind, and prints how that failed. */
const USE_POSTGRES = `
  const url = 'postgres://localhost:5432/app'
  const token = '6f1c1f5a-94b6-4a6c-8f0e-0f6a3f8f7f10'
  const uses = [
    postgresQueue(url).find(token),
    postgresCache(url).read(token),
    postgresQueue({ pglite: 'after-jobs-data' }).find(token),
    postgresCache({ pglite: 'after-jobs-data' }).read(token),
  ]
  Promise.allSettled(uses).then((results) => {
    console.log(JSON.stringify(results.map(({ reason }) => ({ code: reason?.code, message: reason?.message }))))
  })`

const LOADS_POSTGRES = {
  import: "import { postgresCache, postgresQueue } from 'after-jobs/postgres'",
  require: "const { postgresCache, postgresQueue } = require('after-jobs/postgres')",
} as const

test.for(nodes.flatMap((node) => (['import', 'require'] as const).map((how) => ({ ...node, how }))))(
  'by $how on Node $version, after-jobs/postgres loads without its peers, and says what to install when it needs them',
  ({ node, how }) => {
    const type = how === 'import' ? ['--input-type=module'] : ['--input-type=commonjs']
    const failures = run(node, ...type, '-e', LOADS_POSTGRES[how] + USE_POSTGRES)
    const names = ['pg-boss', 'pg', '@electric-sql/pglite', '@electric-sql/pglite']
    for (const [index, { code, message }] of failures.entries()) {
      expect(code).toBe('MISSING_PACKAGE')
      expect(message).toContain(`the package ${names[index]}, which is not installed. Run: npm install`)
    }
    expect(failures).toHaveLength(names.length)
  },
)

test.for(['after-jobs', 'after-jobs/http', 'after-jobs/testing', 'after-jobs/redis', 'after-jobs/postgres'])(
  'importing %s does not so much as look for a peer',
  (entry) => {
    const spy = `export const resolve = (name, context, next) => { console.log(name); return next(name, context) }`
    const script = `
      import { register } from 'node:module'
      register('data:text/javascript,${encodeURIComponent(spy)}')
      await import('${entry}')`
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], inConsumer())
    expect(status).toBe(0)
    const names = stdout.trim().split('\n')
    expect(names).toContain(entry)
    expect(names.filter((name) => PEERS.includes(name))).toEqual([])
  },
)

function inConsumer() {
  return { cwd: consumer, encoding: 'utf8', timeout: 60_000 } as const
}

function run(node: string, ...args: string[]): { code: string; message: string }[] {
  const { status, stdout, stderr } = spawnSync(node, args, inConsumer())
  if (status !== 0) throw new Error(stderr || `It ended with ${status}`)
  return JSON.parse(stdout)
}

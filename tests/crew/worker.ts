// A worker as its user would write it, in a process of its own. What it logs goes to its parent.
import type { Logger } from 'after-jobs'
import { ERRANDS, makeErrands, Playground } from './errands'
import { makeRuntime, type Setting } from './runtime'
import type { WorkerLine } from './worker-process'

/** What a worker is told on its command line. */
export interface WorkerSetting extends Setting {
  readonly folder: string
  readonly concurrency: number
}

const setting = JSON.parse(process.argv[2] ?? '') as WorkerSetting

const send = (level: keyof Logger) => (fields: object, message: string) => {
  const { err } = fields as { err?: unknown }
  const line: WorkerLine = { at: Date.now(), level, message, ...(err !== undefined && { error: String(err) }) }
  if (process.connected) process.send?.(line)
}

const logger: Logger = { debug: () => {}, info: send('info'), warn: send('warn'), error: send('error') }
const jobs = makeRuntime(setting, logger)
const errands = makeErrands(jobs, new Playground(setting.folder))
jobs.register(ERRANDS, () => errands)
jobs.work({ concurrency: setting.concurrency })
send('info')({}, 'worker ready')

process.once('SIGTERM', () => {
  void jobs.close({ grace: 1_000 }).then(() => process.disconnect())
})
// A test that has died leaves no worker behind.
process.once('disconnect', () => process.exit())

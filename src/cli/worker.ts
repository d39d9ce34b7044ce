import { setTimeout as pause } from 'node:timers/promises'
import { isatty } from 'node:tty'
import type { AfterJobs } from '../core/runtime'
import { CommandError, describeThrown } from './command-error'
import type { WorkCommand } from './command-line'
import { JobLog } from './job-log'
import { printLine } from './output'
import { loadRuntime } from './runtime-module'
import { listenForSignals } from './signals'

/** How long queue and cache may take to answer at the start, in milliseconds. */
const START_LIMIT = 5_000
const START_PAUSE = 250
/** What closing may take beyond the grace, in milliseconds; a runtime needs half of it to hand back what is deaf. */
const CLOSE_LIMIT = 10_000
const DAY = 86_400_000

/**
 * Runs the jobs of a module's runtime until it is time to end, and closes the runtime.
 *
 * @throws CommandError when the module, its runtime, the queue or the cache is missing, or when closing fails.
 */
export async function work(command: WorkCommand): Promise<void> {
  const { module, concurrency, grace } = command
  const jobs = await loadRuntime(module)
  await awaitBackends(jobs, module)
  const stop = listenForSignals(process, isatty(0))
  stop.addEventListener('abort', () => printLine(`${stop.reason}: closing; running jobs have ${grace / 1_000} s`))
  // Neither a queue in memory nor a listener for signals keeps a process alive; whoever called this ends it.
  setInterval(() => {}, DAY)
  const log = new JobLog(jobs)
  printLine(`worker ready: ${module}, concurrency ${concurrency}`)
  try {
    await runJobs(jobs, command, stop)
  } finally {
    await close(jobs, grace).finally(() => log.close())
  }
  printLine('worker closed')
}

async function awaitBackends(jobs: AfterJobs, module: string): Promise<void> {
  const end = Date.now() + START_LIMIT
  for (;;) {
    const health = await settleWithin(jobs.health(), end - Date.now())
    const down = (['queue', 'cache'] as const).filter((part) => health?.[part] !== 'up')
    if (down.length === 0) return
    if (Date.now() + START_PAUSE >= end) {
      const names = down.map((part) => `the ${part}`).join(' and ')
      const advice = `Check what should answer there, and its address in ${module}.`
      throw new CommandError(1, `${names} gave no answer within ${START_LIMIT / 1_000} s. ${advice}`)
    }
    await pause(START_PAUSE)
  }
}

async function runJobs(jobs: AfterJobs, { until, concurrency }: WorkCommand, stop: AbortSignal): Promise<void> {
  const stopped = new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve()))
  if (until === 'one job') {
    const hasRun = await Promise.race([jobs.runNext(), stopped])
    if (hasRun === false) printLine('no job is due')
    return
  }
  jobs.work({ concurrency })
  await (until === 'empty' ? Promise.race([jobs.drain({ signal: stop }), stopped]) : stopped)
}

async function close(jobs: AfterJobs, grace: number): Promise<void> {
  const limit = grace + CLOSE_LIMIT
  const closing = jobs.close({ grace }).then(() => true)
  const isClosed = await settleWithin(closing, limit).catch((cause) => {
    throw new CommandError(1, `the runtime could not be closed: ${describeThrown(cause)}`, { cause })
  })
  if (!isClosed) throw new CommandError(1, `the runtime did not close within ${limit / 1_000} s`)
}

/** Settles as the promise does, or resolves to `undefined` when its time is up. */
async function settleWithin<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const timer = new AbortController()
  const timeUp = pause(ms, undefined, { signal: timer.signal }).catch(() => undefined)
  return Promise.race([promise, timeUp]).finally(() => timer.abort())
}

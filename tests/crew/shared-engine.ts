import type { AfterJobsOptions, JobQueue } from 'after-jobs'
import { describe, type TestContext, type TestOptions, test, vi } from 'vitest'
import type { Bench, Hooks } from '../engine/support/runtime'
import { Crew } from './crew'
import type { Setting } from './runtime'

/** What a helper needs of a test that runs beside others, in order to clean up after it. */
export type Finisher = Pick<TestContext, 'onTestFinished'>

/** What a neighbour may be told; an engine leaves out what it does not know. */
export interface NeighbourOptions extends AfterJobsOptions {
  stalledInterval?: number
  pollInterval?: number
}

/** Runtimes of this process that share their jobs and statuses, as those of several processes do. */
export interface Neighbours {
  /** Makes a queue like theirs. */
  makeQueue(): JobQueue
  /** Adds a runtime whose service `bench` has these hooks; it is closed with the test. */
  add(hooks: Hooks, options?: NeighbourOptions): Bench
}

/** An engine that processes share, as the suites see it that hold for each of them. */
export interface SharedEngine {
  readonly name: string
  describe(name: string, options: TestOptions, body: () => void): void
  /** Gives the suite that calls it a server. */
  use(): SharedPlace
}

/** A server, and what can be done on it. */
export interface SharedPlace {
  readonly url: string
  /** Begins a neighbourhood that lasts as long as the test. */
  openNeighbours(context: Finisher): Neighbours
  /** Makes a queue at a URL, with the defaults of its engine. */
  makeQueue(url: string): JobQueue
  /** Cuts the connection on which a worker hears announcements, and resolves when it hears again. */
  cutAnnouncements(context: Finisher, neighbours: Neighbours): Promise<void>
}

/** Describes what needs a server. The one rule for its absence: left out with the reason on a laptop, in CI a failure. */
export function describeUnless(
  lack: { what: string; cure: string } | undefined,
  name: string,
  options: TestOptions,
  body: () => void,
): void {
  if (lack === undefined) return void describe(name, options, body)
  if (!process.env.CI) {
    console.warn(`Skipped, because ${lack.what}: ${name}`)
    return void describe.skipIf(true)(name, body)
  }
  describe(name, () => {
    test('its server is there', () => {
      throw new Error(`${lack.what}. In CI nothing may be left out: ${lack.cure}.`)
    })
  })
}

/** Gathers a crew that lasts as long as the test. */
export function openCrew({ onTestFinished }: Finisher, setting: Omit<Setting, 'prefix'>): Crew {
  const crew = new Crew(setting)
  onTestFinished(() => crew.close())
  return crew
}

/** Repeats a check until it holds, for as long as a busy machine may need. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 15_000, interval: 20 })
}

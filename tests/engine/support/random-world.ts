import {
  type AfterJobsError,
  JobError,
  type JobOptions,
  memoryCache,
  memoryQueue,
  type ProgressReporter,
} from 'after-jobs'
import fc from 'fast-check'
import { type Bench, type Gate, makeBench, makeGate, turns } from './runtime'
import { distantCache } from './spies'

const BODIES = [
  'succeeds',
  'ticks',
  'fails',
  'meant',
  'error',
  'fails once',
  'hangs',
  'listens',
  'throws nothing',
] as const
type Body = (typeof BODIES)[number]

type Command =
  | { do: 'start'; body: Body; count: number; options: JobOptions }
  | { do: 'start many'; body: Body; count: number }
  | { do: 'cancel'; which: number }
  | { do: 'run next' }
  | { do: 'work'; concurrency: number }
  | { do: 'close worker'; which: number; grace: number }
  | { do: 'turn'; count: number }
  | { do: 'release' }

export interface Script {
  commands: Command[]
  maxWaiting: number
  isDistant: boolean
  /** Whether the runtime is closed in the end, instead of drained. */
  isClosed: boolean
}

const options = fc.record(
  {
    attempts: fc.integer({ min: 1, max: 3 }),
    delay: fc.constantFrom(0, 1, 3),
    priority: fc.integer({ min: -2, max: 2 }),
    timeout: fc.constantFrom(1, 2, 60_000),
    backoff: fc.record({ type: fc.constantFrom('fixed', 'exponential'), delay: fc.constantFrom(0, 1) }),
    dedupe: fc.constantFrom('a', 'b'),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<JobOptions>

const body = fc.constantFrom(...BODIES)
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('start'), body, count: fc.integer({ min: 1, max: 6 }), options }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('start many'), body, count: fc.nat(30) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('cancel'), which: fc.nat(100) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('run next') }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('work'), concurrency: fc.integer({ min: 1, max: 4 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('close worker'), which: fc.nat(10), grace: fc.constantFrom(0, 10_000) },
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('turn'), count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release') }) },
) as fc.Arbitrary<Command>

export const scripts: fc.Arbitrary<Script> = fc.record({
  commands: fc.array(command, { minLength: 10, maxLength: 40, size: 'max' }),
  maxWaiting: fc.constantFrom(10, 1_000, 1_000),
  isDistant: fc.boolean(),
  isClosed: fc.boolean(),
})

/** A runtime on which a script is played, and what can be counted from outside. */
export class World {
  readonly bench: Bench
  readonly accepted: string[] = []
  readonly refused: AfterJobsError[] = []
  readonly cancelled = new Set<string>()
  readonly failures = new Map<string, number>()
  /** How often each hook was started. */
  readonly starts = new Map<string, number>()
  /** Whether more hooks ran at once than workers and `runNext` allow. */
  hasExceeded = false
  #running = 0
  #allowed = 0
  #gate: Gate = makeGate()
  readonly #workers: { close(grace: number): Promise<void> }[] = []
  readonly #pending: Promise<unknown>[] = []

  constructor({ maxWaiting, isDistant }: Script) {
    const cache = isDistant ? distantCache() : memoryCache()
    const queue = memoryQueue({ autoStart: false, maxWaiting })
    this.bench = makeBench(
      {
        afterCreateJob: (id, token, progress, { attempt }) => this.#live(String(id) as Body, token, progress, attempt),
        afterCreateJobFailed: (_id, token) => {
          this.failures.set(token, (this.failures.get(token) ?? 0) + 1)
        },
      },
      { cache, queue },
    )
  }

  async play({ commands, isClosed }: Script): Promise<void> {
    for (const command of commands) await this.#perform(command)
    if (isClosed) this.#pending.push(this.bench.jobs.close({ grace: 0 }))
    else this.#work(3)
    await turns(2)
    this.#release()
    await Promise.all(this.#pending)
    if (!isClosed) await this.bench.jobs.drain({ signal: AbortSignal.timeout(8_000) })
    await Promise.all(this.#workers.map((worker) => worker.close(0)))
    await turns(5)
  }

  async #perform(command: Command): Promise<void> {
    if (command.do === 'start') this.#start(command.body, command.count, command.options)
    if (command.do === 'start many') this.#startMany(command.body, command.count)
    if (command.do === 'cancel') this.#cancel(command.which)
    if (command.do === 'run next') this.#runNext()
    if (command.do === 'work') this.#work(command.concurrency)
    if (command.do === 'close worker') this.#closeWorker(command.which, command.grace)
    if (command.do === 'turn') await turns(command.count)
    if (command.do === 'release') this.#release()
  }

  #start(body: Body, count: number, options: JobOptions): void {
    for (let job = 0; job < count; job++) this.#accept(this.bench.start(body, options).then((token) => [token]))
  }

  #startMany(body: Body, count: number): void {
    const subjects = Array.from({ length: count }, () => body)
    this.#accept(this.bench.service.executeJobs('after', 'create', subjects))
  }

  #accept(starting: Promise<string[]>): void {
    this.#pending.push(
      starting.then(
        (tokens) => this.accepted.push(...tokens),
        (error) => this.refused.push(error),
      ),
    )
  }

  #cancel(which: number): void {
    const token = this.accepted[which % Math.max(1, this.accepted.length)]
    if (token === undefined) return
    const cancelling = this.bench.jobs.cancel(token)
    this.#pending.push(cancelling.then((isCancelled) => isCancelled && this.#noteCancelled(token)))
  }

  #noteCancelled(token: string): void {
    if (this.cancelled.has(token)) throw new Error('Two calls of cancel() ended the same job')
    this.cancelled.add(token)
  }

  #runNext(): void {
    this.#allowed++
    const running = this.bench.jobs.runNext()
    this.#pending.push(running.finally(() => this.#allowed--))
  }

  #work(concurrency: number): void {
    this.#allowed += concurrency
    const worker = this.bench.jobs.work({ concurrency })
    let isClosed = false
    this.#workers.push({
      close: async (grace) => {
        await worker.close({ grace })
        if (!isClosed) this.#allowed -= concurrency
        isClosed = true
      },
    })
  }

  #closeWorker(which: number, grace: number): void {
    const worker = this.#workers[which % Math.max(1, this.#workers.length)]
    if (worker !== undefined) this.#pending.push(worker.close(grace))
  }

  #release(): void {
    this.#gate.open()
    this.#gate = makeGate()
    // What begins to hang later must end, too, when the script is over.
    if (this.#pending.length > 0) setImmediate(() => this.#gate.open())
  }

  async #live(body: Body, token: string, progress: ProgressReporter, attempt: number) {
    this.starts.set(token, (this.starts.get(token) ?? 0) + 1)
    // A hook that does not listen may go on after its job was handed back, and then belongs to no worker.
    const counted = body === 'hangs' ? 0 : 1
    this.#running += counted
    if (this.#running > this.#allowed) this.hasExceeded = true
    try {
      return await runBody(body, progress, attempt, this.#gate.opened)
    } finally {
      this.#running -= counted
    }
  }
}

async function runBody(body: Body, progress: ProgressReporter, attempt: number, gate: Promise<void>) {
  switch (body) {
    case 'fails':
      throw new Error('fails')
    case 'fails once':
      if (attempt === 1) throw new Error('fails once')
      return
    case 'meant':
      throw new JobError('meant')
    case 'error':
      return 'error'
    case 'throws nothing':
      throw undefined
    case 'ticks':
      for await (const _ of progress.each([1, 2, 3])) await turns(1)
      return { result: 3 }
    case 'hangs':
      return gate
    case 'listens':
      for (let turn = 0; turn < 20 && !progress.signal.aborted; turn++) await turns(1)
      return progress.signal.throwIfAborted()
    default:
  }
}

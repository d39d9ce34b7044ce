import { setTimeout as pause } from 'node:timers/promises'
import { placeOrders } from './chaos-orders'
import { type ChaosReport, count, findFaults, settle } from './chaos-verdict'
import { Crew } from './crew'
import { Dice } from './dice'
import type { WorkerProcess } from './worker-process'

/** The server that jobs and records are kept by, which dies meanwhile. It loses nothing that it has answered for. */
export interface ChaosServer {
  readonly name: string
  readonly url: string
  /** Ends it without a last word. */
  kill(): Promise<void>
  restart(): Promise<void>
  /** Lets it answer nothing, with its connections open. */
  freeze(): void
  thaw(): void
  close(): Promise<void>
}

/** Sees the records as they are written, and shares no code with those who write them. */
export interface Witness {
  readonly faults: readonly string[]
  readonly writes: number
  /** Looks at every record there is. */
  look(): Promise<void>
  close(): Promise<void>
}

/** What the chaos is made on. */
export interface ChaosPlace {
  start(): Promise<ChaosServer>
  watch(server: ChaosServer, prefix: string): Witness | Promise<Witness>
}

/** What is done to the server, in milliseconds from the beginning and for how long. */
interface Blow {
  readonly at: number
  readonly type: 'kill' | 'freeze'
  readonly lasts: number
}

/** How much chaos there is. */
export interface ChaosForm {
  readonly jobs: number
  /** So many of them kill each worker that runs them. */
  readonly deadly: number
  readonly workers: number
  readonly concurrency: number
  /** How long workers are killed, in milliseconds, and the shortest and longest pause between two of them. */
  readonly lasts: number
  readonly killPause: readonly [number, number]
  readonly blows: readonly Blow[]
}

/** What is promised of many processes, put to the test. */
export const LONG_FORM: ChaosForm = {
  jobs: 2_000,
  deadly: 3,
  workers: 4,
  concurrency: 8,
  lasts: 65_000,
  killPause: [2_000, 4_000],
  blows: [
    { at: 15_000, type: 'kill', lasts: 1_000 },
    { at: 30_000, type: 'freeze', lasts: 5_000 },
    { at: 48_000, type: 'kill', lasts: 5_000 },
  ],
}

/** The same in small. */
export const SHORT_FORM: ChaosForm = {
  jobs: 200,
  deadly: 1,
  workers: 2,
  concurrency: 8,
  lasts: 9_000,
  killPause: [1_500, 2_500],
  blows: [
    { at: 3_000, type: 'kill', lasts: 300 },
    { at: 6_000, type: 'freeze', lasts: 1_000 },
  ],
}

const LOCKS = { lockDuration: 3_000, stalledInterval: 1_000, enqueueTimeout: 2_000 }

/** Lets workers and their server die while jobs are started and run, and judges what became of each job. */
export async function runChaos(
  place: ChaosPlace,
  form: ChaosForm,
  seed: number,
  say: (line: string) => void,
): Promise<ChaosReport> {
  const begin = Date.now()
  const server = await place.start()
  const crew = new Crew({ url: server.url, ...LOCKS })
  const witness = await place.watch(server, crew.setting.prefix)
  const staff = new Staff(crew, form)
  try {
    const dice = new Dice(seed)
    const placing = placeOrders(crew, dice, form.jobs, form.deadly, 0.8 * form.lasts)
    await Promise.all([strike(server, form.blows, say), staff.dwindle(new Dice(seed + 1), say)])
    const orders = await placing
    say(`${orders.accepted.size} jobs accepted, ${orders.refused.length} refused; waiting for their ends`)
    const statuses = await settle(crew, orders)
    await witness.look()
    return {
      ...count(crew, orders, statuses),
      faults: [...(await findFaults(crew, orders, statuses)), ...witness.faults],
      deaths: staff.deaths,
      writes: witness.writes,
      seconds: (Date.now() - begin) / 1_000,
    }
  } finally {
    staff.dismiss()
    await witness.close()
    await crew.close()
    await server.close()
  }
}

/** The workers, each of which is replaced when it dies. */
class Staff {
  deaths = 0
  readonly #crew: Crew
  readonly #form: ChaosForm
  #isDismissed = false

  constructor(crew: Crew, form: ChaosForm) {
    this.#crew = crew
    this.#form = form
    for (let index = 0; index < form.workers; index++) this.#hire()
  }

  /** Kills one worker after the other, as long as the chaos lasts. */
  async dwindle(dice: Dice, say: (line: string) => void): Promise<void> {
    const end = Date.now() + this.#form.lasts
    while (Date.now() < end) {
      await pause(dice.between(...this.#form.killPause))
      const victim = dice.pick(this.#crew.workers.filter(({ isAlive }) => isAlive))
      if (victim === undefined) continue
      say(`worker ${victim.pid} killed`)
      await victim.kill()
    }
  }

  dismiss(): void {
    this.#isDismissed = true
  }

  #hire(): void {
    const worker: WorkerProcess = this.#crew.launchWorker(this.#form.concurrency)
    void worker.exited().then(() => {
      if (this.#isDismissed) return
      this.deaths++
      this.#hire()
    })
  }
}

/** Does to the server what is to be done to it. */
async function strike(server: ChaosServer, blows: readonly Blow[], say: (line: string) => void): Promise<void> {
  const begin = Date.now()
  for (const { at, type, lasts } of blows) {
    await pause(begin + at - Date.now())
    say(`${server.name} ${type === 'kill' ? 'killed' : 'frozen'} for ${lasts} ms`)
    if (type === 'kill') await server.kill()
    else server.freeze()
    await pause(lasts)
    if (type === 'kill') await server.restart()
    else server.thaw()
  }
}

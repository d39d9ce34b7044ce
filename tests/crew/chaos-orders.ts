import { setTimeout as pause } from 'node:timers/promises'
import { AfterJobsError, type JobOptions } from 'after-jobs'
import type { Crew } from './crew'
import type { Dice } from './dice'
import type { Step } from './errands'

/** What a job of the chaos run is, and so how it may end. */
export type Kind = 'works' | 'is delayed' | 'fails at first' | 'fails always' | 'refuses' | 'kills its worker'

/** One of these is drawn. The deadly ones are not among them: they are counted, because each costs three workers. */
const DRAWN: readonly Kind[] = [
  ...Array.from<Kind>({ length: 14 }).fill('works'),
  ...(['is delayed', 'is delayed', 'fails at first', 'fails at first', 'fails always', 'refuses'] as const),
]
/** One order in so many is one for many jobs. */
const BULK_RATE = 40
const BULK_SIZE = 10

/** A job that was not accepted, or of which nobody could tell. */
interface Refusal {
  readonly token: string
  readonly isUncertain: boolean
}

/** What was ordered, and what was said of it. */
export interface Orders {
  readonly accepted: Map<string, Kind>
  readonly refused: Refusal[]
  /** What `executeJob` must not throw. */
  readonly faults: string[]
}

/** Starts jobs at a steady pace until so many were accepted. */
export async function placeOrders(crew: Crew, dice: Dice, count: number, deadly: number, ms: number): Promise<Orders> {
  const orders: Orders = { accepted: new Map(), refused: [], faults: [] }
  const open: Promise<void>[] = []
  for (let index = 0; orders.accepted.size < count; index++) {
    const isDeadly = index < deadly
    const size = !isDeadly && dice.between(1, BULK_RATE) === 1 ? BULK_SIZE : 1
    open.push(place(crew, orders, isDeadly ? 'kills its worker' : (dice.pick(DRAWN) as Kind), dice, size))
    await pause((size * ms) / count)
  }
  await Promise.all(open)
  return orders
}

async function place(crew: Crew, orders: Orders, kind: Kind, dice: Dice, size: number): Promise<void> {
  const { steps, ...options } = describe(kind, dice)
  try {
    const tokens = size === 1 ? [await crew.start(steps, options)] : await crew.startMany(steps, size, options)
    for (const token of tokens) orders.accepted.set(token, kind)
  } catch (error) {
    if (!AfterJobsError.is(error) || error.code !== 'ENQUEUE_FAILED') return void orders.faults.push(String(error))
    const { token, accepted } = error
    for (const half of Array.isArray(accepted) ? accepted : []) orders.accepted.set(half, kind)
    if (token !== undefined) orders.refused.push({ token, isUncertain: accepted === 'unknown' })
  }
}

function describe(kind: Kind, dice: Dice): JobOptions & { steps: Step[] } {
  const work: Step = { do: 'tick', count: dice.between(2, 8), ms: dice.between(20, 90) }
  switch (kind) {
    case 'works':
      return { steps: [work] }
    case 'is delayed':
      return { steps: [work], delay: dice.between(500, 3_000) }
    case 'fails at first':
      return { steps: [work, { do: 'throw', message: 'at first', attempts: dice.between(1, 2) }], attempts: 3 }
    case 'fails always':
      return { steps: [work, { do: 'throw', message: 'always' }], attempts: 2, backoff: { type: 'fixed', delay: 100 } }
    case 'refuses':
      return { steps: [work, { do: 'refuse', message: 'no' }] }
    case 'kills its worker':
      return { steps: [work, { do: 'die' }] }
    default:
      return kind satisfies never
  }
}

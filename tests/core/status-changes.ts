import fc from 'fast-check'
import type { JsonValue } from '../../src/core/json'
import { JOB_ERROR_CODES, type JobBirth, type JobChange, type JobOutcome } from '../../src/core/status'

const NOON = 1_700_000_000_000
const WRITERS = 3

/** A change as some writer would make it; which run it speaks for is known only in its place in a sequence. */
interface Step {
  writer: number
  type: JobChange['type']
  at: number
  isSameClaim: boolean
  hasRun: boolean
  progress: number
  label: string | null
  attempt: number
  delay: number
  outcome: JobOutcome
  hasLast: boolean
}

// Clocks differ, so that times go back and forth.
const time = fc.integer({ min: NOON, max: NOON + 60_000 })
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.string({ unit: 'binary', maxLength: 700 }),
  fc.string({ unit: fc.constantFrom('a', '\0', '\u001f', '\u007f', '\u0085', '\u2028'), maxLength: 40 }),
  fc.string({ unit: fc.constantFrom('a', '\n', '👩‍🚀', '\u202e'), minLength: 480, maxLength: 1_200 }),
)
// What a hook returned has been JSON once before it gets here, so there is no -0.
const jsonResult = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)) as JsonValue)
const outcome: fc.Arbitrary<JobOutcome> = fc.oneof(
  fc.record({ status: fc.constant('done' as const), result: jsonResult }),
  fc.record({ status: fc.constant('error' as const), code: fc.constantFrom(...JOB_ERROR_CODES), message: text }),
)
const step: fc.Arbitrary<Step> = fc.record({
  writer: fc.nat({ max: WRITERS - 1 }),
  // An end is rare, because nothing follows it.
  type: fc.constantFrom<JobChange['type'][]>(
    'queued',
    'held',
    ...many('started', 3),
    ...many('progressed', 8),
    'returned',
    'lost',
    'finished',
  ),
  at: time,
  isSameClaim: fc.boolean(),
  hasRun: fc.boolean(),
  progress: fc.oneof(
    fc.double({ min: -10, max: 110 }),
    fc.constantFrom(99.9, 100, Number.NaN, Number.POSITIVE_INFINITY),
  ),
  label: fc.option(text),
  attempt: fc.integer({ min: 1, max: 5 }),
  delay: fc.constantFrom(0, 1_000),
  outcome,
  hasLast: fc.boolean(),
})

/** Makes the changes of several writers to one token, in the order in which they happen. */
export const changes: fc.Arbitrary<JobChange[]> = fc.array(step, { maxLength: 25 }).map(toChanges)

/** Makes what each of several writers does, one list per writer. */
export const changesByWriter: fc.Arbitrary<JobChange[][]> = fc.array(step, { maxLength: 25 }).map((steps) => {
  const all = toChanges(steps)
  return Array.from({ length: WRITERS }, (_, writer) => all.filter((_, index) => steps[index]?.writer === writer))
})

function toChanges(steps: readonly Step[]): JobChange[] {
  const claims = new Map<number, number>()
  return steps.map((step) => {
    const claim = claims.get(step.writer) ?? 1
    if (step.type === 'started' && !step.isSameClaim) claims.set(step.writer, claim + 1)
    return toChange(step, 100 * (step.writer + 1) + (claims.get(step.writer) ?? 1))
  })
}

function toChange({ type, at, ...step }: Step, runId: number): JobChange {
  const birth: JobBirth = { attempts: 3, parent: null, context: { user: 7 }, createdAt: NOON, delay: step.delay }
  const last = { progress: step.progress, label: step.label }
  switch (type) {
    case 'queued':
      return { type, at, birth }
    case 'held':
      return { type, at }
    case 'started':
      return { type, at, runId, attempt: step.attempt, birth }
    case 'progressed':
      return { type, at, runId, ...last }
    case 'returned':
      return { type, at, runId, dueAt: at + step.delay }
    case 'lost':
      return { type, at, runId }
    case 'finished':
      return {
        ...{ type, at, outcome: step.outcome, birth },
        ...(step.hasRun && { runId }),
        ...(step.hasLast && { last: { ...last, attempt: step.attempt, startedAt: at } }),
      }
    default:
      return type satisfies never
  }
}

function many(value: JobChange['type'], count: number): JobChange['type'][] {
  return Array.from({ length: count }, () => value)
}

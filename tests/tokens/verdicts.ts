/** How a request's scope is opened, if at all. */
export const OPENINGS = ['middleware', 'scope', 'none'] as const
export type Opening = (typeof OPENINGS)[number]

/** What a request asks for. */
export interface Question {
  n: number
  opening: Opening
  /** Whether its entity is the one object that an entity cache gives to everybody. */
  isCached: boolean
}

/** The three ways to ask for a token: without an entity, with the very object, with a copy of it. */
const FORMS = ['bare', 'object', 'copy'] as const
export type Form = (typeof FORMS)[number]

/** What a request was told: a token, `null` for none, or the code of a refusal. */
export interface Reply extends Question {
  answers: Partial<Record<Form, string | null>>
}

/** Three in nine start a job by themselves, three by hand, and three start none. */
const ACTIONS = ['create', 'store', 'touch', 'create', 'store', 'findNothing', 'create', 'store', 'archive'] as const

type Verdict = 'own' | 'none' | 'refused' | "a stranger's"

/** How many were told what: `{ 'scope, busy, bare': { own: 666 }, … }`. */
export type Tally = Record<string, Partial<Record<Verdict, number>>>

export function actionOf({ n }: Question): (typeof ACTIONS)[number] {
  return ACTIONS[n % ACTIONS.length] as (typeof ACTIONS)[number]
}

function startsJob(question: Question): boolean {
  return ['create', 'store'].includes(actionOf(question))
}

/** Counts what the requests were told; `owners` knows whose token is whose. */
export function judge(replies: readonly Reply[], owners: ReadonlyMap<string, number>): Tally {
  const verdictOn = (answer: string | null, n: number): Verdict => {
    if (answer === null) return 'none'
    if (answer === 'NO_SCOPE') return 'refused'
    return owners.get(answer) === n ? 'own' : "a stranger's"
  }
  return tally(replies, ({ answers, n }, form) => {
    const answer = answers[form]
    return answer === undefined ? undefined : verdictOn(answer, n)
  })
}

/** Counts what the requests must be told: in a scope the own token, outside of one the own for the very object only. */
export function expected(questions: readonly Question[]): Tally {
  return tally(questions, (question, form) => {
    // The copies of a cached object cannot be told apart, so that nobody asks with one.
    if (question.isCached && form === 'copy') return undefined
    const own = startsJob(question) ? 'own' : 'none'
    const outside = { bare: 'refused', object: own, copy: 'none' } as const
    return question.opening === 'none' ? outside[form] : own
  })
}

/** Those who were told another's token. There must be none, whatever else happened. */
export function strangers(told: Tally): string[] {
  return Object.keys(told).filter((asker) => told[asker]?.["a stranger's"] !== undefined)
}

function tally<Q extends Question>(questions: readonly Q[], read: (question: Q, form: Form) => Verdict | undefined) {
  const counts: Tally = {}
  for (const question of questions) {
    for (const form of FORMS) {
      const verdict = read(question, form)
      if (verdict === undefined) continue
      const asker = `${question.opening}, ${startsJob(question) ? 'busy' : 'idle'}, ${form}`
      counts[asker] ??= {}
      counts[asker][verdict] = (counts[asker][verdict] ?? 0) + 1
    }
  }
  return counts
}

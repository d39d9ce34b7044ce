import { AfterJobsError } from './errors'
import { show } from './job'

const ACTION = /^[a-z][A-Za-z0-9]{0,63}$/
const HOOK = /^(before|after)[A-Z][A-Za-z0-9]{0,63}Job$/

/** Tells whether a name has the form of a hook, so that a forged message cannot call anything else. */
export function isHookName(name: unknown): name is string {
  return typeof name === 'string' && HOOK.test(name)
}

/** The names that were asked for: checking one costs as much as running a small job. */
const hookNames = { before: new Map<string, string>(), after: new Map<string, string>() }
const MAX_NAMES = 1_000

/**
 * Names the hook of an action: `after` and `create` make `afterCreateJob`.
 *
 * @throws AfterJobsError `INVALID_ACTION`
 */
export function hookName(when: string, action: string): string {
  if (when !== 'before' && when !== 'after') {
    throw new AfterJobsError('INVALID_ACTION', `A hook runs 'before' or 'after' an action; got ${show(when)}.`)
  }
  const names = hookNames[when]
  const known = names.get(action)
  if (known !== undefined) return known
  checkAction(action)
  const name = `${when}${action.charAt(0).toUpperCase()}${action.slice(1)}Job`
  if (names.size < MAX_NAMES) names.set(action, name)
  return name
}

function checkAction(action: unknown): void {
  if (typeof action === 'string' && ACTION.test(action)) return
  const hint = typeof action === 'string' ? suggestAction(action) : ''
  const message = `The action ${show(action)} is not a name; expected a letter a-z, then up to 63 letters and digits, like 'create'.${hint}`
  throw new AfterJobsError('INVALID_ACTION', message)
}

/** Names the method that compensates for a hook that has finally failed. */
export function failureHookName(hook: string): string {
  return `${hook}Failed`
}

function suggestAction(action: string): string {
  const camel = action
    .slice(0, 64)
    .replace(/[^A-Za-z0-9]+(.)?/g, (_, next: string | undefined) => next?.toUpperCase() ?? '')
    .replace(/^[A-Z]/, (first) => first.toLowerCase())
  return ACTION.test(camel) ? ` Did you mean '${camel}'?` : ''
}

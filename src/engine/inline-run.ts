import { invalidOption } from '../core/errors'
import type { Hook } from '../core/hook'
import { type JobId, show } from '../core/job'
import type { InlineHost } from './current-job'
import { copyPayload, type HookCall, type UncheckedOptions } from './dispatcher'
import { type Ending, makeFinal, readReturn } from './ending'
import { ProgressBar } from './progress'
import { RunContext } from './run'
import { closeScope, createScope, currentScope, enterScope } from './token-scope'

/** Finds the job inside which a hook is to run, if its options ask for that; outside of every job it is a job of its own. */
export function findParent(options: UncheckedOptions | undefined, hook: string): InlineHost | undefined {
  if (options?.nested === undefined) return undefined
  const { nested: _, payload: __, ...others } = options
  const given = Object.entries(others).filter(([, value]) => value !== undefined)
  if (options.nested === 'inline' && given.length === 0) return currentScope()?.job?.host
  const message = `${hook} was given nested: ${show(options.nested)}${given.map(([name]) => `, ${name}`).join('')}; expected nested: 'inline' beside a payload only, because a hook that runs inside of another one is not queued.`
  throw invalidOption(message)
}

/** Runs a hook inside a running job, as a part of its current step. Answers the parent's token; throws what fails the parent. */
export async function runInline(parent: InlineHost, call: HookCall, id: JobId, payload: unknown): Promise<string> {
  const { token, context } = parent.envelope
  const { serviceName: service, hook: name } = call
  const envelope = { ...parent.envelope, service, hook: name, id, payload: copyPayload(payload, name) }
  const job = new RunContext(envelope, parent)
  const reporter = ProgressBar.openStep(parent.reporter)
  const hook = Reflect.get(call.service, name) as Hook
  const scope = createScope({ token, context, host: parent })
  try {
    if (parent.isAborted) throw parent.signal.reason
    const value = await enterScope(scope, () => hook.call(call.service, id, token, reporter, job))
    throwIfFailed(readReturn(value, name))
    reporter.set(100)
    return token
  } finally {
    closeScope(scope)
  }
}

/** Only what was meant for users goes on to the parent as such. */
function throwIfFailed({ outcome, error }: Ending): void {
  if (outcome.status === 'done') return
  throw outcome.code === 'failed' ? error : makeFinal(new Error(outcome.message, { cause: error }))
}

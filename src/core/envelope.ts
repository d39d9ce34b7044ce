import { isHookName, type JobEnvelope, MAX_PAYLOAD_BYTES } from './job'
import { isToken } from './token'

type Check = (value: unknown) => boolean

const isNumberFrom = (min: number, max: number) => (value: unknown) =>
  typeof value === 'number' && value >= min && value <= max
const isAbsentOr = (check: Check) => (value: unknown) => value === null || value === undefined || check(value)
const isText: Check = (value) => typeof value === 'string' && value.length > 0 && value.length <= 1_000
const isSmallJson: Check = (value) =>
  value === undefined || new TextEncoder().encode(JSON.stringify(value)).length <= MAX_PAYLOAD_BYTES
const isBackoff: Check = (value) => {
  const { type, delay } = value as { type?: unknown; delay?: unknown }
  return (type === 'fixed' || type === 'exponential') && isNumberFrom(0, Number.MAX_SAFE_INTEGER)(delay)
}

const CHECKS: Record<keyof JobEnvelope, Check> = {
  version: Number.isInteger,
  token: isToken,
  service: isText,
  hook: isHookName,
  id: (value) => typeof value === 'string' || Number.isFinite(value),
  payload: isSmallJson,
  context: isSmallJson,
  parent: isAbsentOr(isToken),
  delay: isNumberFrom(0, Number.MAX_SAFE_INTEGER),
  priority: isNumberFrom(-1_000, 1_000),
  attempts: isNumberFrom(1, 100),
  backoff: isAbsentOr(isBackoff),
  timeout: isAbsentOr(isNumberFrom(1, Number.MAX_SAFE_INTEGER)),
  dedupe: isAbsentOr(isText),
  createdAt: isNumberFrom(0, Number.MAX_SAFE_INTEGER),
}

/**
 * Names the first field of a queue's message that no runtime would have written, and so was forged or broken; `undefined`
 * for a sound one. A message of another version is only asked what is needed to hand it back.
 */
export function findFlaw(message: JobEnvelope): keyof JobEnvelope | undefined {
  const names = Object.keys(CHECKS) as (keyof JobEnvelope)[]
  const asked = message.version === 1 ? names : names.slice(0, 4)
  return asked.find((name) => !CHECKS[name](Object.hasOwn(message, name) ? message[name] : undefined))
}

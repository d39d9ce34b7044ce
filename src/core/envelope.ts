import { isHookName } from './hook-name'
import { ENVELOPE_VERSION, isInRange, type JobEnvelope, MAX_PAYLOAD_BYTES, RANGES } from './job'
import { isToken } from './token'

type Check = (value: unknown) => boolean

const isIn = (name: keyof typeof RANGES) => (value: unknown) => isInRange(value, RANGES[name])
const isTime: Check = (value) => typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER
const isAbsentOr = (check: Check) => (value: unknown) => value === null || value === undefined || check(value)
const isText: Check = (value) => typeof value === 'string' && value.length > 0 && value.length <= 1_000
const isSmallJson: Check = (value) =>
  value === undefined || new TextEncoder().encode(JSON.stringify(value)).length <= MAX_PAYLOAD_BYTES
const isBackoff: Check = (value) => {
  const { type, delay } = value as { type?: unknown; delay?: unknown }
  return (type === 'fixed' || type === 'exponential') && isIn('delay')(delay)
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
  delay: isIn('delay'),
  priority: isIn('priority'),
  attempts: isIn('attempts'),
  backoff: isAbsentOr(isBackoff),
  timeout: isAbsentOr(isIn('timeout')),
  dedupe: isAbsentOr(isText),
  createdAt: isTime,
}

const TO_HAND_BACK = ['version', 'token', 'service', 'hook'] as const

/**
 * Names the first field of a queue's message that no runtime would have written, and so was forged or broken; `undefined`
 * for a sound one. A message of another version is only asked what is needed to hand it back.
 */
export function findFlaw(message: JobEnvelope): keyof JobEnvelope | undefined {
  const names = Object.keys(CHECKS) as (keyof JobEnvelope)[]
  const asked = message.version === ENVELOPE_VERSION ? names : TO_HAND_BACK
  return asked.find((name) => !CHECKS[name](Object.hasOwn(message, name) ? message[name] : undefined))
}

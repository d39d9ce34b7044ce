import { show } from '../core/job'

/** Tells whether a value is a URL that both Redis clients understand. */
export function isRedisUrl(value: unknown): value is string {
  return typeof value === 'string' && /^rediss?:\/\//.test(value) && URL.canParse(value)
}

/** Shows what was given in place of a URL; never a text, because it may hold a password. */
export function showTarget(value: unknown): string {
  return typeof value === 'string' ? 'a text that is no such URL' : show(value)
}

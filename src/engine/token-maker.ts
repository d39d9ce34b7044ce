import { v4 } from 'uuid'

const BYTES = 16
/** Random bytes for so many tokens are fetched in one call. */
const POOL = 256
const pool = new Uint8Array(BYTES * POOL)
let next = pool.length

const random = new Uint8Array(BYTES)
const FROM = { random }
const text = Buffer.from('00000000-0000-4000-8000-000000000000')
const HYPHEN = 45
const DIGITS = Buffer.from('0123456789abcdef')

/**
 * Makes a token: a UUID of version 4, in one piece. uuid's own text is a chain of 20 pieces, which takes 480 bytes instead of
 * 56 until V8 puts it together, and this takes half the time of both.
 */
export function makeToken(): string {
  if (next === pool.length) {
    crypto.getRandomValues(pool)
    next = 0
  }
  for (let index = 0; index < BYTES; index++) random[index] = pool[next++] as number
  v4(FROM, random)
  let offset = 0
  for (const byte of random) {
    if (text[offset] === HYPHEN) offset++
    text[offset++] = DIGITS[byte >> 4] as number
    text[offset++] = DIGITS[byte & 15] as number
  }
  return text.toString('latin1')
}

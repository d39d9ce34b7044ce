import { formatElapsed } from 'after-jobs/client'
import { expect, test } from 'vitest'

test.each([
  [0, '0s'],
  [999, '0s'],
  [1000, '1s'],
  [42_000, '42s'],
  [59_999, '59s'],
  [60_000, '01:00'],
  [65_000, '01:05'],
  [599_999, '09:59'],
  [600_000, '10:00'],
  [3_665_000, '61:05'],
  [6_000_000, '100:00'],
  [65_000.7, '01:05'],
])('%d ms are shown as %s', (ms, text) => {
  expect(formatElapsed(ms)).toBe(text)
})

test.each([Number.NaN, -1, -60_000, Infinity, -Infinity])('%d, which is no span of time, is shown as 0s', (ms) => {
  expect(formatElapsed(ms)).toBe('0s')
})

import { expect, test } from 'vitest'
import { isMissingTable, isRefusal } from '../../src/postgres/sql-state'

test.each([
  ['22P02', 'a text that is none of its type', true],
  ['23505', 'a key that exists', true],
  ['40001', 'a transaction that cannot be serialized', true],
  ['42P01', 'a table that does not exist', true],
  ['57014', 'a statement that was cancelled', true],
  ['P0001', 'what a trigger raised', true],
  ['08006', 'a connection that failed', false],
  ['25006', 'a server that may only be read by now', false],
  ['25001', 'a statement that no transaction may hold', true],
  ['25P02', 'a transaction that had failed before', false],
  ['53300', 'too many connections', false],
  ['57P01', 'a server that is shut down', false],
  ['XX000', 'an error of the server itself', false],
  ['EPIPE', 'an error of the system', false],
  ['ECONNRESET', 'another one', false],
])('%s, %s, is a refusal: %s', (code, _what, expected) => {
  // In a language that is not asked for.
  expect(isRefusal({ severity: 'ERREUR', code })).toBe(expected)
})

test.each([null, undefined, 'text', {}, { severity: 'ERROR' }, { code: 7 }])('%j is none', (error) => {
  expect(isRefusal(error)).toBe(false)
})

test.each([
  ['42P01', true],
  ['42703', false],
  ['EPIPE', false],
])('%s is that of a table that is missing: %s', (code, expected) => {
  expect(isMissingTable({ code })).toBe(expected)
})

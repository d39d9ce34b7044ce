import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { type FolderLock, lockFolder } from '../../src/postgres/folder-lock'
import { describeSelf, type Owner } from '../../src/postgres/owner'
import { rejection } from '../engine/support/runtime'
import { makeFolder } from './support/suite'

const self = describeSelf()
/** Nobody has it: it is above what a system gives. */
const NO_PID = 2 ** 30

async function take(folder: string): Promise<FolderLock> {
  const lock = await lockFolder(folder, 'test')
  onTestFinished(() => lock.release())
  return lock
}

function locksOf(folder: string): Record<string, string> {
  const names = readdirSync(folder).filter((name) => name.startsWith('after-jobs.lock'))
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8')]))
}

function forge(folder: string, number: number, owner: Partial<Owner>): string {
  const file = join(folder, `after-jobs.lock.${number}`)
  writeFileSync(file, JSON.stringify({ ...self, ...owner }))
  return file
}

test('a lock says who holds it, and is given back', async (context) => {
  const folder = join(makeFolder(context), 'new', 'data')
  const lock = await take(folder)
  expect(JSON.parse(locksOf(folder)['after-jobs.lock.1'] ?? '')).toMatchObject({ pid: process.pid, host: self.host })
  lock.release()
  expect(locksOf(folder)).toEqual({ 'after-jobs.lock.1': '' })
  await take(folder)
  expect(Object.keys(locksOf(folder))).toEqual(['after-jobs.lock.2'])
})

test('one who lives is not robbed, and the error says who it is and what to do', async (context) => {
  const folder = makeFolder(context)
  await take(folder)
  const error = await rejection(lockFolder(folder, 'postgresQueue'))
  expect(error).toMatchObject({ code: 'DATABASE_IN_USE', message: expect.stringContaining('this very process') })
  forge(folder, 2, { pid: process.ppid, started: startOf(process.ppid) })
  const other = await rejection(lockFolder(folder, 'postgresQueue'))
  expect(other).toMatchObject({ code: 'DATABASE_IN_USE' })
  const { message } = other as Error
  for (const part of ['postgresQueue', folder, `process ${process.ppid}`, 'after-jobs.lock.2'])
    expect(message).toContain(part)
})

test.for([
  ['is gone', { pid: NO_PID }],
  ['has a number that another process got', { pid: process.ppid, started: '1' }],
  ['was on this machine before it was started anew', { boot: 'another', space: 'pid:[4026531836]' }],
] as const)('the lock of one who %s is taken over', async ([, owner], context) => {
  // In a container nobody can tell whether the machine was started anew.
  if ('boot' in owner && self.space !== owner.space) return context.skip('this is a container')
  const folder = makeFolder(context)
  forge(folder, 7, owner)
  await take(folder)
  expect(Object.keys(locksOf(folder))).toEqual(['after-jobs.lock.8'])
})

test.for(['', '{', 'null', '[]', '{}'])('a lock that says %j is nobody', async (text, context) => {
  const folder = makeFolder(context)
  writeFileSync(join(folder, 'after-jobs.lock.1'), text)
  await take(folder)
})

test('one in another container is watched: who shows no life for half a minute is dead', async (context) => {
  vi.useFakeTimers()
  context.onTestFinished(() => void vi.useRealTimers())
  const folder = makeFolder(context)
  const file = forge(folder, 1, { space: 'pid:[1]' })
  const refused = rejection(lockFolder(folder, 'test'))
  await vi.advanceTimersByTimeAsync(5_000)
  utimesSync(file, new Date(), new Date(Date.now() + 1))
  await vi.advanceTimersByTimeAsync(1_000)
  expect(await refused).toMatchObject({ code: 'DATABASE_IN_USE' })
  const taken = take(folder)
  await vi.advanceTimersByTimeAsync(29_000)
  expect(Object.keys(locksOf(folder))).toEqual(['after-jobs.lock.1'])
  await vi.advanceTimersByTimeAsync(2_000)
  await taken
  expect(Object.keys(locksOf(folder))).toEqual(['after-jobs.lock.2'])
})

test('who holds a lock shows that it lives', async (context) => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  context.onTestFinished(() => void vi.useRealTimers())
  const folder = makeFolder(context)
  await take(folder)
  const file = join(folder, 'after-jobs.lock.1')
  utimesSync(file, 1, 1)
  const { statSync } = await import('node:fs')
  await vi.advanceTimersByTimeAsync(6_000)
  expect(statSync(file).mtimeMs).toBeGreaterThan(1_000_000)
})

test('a folder that cannot be made is told as what it is', async (context) => {
  const folder = makeFolder(context)
  writeFileSync(join(folder, 'file'), '')
  await expect(lockFolder(join(folder, 'file'), 'test')).rejects.toMatchObject({ code: 'EEXIST' })
  mkdirSync(join(folder, 'other'))
  await take(join(folder, 'other'))
})

function startOf(pid: number): string {
  if (process.platform !== 'linux') return ''
  return (
    readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')[19] ?? ''
  )
}

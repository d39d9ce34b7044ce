import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AfterJobsError } from '../core/errors'
import { sleep } from '../core/timer'
import { describeSelf, judge, type Owner } from './owner'

/** A folder that no other process may use. */
export interface FolderLock {
  release(): void
}

const NAME = /^after-jobs\.lock\.(\d+)$/
/** How often an owner shows that it lives, to those who cannot see its process: in another container, or on another machine. */
const BEAT = 5_000
/** How long those watch before they take it for dead. The first start of a database blocks its process for half of this. */
const WATCH = 30_000

/**
 * Takes a folder for this process, also from a process that is dead. A lock is a file whose name ends with a number, and the
 * highest number counts. Who finds its owner dead makes the file of the next number, which only one can; nobody ever removes
 * the file of one who is alive, and a lock that is given back leaves its file behind, empty, so that no number comes twice.
 *
 * @throws AfterJobsError `DATABASE_IN_USE` where another process uses the folder.
 */
export async function lockFolder(folder: string, who: string): Promise<FolderLock> {
  mkdirSync(folder, { recursive: true })
  for (;;) {
    const last = Math.max(0, ...numbersIn(folder))
    if (last > 0 && !(await isFree(fileOf(folder, last)))) throw inUse(folder, fileOf(folder, last), who)
    const file = fileOf(folder, last + 1)
    if (!makeWhole(file)) continue
    const numbers = numbersIn(folder)
    // Others have gone two steps since we looked, and have removed the file that would have been in our way.
    if (Math.max(...numbers) > last + 1) rmSync(file, { force: true })
    else
      return hold(
        folder,
        file,
        numbers.filter((number) => number <= last),
      )
  }
}

function hold(folder: string, file: string, old: readonly number[]): FolderLock {
  for (const number of old) rmSync(fileOf(folder, number), { force: true })
  const beat = setInterval(() => attempt(() => utimesSync(file, new Date(), new Date())), BEAT)
  beat.unref()
  return {
    release() {
      clearInterval(beat)
      attempt(() => writeFileSync(file, ''))
    },
  }
}

function fileOf(folder: string, number: number): string {
  return join(folder, `after-jobs.lock.${number}`)
}

function numbersIn(folder: string): number[] {
  return readdirSync(folder).flatMap((name) => Number(NAME.exec(name)?.[1] ?? []))
}

/** Makes a file with its content in one step; answers whether it was not there. */
function makeWhole(file: string): boolean {
  const draft = `${file}.${process.pid}.${Math.random().toString(36).slice(2)}`
  writeFileSync(draft, `${JSON.stringify(describeSelf())}\n`)
  try {
    linkSync(draft, file)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  } finally {
    rmSync(draft, { force: true })
  }
}

async function isFree(file: string): Promise<boolean> {
  const owner = readOwner(file)
  const state = owner === undefined ? 'dead' : judge(owner)
  if (state !== 'unseen') return state === 'dead'
  const before = beatOf(file)
  for (let waited = 0; waited < WATCH; waited += 1_000) {
    await sleep(1_000)
    if (beatOf(file) !== before) return readOwner(file) === undefined
  }
  return true
}

/** Answers `undefined` for a lock that was given back, or removed. */
function readOwner(file: string): Owner | undefined {
  const owner = attempt(() => JSON.parse(readFileSync(file, 'utf8')) as Owner | null)
  return typeof owner?.pid === 'number' ? owner : undefined
}

function beatOf(file: string): number | undefined {
  return attempt(() => statSync(file).mtimeMs)
}

function attempt<T>(run: () => T): T | undefined {
  try {
    return run()
  } catch {
    return undefined
  }
}

function inUse(folder: string, file: string, who: string): AfterJobsError {
  const owner = readOwner(file)
  const name = owner?.pid === process.pid ? 'this very process' : `process ${owner?.pid} on ${owner?.host}`
  const message = `${who} cannot use the folder '${folder}': ${name} uses it, and a folder is for one process and one copy of this library. Close that one, use another folder, or use a PostgreSQL server. Where that process is gone for certain, remove '${file}'.`
  return new AfterJobsError('DATABASE_IN_USE', message)
}

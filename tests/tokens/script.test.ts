import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { createAfterJobs, withAfterJobs } from 'after-jobs'
import { expect, onTestFinished, test } from 'vitest'
import { makeGate, turns } from '../engine/support/runtime'
import { ask, gatherCrowd, makeQuestions } from './crowd'
import { expected } from './verdicts'

const SCRIPT = join(import.meta.dirname, 'script.ts')
const ROOT = resolve(import.meta.dirname, '../..')

/** Runs a scenario in a process of its own, because what is proved here holds for a whole process. */
async function runScript(scenario: string, argument = ''): Promise<unknown> {
  const command = ['--import', 'tsx', SCRIPT, scenario, argument]
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: ROOT })
  return JSON.parse(stdout)
}

// This process has not accepted a connection yet, and so is a script itself.
test('a crowd that meets in a script is refused like any other', async () => {
  const crowd = gatherCrowd()
  const questions = makeQuestions(['none'], false)
  const replies = await Promise.all(questions.map((question) => crowd.serve(question)))
  expect(crowd.judge(replies)).toEqual(expected(questions))
})

test('two callers whose writes overlap are refused, however far apart their jobs are started', async () => {
  const jobs = createAfterJobs()
  onTestFinished(() => jobs.close())
  const [written, read] = [[makeGate(), makeGate()], makeGate()]
  class ProjectService extends withAfterJobs({ jobs, auto: ['create'] }) {
    async create(n: number): Promise<number> {
      await written[n]?.opened
      return n
    }
    async afterCreateJob(): Promise<void> {}
  }
  const service = new ProjectService()
  const callers = [0, 1].map(async (n) => {
    await service.create(n)
    await read.opened
    return ask(() => service.getJobToken())
  })
  for (const gate of written) {
    gate.open()
    await turns(3)
  }
  read.open()
  expect(await Promise.all(callers)).toEqual(['NO_SCOPE', 'NO_SCOPE'])
})

// What a script is told: the number of the job in the order in which they were queued, none, or the code of a refusal.

test("a script is told an instance's last token, and none after an action without a hook", async () => {
  expect(await runScript('lastToken')).toEqual(['none', 1, 2, 'none', 2])
})

test('once two actions of an instance have overlapped, that instance refuses', async () => {
  expect(await runScript('overlap')).toEqual([0, 1, 'NO_SCOPE', 1])
})

test.each(['net', 'http', 'http2'])('a %s server that has accepted a connection ends the script', async (kind) => {
  const [before, after] = await Promise.all([runScript('connectionBefore', kind), runScript('connectionAfter', kind)])
  expect(before).toEqual(['NO_SCOPE', 'NO_SCOPE'])
  expect(after).toEqual([0, 'NO_SCOPE'])
})

test('a script that connects to a server is still a script', async () => {
  const server = createServer((_request, response) => void response.end()).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  expect(await runScript('connecting', `http://127.0.0.1:${(server.address() as AddressInfo).port}`)).toEqual([0])
})

test('AsyncLocalStorage is left alone until a job runs or a scope is opened, and entered by run() only', async () => {
  const [started, ran, scoped] = [
    { made: 0, run: 0, enterWith: 0 },
    { made: 1, run: 1, enterWith: 0 },
    { made: 1, run: 2, enterWith: 0 },
  ]
  expect(await runScript('asyncLocalStorage')).toEqual([started, ran, scoped])
})

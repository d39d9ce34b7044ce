import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, inject, test } from 'vitest'

const consumer = inject('consumer')

/** A place that a stack trace names. */
interface Frame {
  name: string
  file: string
  line: number
}

const MISTAKE = 'try { createAfterJobs({ ttl: -1 }) } catch (error) { console.log(error.stack) }'
const BUILDS = {
  module: `import { createAfterJobs } from 'after-jobs'\n${MISTAKE}`,
  commonjs: `const { createAfterJobs } = require('after-jobs')\n${MISTAKE}`,
}

// Its code is not minified, and names the source of each part, so that nothing else need be in the package.
test.for(Object.entries(BUILDS))(
  'a stack trace leads to code that can be read, and to its source: %s',
  ([type, code]) => {
    const frames = trace(code, type)
    expect(frames.map(({ name }) => name).slice(-2)).toEqual(['createRuntime', 'createAfterJobs'])
    const places = frames.map(({ file, line, name }) => ({ name, ...look(file, line) }))
    expect(places[0]?.code).toMatch(/\bnew .*AfterJobsError\)?\(/)
    for (const [index, { source, name }] of places.entries()) {
      // Two functions of one name get numbers where modules share a file.
      const declared = name.replace(/\d+$/, '')
      expect(readFileSync(source, 'utf8')).toContain(`function ${declared}(`)
      if (index > 0) expect(places[index]?.code).toContain(`${places[index - 1]?.name}(`)
    }
  },
)

/** Runs a script that prints a stack, and answers the frames inside the package, the innermost first. */
function trace(code: string, type: string): Frame[] {
  const args = ['--enable-source-maps', `--input-type=${type}`, '-e', code]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: consumer, encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const frames = [...stdout.matchAll(/^ +at (?:Object\.)?(\w+) \((.+):(\d+):\d+\)$/gm)]
  const places = frames.map(([, name = '', file = '', line]) => {
    return { name, file: file.startsWith('file:') ? fileURLToPath(file) : file, line: Number(line) }
  })
  return places.filter(({ file }) => file.includes('after-jobs/'))
}

/** Reads a line, and which source it was built from, as a comment above it says. */
function look(file: string, line: number): { code: string; source: string } {
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, line)
  const source = lines.findLast((text) => text.startsWith('// src/'))?.slice(3) ?? ''
  expect(existsSync(source), `the source of ${file}:${line}`).toBe(true)
  return { code: lines.at(-1) ?? '', source }
}

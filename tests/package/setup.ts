import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { npm } from './npm'
import { installToolchain } from './toolchain'

/** A file of the tarball, as `npm pack` lists it. */
export interface PackedFile {
  path: string
  size: number
}

declare module 'vitest' {
  interface ProvidedContext {
    /** The folder of an empty project, outside of this one, into which the tarball was installed. */
    consumer: string
    packed: PackedFile[]
  }
}

let folder: string | undefined

/** Packs the package as `npm publish` would, and installs it as a user would. */
export function setup(project: TestProject): void {
  installToolchain()
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'after-jobs-')))
  const [tarball] = pack(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }))
  npm(['install', join(folder, tarball.filename), '@types/node@20'], folder)
  project.provide('consumer', folder)
  project.provide('packed', tarball.files)
}

export function teardown(): void {
  if (folder) rmSync(folder, { recursive: true, force: true })
}

function pack(destination: string): [{ filename: string; files: PackedFile[] }] {
  return JSON.parse(npm(['pack', '--json', '--pack-destination', destination], '.'))
}

import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { AfterJobs } from '../core/runtime'
import { CommandError, describeThrown } from './command-error'

const METHODS = ['work', 'runNext', 'drain', 'health', 'close', 'on'] as const

/**
 * Loads a module, ESM or CommonJS, and answers the runtime that it exports as its default.
 *
 * @throws CommandError when there is no such module, when it throws, and when it exports something else.
 */
export async function loadRuntime(name: string): Promise<AfterJobs> {
  const exported = await importDefault(name, locate(name))
  // CommonJS that was compiled from an `export default` has one default inside the other.
  const candidates = [exported, (exported as { default?: unknown } | null | undefined)?.default]
  const runtime = candidates.find(isRuntime)
  if (runtime !== undefined) return runtime
  const advice = 'export default createAfterJobs({ … }), or in CommonJS module.exports = createAfterJobs({ … })'
  throw new CommandError(1, `the default export of ${name} is no runtime; expected ${advice}.`)
}

/** Finds a file, from the working directory, or a module in a package. */
function locate(name: string): string {
  const { resolve: find } = createRequire(join(process.cwd(), 'after-jobs'))
  for (const candidate of [resolve(name), name]) {
    try {
      return pathToFileURL(find(candidate)).href
    } catch (error) {
      // Node finds what only `import` may have for its own importers alone, and those stand elsewhere.
      if ((error as NodeJS.ErrnoException).code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') continue
      throw new CommandError(1, `the package of ${name} does not export it to require(); give the path of its file.`)
    }
  }
  throw new CommandError(1, `there is no module ${name}; looked for ${resolve(name)} and for a package.`)
}

async function importDefault(name: string, specifier: string): Promise<unknown> {
  try {
    const namespace = (await import(specifier)) as { default?: unknown }
    return await namespace.default
  } catch (cause) {
    throw new CommandError(1, `${name} could not be loaded: ${describeThrown(cause)}`, { cause })
  }
}

/** By its shape, because the module may hold another copy of the library than the command does. */
function isRuntime(value: unknown): value is AfterJobs {
  if (typeof value !== 'object' || value === null) return false
  return METHODS.every((method) => typeof (value as Record<string, unknown>)[method] === 'function')
}

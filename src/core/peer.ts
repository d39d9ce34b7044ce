import { AfterJobsError } from './errors'

/**
 * Runs the import of an optional peer, which the entry `entry` needs.
 *
 * @throws AfterJobsError `MISSING_PACKAGE`, saying which `packages` to install.
 */
export async function importPeer<T>(entry: string, name: string, packages: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    if (!/^(ERR_)?MODULE_NOT_FOUND$/.test(String((cause as { code?: unknown } | null)?.code))) throw cause
    const message = `${entry} needs the package ${name}, which is not installed. Run: npm install ${packages}`
    throw new AfterJobsError('MISSING_PACKAGE', message, { cause })
  }
}

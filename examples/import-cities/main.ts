// A server imports the cities of the world in the background, and this script watches it over HTTP as any client would.
// Run it after a build: npx tsx --tsconfig examples/tsconfig.json examples/import-cities/main.ts [--country FR]
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { watchJob } from 'after-jobs/client'
import { createBar, formatTable } from '../terminal'
import type { CountryFigures } from './figures'
import { type ImportOrder, type ImportResult, jobs } from './import-service'
import { createImportServer } from './server'

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { country: { type: 'string' } } })
  const server = createImportServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  console.log(`Serving on ${origin}`)
  try {
    await importOver(origin, values)
  } finally {
    server.close()
    await jobs.close()
  }
}

/** Plays the client, which knows nothing of the service but its URL. */
async function importOver(origin: string, order: ImportOrder): Promise<void> {
  const headers = { 'Content-Type': 'application/json' }
  const response = await fetch(`${origin}/imports`, { method: 'POST', headers, body: JSON.stringify(order) })
  console.log(`POST /imports ${JSON.stringify(order)} → ${response.status}`, await response.json())
  const location = response.headers.get('Operation-Location')
  if (!location) throw new Error('The server started no job.')

  const watch = watchJob(new URL(location, origin), { interval: 500, onProgress: createBar() })
  const { result } = await watch.done
  console.log('Result:', result)
  console.log(await formatLargest((result as unknown as ImportResult).folder))
}

async function formatLargest(folder: string): Promise<string> {
  const files = await readdir(folder)
  const countries = await Promise.all(
    files.map(async (file) => JSON.parse(await readFile(join(folder, file), 'utf8')) as CountryFigures),
  )
  const names = new Intl.DisplayNames('en', { type: 'region' })
  const rows = countries
    .toSorted((a, b) => b.population - a.population)
    .slice(0, 10)
    .map(({ country, count, population, largest, remotest }) => ({
      country: names.of(country) ?? country,
      cities: count,
      population,
      largest: largest[0]?.name ?? '',
      remotest: remotest?.name ?? '',
      'km to the next': remotest?.kilometres ?? 0,
    }))
  return formatTable(rows)
}

main().catch((error: unknown) => {
  console.error(`The import failed: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
})

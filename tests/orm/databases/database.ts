/** What a test does with a database, inside of a transaction or outside of all. */
export interface Access {
  insert(id: number): Promise<void>
  /** Tells whether there is such a row. */
  has(id: number): Promise<boolean>
  count(): Promise<number>
  /** Commits when the function has resolved, and rolls back when it rejects; inside of another one it is a savepoint. */
  transaction<T>(run: (inner: Access) => Promise<T>): Promise<T>
}

/** A database with one table. */
export interface Database extends Access {
  /** What each outermost transaction awaits between the end of its function and its commit. */
  beforeCommit: () => Promise<void>
  close(): Promise<void>
}

/** Lets one after the other in, on a connection that all share. */
export function makeTurnstile(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const turn = last.then(work)
    last = turn.catch(() => {})
    return turn
  }
}

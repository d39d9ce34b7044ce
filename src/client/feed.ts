/** Hands the newest of many objects to any number of readers, each at its own speed, and keeps no older one. */
export interface Feed<T extends object> {
  publish(value: T): void
  /** Ends every reader, once it has had the newest object. */
  close(): void
  /** Reads the newest object at once, then, after each later one, the one that is the newest by then. */
  read(): AsyncGenerator<T, void>
}

/** Creates a feed that holds nothing yet. */
export function createFeed<T extends object>(): Feed<T> {
  let newest: T | undefined
  let announce: (isLast: boolean) => void
  let change: Promise<boolean>

  function awaitChange(): void {
    change = new Promise((resolve) => {
      announce = resolve
    })
  }

  awaitChange()
  return {
    publish(value) {
      newest = value
      announce(false)
      awaitChange()
    },
    close() {
      announce(true)
    },
    async *read() {
      for (let seen: T | undefined; seen !== newest || !(await change); ) {
        seen = newest
        yield newest as T
      }
    },
  }
}

/** What both Redis clients tell when they can take commands. */
interface ReadyEmitter {
  once(event: 'ready', listener: () => void): unknown
}

/** Makes a wait for a client's next `ready`: one listener, however many calls wait. */
export function createReadiness(client: ReadyEmitter): () => Promise<void> {
  let next: Promise<void> | undefined
  return () => {
    next ??= new Promise((resolve) => {
      client.once('ready', () => {
        next = undefined
        resolve()
      })
    })
    return next
  }
}

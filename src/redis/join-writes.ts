/** The part of a socket that puts writes together. */
export interface CorkableStream {
  readonly writableCorked: number
  cork(): void
  uncork(): void
  write(...chunk: never[]): boolean
}

/** A connection that has such a socket, a new one after each outage. */
interface StreamOwner {
  readonly stream?: CorkableStream
  on(event: 'connect', listener: () => void): unknown
}

/**
 * Sends the commands of one turn in one write. ioredis writes each by itself, and such a call of the system takes longer than
 * all that ioredis does for a command.
 */
export function joinWrites(connection: StreamOwner): void {
  connection.on('connect', () => {
    const { stream } = connection
    if (stream === undefined) return
    const write = stream.write
    const uncork = () => stream.uncork()
    stream.write = (...chunk: never[]) => {
      if (stream.writableCorked === 0) {
        stream.cork()
        process.nextTick(uncork)
      }
      return write.apply(stream, chunk)
    }
  })
}

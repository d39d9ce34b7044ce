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

/** How many commands the first write of a turn takes: as many as one job sends. */
const FIRST = 2
/** How many commands a write takes at the most. */
const MOST = 16

/**
 * Sends the commands of one turn in few writes. ioredis writes each by itself, and such a call of the system takes longer than
 * all that ioredis does for a command. A turn of many jobs is not sent as a whole either: else Redis would idle until the last
 * command is made, and then this process until the last one is answered.
 */
export function joinWrites(connection: StreamOwner): void {
  connection.on('connect', () => {
    const { stream } = connection
    if (stream === undefined) return
    const write = stream.write
    let size = FIRST
    let left = FIRST
    const uncork = () => {
      size = left = FIRST
      stream.uncork()
    }
    stream.write = (...chunk: never[]) => {
      if (stream.writableCorked === 0) {
        stream.cork()
        process.nextTick(uncork)
      }
      const hasRoom = write.apply(stream, chunk)
      left -= 1
      if (left === 0) {
        size = Math.min(2 * size, MOST)
        left = size
        stream.uncork()
        stream.cork()
      }
      return hasRoom
    }
  })
}

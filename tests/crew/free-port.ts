import { createServer } from 'node:net'

const PORT_TRIES = 20
/** So many ports, for so many test workers at the same time. */
const LANE = { ports: 1_000, count: 10 }
const FIRST_PORT = 20_000 + LANE.ports * (Number(process.env.VITEST_POOL_ID ?? 0) % LANE.count)

/** A server that is down has left its port free, and will want it back. */
const given = new Set<number>()

/**
 * Finds a port below those that systems give to clients: while a server is down, a client that connects to its port again
 * and again would one day be given that very port, and so be connected with itself. No two test workers draw from the same
 * ports, because another one's may be free when it is asked for, and taken a moment later.
 */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < PORT_TRIES; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * LANE.ports)
    if (given.has(port)) continue
    // Before anything is awaited, so that another call does not draw it meanwhile.
    given.add(port)
    if (await isFree(port)) return port
  }
  throw new Error(`None of ${PORT_TRIES} ports is free.`)
}

function isFree(port: number): Promise<boolean> {
  const probe = createServer()
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}

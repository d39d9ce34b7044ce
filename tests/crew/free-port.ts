import { createServer } from 'node:net'

const PORT_TRIES = 20

/**
 * Finds a port below those that systems give to clients: while a server is down, a client that connects to its port again
 * and again would one day be given that very port, and so be connected with itself.
 */
export async function findFreePort(): Promise<number> {
  for (let attempt = 0; attempt < PORT_TRIES; attempt++) {
    const port = 20_000 + Math.floor(Math.random() * 10_000)
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

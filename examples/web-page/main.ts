// Serves a page that imports cities in the background and shows how far each import is.
// Run it after a build: npx tsx --tsconfig examples/tsconfig.json examples/web-page/main.ts [--port 8080] [--seconds 8]
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { jobs } from '../import-cities/import-service'
import { createPageServer } from './server'

/** How long the running imports may go on after the signal to end, in milliseconds. */
const GRACE = 1_000

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { port: { type: 'string' }, seconds: { type: 'string' } } })
  const server = createPageServer(Number(values.seconds ?? 8)).listen(Number(values.port ?? 0), '127.0.0.1')
  await once(server, 'listening')
  console.log(`The page is at http://127.0.0.1:${(server.address() as AddressInfo).port} – end with Ctrl+C`)
  await once(process, 'SIGINT')
  server.close()
  // A page that is still open holds its connections.
  server.closeAllConnections()
  await jobs.close({ grace: GRACE })
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export interface Redis {
  readonly url: string
  close(): Promise<void>
}

/** Starts a Redis of its own on a free port; where none is installed, uses that of `REDIS_URL`. */
export async function openRedis(): Promise<Redis> {
  const folder = await mkdtemp(join(tmpdir(), 'redis-worker-'))
  const port = await findFreePort()
  const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '']
  const server = spawn('redis-server', settings, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(server, 'exit').catch(() => undefined)
  const close = async () => {
    server.kill()
    await ended
    await rm(folder, { recursive: true })
  }
  for await (const line of createInterface({ input: server.stdout })) {
    if (line.includes('Ready to accept connections')) return { url: `redis://127.0.0.1:${port}`, close }
  }
  await close()
  return useGivenRedis()
}

function useGivenRedis(): Redis {
  const url = process.env.REDIS_URL
  if (url === undefined) throw new Error('Install redis-server, or say in REDIS_URL where a Redis is.')
  return { url, close: async () => {} }
}

async function findFreePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

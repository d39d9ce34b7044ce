import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'

/** Accepts a connection: from here on this process is one that serves, in which nobody's last token is to be had. */
export async function acceptConnection(server: Server = createServer()): Promise<void> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  await once(server, 'connection')
  socket.destroy()
  server.close()
}

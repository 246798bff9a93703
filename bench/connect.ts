/** What does a short connection cost: connect, (handshake,) say one line, hear it, leave? */

import { once } from 'node:events'
import { ask, dial } from './side-by-side.ts'

const atOnce = 16
const line = Buffer.from('sixteen bytes...')

await ask([
  {
    title: 'short plain connection',
    per: 'connection',
    tls: false,
    warmUp: 5,
    target: 1.1,
    load: (port) => visits(port, false, 600),
  },
  {
    title: 'short TLS connection, full handshake',
    per: 'connection',
    tls: true,
    warmUp: 20,
    target: 1.02,
    load: (port) => visits(port, true, 160),
  },
])

async function visits(port: number, tls: boolean, count: number): Promise<number> {
  let left = count
  const visitor = async (): Promise<void> => {
    while (left-- > 0) await visit(port, tls)
  }
  await Promise.all(Array.from({ length: atOnce }, visitor))
  return count
}

async function visit(port: number, tls: boolean): Promise<void> {
  const socket = await dial(port, tls)
  socket.write(line)
  await once(socket, 'data')
  socket.end()
  await once(socket, 'close')
}

/** What does a short connection cost: connect, (handshake,) say one line, hear it, leave? */

import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
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
    warmUp: 8,
    target: 1.02,
    load: (port) => visits(port, true, 160),
  },
  {
    title: 'plain connection with `limit`, `timeout` and four listeners',
    per: 'connection',
    tls: false,
    guarded: true,
    warmUp: 5,
    target: 1.2,
    load: (port) => visits(port, false, 600),
  },
  {
    title: 'mutual TLS connection',
    per: 'connection',
    tls: true,
    mutual: true,
    warmUp: 6,
    target: 1.08,
    load: (port, identity) => visits(port, true, 160, identity),
  },
  {
    title: 'mutual TLS connection, resumed',
    per: 'connection',
    tls: true,
    mutual: true,
    warmUp: 6,
    target: 1.1,
    load: (port, identity) => resumedVisits(port, 240, identity),
  },
  {
    title: 'mutual TLS connection with `limit`, `timeout` and `allowList`',
    per: 'connection',
    tls: true,
    mutual: true,
    guarded: true,
    warmUp: 6,
    target: 1.18,
    load: (port, identity) => visits(port, true, 160, identity),
  },
  {
    title: 'mutual TLS connection with `limit`, `timeout` and `allowList`, resumed',
    per: 'connection',
    tls: true,
    mutual: true,
    guarded: true,
    warmUp: 6,
    target: 1.25,
    load: (port, identity) => resumedVisits(port, 240, identity),
  },
])

async function visits(
  port: number,
  tls: boolean,
  count: number,
  identity?: string,
  session?: Buffer,
): Promise<number> {
  let left = count
  const visitor = async (): Promise<void> => {
    while (left-- > 0) await visit(port, tls, identity, session)
  }
  await Promise.all(Array.from({ length: atOnce }, visitor))
  return count
}

/** One full handshake, whose session the others resume. */
async function resumedVisits(port: number, count: number, identity?: string): Promise<number> {
  const first = (await dial(port, true, identity)) as TLSSocket
  const [session] = (await once(first, 'session')) as [Buffer]
  first.end()
  await once(first, 'close')
  return visits(port, true, count, identity, session)
}

async function visit(
  port: number,
  tls: boolean,
  identity?: string,
  session?: Buffer,
): Promise<void> {
  const socket = await dial(port, tls, identity, session)
  if (session && !(socket as TLSSocket).isSessionReused()) throw new Error('a full handshake')
  socket.write(line)
  await once(socket, 'data')
  socket.end()
  await once(socket, 'close')
}

/** What does a MiB cost that goes in and comes back? */

import { once } from 'node:events'
import { keepsFreedMemory } from './page-faults.ts'
import { ask, dial } from './side-by-side.ts'

const chunk = Buffer.alloc(64 * 1024, 'x')

await ask([
  {
    title: 'plain echo',
    per: 'MiB',
    tls: false,
    warmUp: 1,
    target: 1.01,
    env: keepsFreedMemory,
    load: (port) => echo(port, false, 96),
  },
  {
    title: 'TLS echo',
    per: 'MiB',
    tls: true,
    warmUp: 1,
    target: 1.01,
    env: keepsFreedMemory,
    load: (port) => echo(port, true, 48),
  },
])

async function echo(port: number, tls: boolean, mebibytes: number): Promise<number> {
  const socket = await dial(port, tls)
  const total = mebibytes * 2 ** 20
  let heard = 0
  // One chunk is under way at a time: with more, the cost depends on how they happen to be cut.
  socket.on('data', (part: Buffer) => {
    heard += part.length
    if (heard % chunk.length > 0) return
    if (heard < total) socket.write(chunk)
    else socket.end()
  })
  socket.write(chunk)
  await once(socket, 'close')
  if (heard !== total) throw new Error(`${total} bytes went out, ${heard} came back`)
  return mebibytes
}

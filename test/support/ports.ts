/**
 * Ports that stay free when nobody listens on them: for who comes back to one, or must find nobody
 * there. The kernel gives those of its own range to whoever asks next, as servers or as the near
 * ends of connections, in every test that runs beside.
 */

import { once } from 'node:events'
import { type Server, createServer } from 'node:net'

const first = 10_000
const perBlock = 100
// Ends below 32768, where the range of Linux begins; others begin higher.
const blocks = 220

let block: Promise<number> | undefined
let given = 0

/** A port that nobody listens on, and that nobody else is given while this process lives. */
export async function ownPort(): Promise<number> {
  const start = await (block ??= claim())
  while (++given < perBlock) {
    const port = start + given
    const server = await hold(port)
    if (!server) continue
    server.close()
    await once(server, 'close')
    return port
  }
  throw new Error('this process was given all its ports')
}

/** The first port of a block is held, so that other processes leave the block alone. */
async function claim(): Promise<number> {
  for (let tries = 0; tries < blocks; tries++) {
    const start = first + ((process.pid + tries) % blocks) * perBlock
    const server = await hold(start)
    if (!server) continue
    server.unref()
    return start
  }
  throw new Error('every block of ports is taken')
}

/** Listens at every address; undefined where somebody does at one. */
async function hold(port: number): Promise<Server | undefined> {
  const server = createServer()
  try {
    await once(server.listen(port), 'listening')
    return server
  } catch {
    return undefined
  }
}

/**
 * One server of `forward.ts`, in a process of its own: the echo that is forwarded to, or one of the
 * ways to forward. It sends its port, answers with its figures, and leaves with its parent.
 */

import { type Server, type Socket, connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import { markCompacts } from './collections.ts'
import { pageFaults } from './page-faults.ts'

/** A way to forward a connection; `echo` is what all of them forward to. */
export type Way = 'echo' | 'net + pipeline' | '.pipe() twice' | 'cio'

/** What the proxy does besides. */
export interface Extras {
  /** Writes a header of the PROXY protocol, version 2. */
  readonly header?: boolean
  /** Ends TLS: a key and its certificate, in one PEM text. */
  readonly pem?: string
}

/** What a server says of itself. */
export interface ForwardFigures {
  /** User and system time of the process, in microseconds. */
  readonly cpu: number
  /** Full collections since it began. */
  readonly markCompacts: number
  /** Page faults since it began. */
  readonly pageFaults: number
  /** Connections that are open. */
  readonly open: number
}

const host = '127.0.0.1'
const [, , way, target, extras = '{}'] = process.argv
const { header = false, pem } = JSON.parse(extras) as Extras
const tls = pem === undefined ? {} : { key: pem, cert: pem }
const options = { allowHalfOpen: true, noDelay: true }
const ignore = (): void => {}

const { port, open } = await (way === 'cio' ? listenCio() : listenBare())
process.on('message', () => void answer())
process.on('disconnect', () => process.exit())
process.send!(port)

async function answer(): Promise<void> {
  const { user, system } = process.cpuUsage()
  const figures: ForwardFigures = {
    cpu: user + system,
    markCompacts: markCompacts(),
    pageFaults: pageFaults(),
    open: await open(),
  }
  process.send!(figures)
}

async function listenCio(): Promise<{ port: number; open: () => Promise<number> }> {
  // The other ways do not load it.
  const { Cio, forward, proxyHeader } = await import('cio')
  const options = header ? { header: proxyHeader } : {}
  const app = new Cio().useConnection(forward({ host, port: Number(target) }, options))
  const server = await app.listen({ host, port: 0, ...tls })
  return { port: server.port, open: async () => server.connections.size }
}

async function listenBare(): Promise<{ port: number; open: () => Promise<number> }> {
  const serve = (socket: Socket): void => {
    socket.on('error', ignore)
    if (way === 'echo') socket.pipe(socket)
    else join(socket)
  }
  const server: Server = pem
    ? createTlsServer({ ...options, ...tls }, serve)
    : createServer(options, serve)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const address = server.address()
  const open = (): Promise<number> =>
    new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
  return { port: typeof address === 'object' ? (address?.port ?? 0) : 0, open }
}

function join(near: Socket): void {
  const far = connect({ ...options, host, port: Number(target) })
  far.on('error', ignore)
  if (header) far.write(headerOf(near))
  if (way === '.pipe() twice') {
    near.pipe(far)
    far.pipe(near)
  } else {
    pipeline(near, far, ignore)
    pipeline(far, near, ignore)
  }
}

/** By hand, for two IPv4 addresses. */
function headerOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): Buffer {
  const header = Buffer.alloc(28)
  header.write('0d0a0d0a000d0a515549540a2111000c', 'hex')
  for (const [index, address] of [remoteAddress, localAddress].entries()) {
    const bytes = address!.split('.').map(Number)
    for (const [at, byte] of bytes.entries()) header[16 + 4 * index + at] = byte
  }
  header.writeUInt16BE(remotePort!, 24)
  header.writeUInt16BE(localPort!, 26)
  return header
}

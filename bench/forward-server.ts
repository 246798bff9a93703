/**
 * One server of `forward.ts`, in a process of its own: the echo that is forwarded to, or one of the
 * ways to forward. It sends its port, answers with its figures, and leaves with its parent.
 */

import { type Server, type Socket, connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import { markCompacts } from './collections.ts'
import { pageFaults } from './page-faults.ts'

/** A way to forward a connection; `echo` is what all of them forward to. */
export type Way = 'echo' | 'net + pipeline' | '.pipe() twice' | 'cio'

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
const [, , way, target] = process.argv
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
  const { Cio, forward } = await import('cio')
  const app = new Cio().useConnection(forward({ host, port: Number(target) }))
  const server = await app.listen({ host, port: 0 })
  return { port: server.port, open: async () => server.connections.size }
}

async function listenBare(): Promise<{ port: number; open: () => Promise<number> }> {
  const server: Server = createServer(options, (socket) => {
    socket.on('error', ignore)
    if (way === 'echo') socket.pipe(socket)
    else join(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const address = server.address()
  const open = (): Promise<number> =>
    new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
  return { port: typeof address === 'object' ? (address?.port ?? 0) : 0, open }
}

function join(near: Socket): void {
  const far = connect({ ...options, host, port: Number(target) })
  far.on('error', ignore)
  if (way === '.pipe() twice') {
    near.pipe(far)
    far.pipe(near)
  } else {
    pipeline(near, far, ignore)
    pipeline(far, near, ignore)
  }
}

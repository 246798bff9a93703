/**
 * The server of one side, in a process of its own: the same echo on bare Node or on Cio.
 *
 * It is started by `side-by-side.ts`, says its port, answers questions about itself, and leaves
 * with its parent.
 */

import { type Server, type Socket, createServer } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { ListenOptions } from 'cio'
import { markCompacts } from './collections.ts'
import { pageFaults } from './page-faults.ts'

/** What one side runs. */
export interface ServerSettings {
  readonly side: 'bare' | 'cio'
  /** A key and its certificate, in one PEM text; without it the server is plain. */
  readonly pem?: string | undefined
  /** Whether it asks for certificates of clients, which the same key has signed. */
  readonly mutual?: boolean | undefined
  /** Whether Cio has `limit`, `timeout`, four listeners and, with certificates, a list of names. */
  readonly guarded?: boolean | undefined
  /** Whether it sends everything back, or reads and forgets. */
  readonly echo: boolean
  /** How many middleware of Cio's stand before the end, doing nothing but `await next()`. */
  readonly passThrough: number
}

/** What it tells of itself. */
export interface Figures {
  /** User and system time of the process, in microseconds. */
  readonly cpu: number
  /** Bytes of the heap in use after a collection; only in answer to `heap`. */
  readonly heap: number
  /** Full collections since it began. */
  readonly markCompacts: number
  /** Page faults since it began. */
  readonly pageFaults: number
  /** The connections that are open, of Cio or of Node. */
  readonly open: number
}

const host = '127.0.0.1'
const settings = JSON.parse(process.argv[2] ?? '{}') as ServerSettings
const { port, open } = await (settings.side === 'bare' ? listenBare() : listenCio())

process.on('message', (question: 'cpu' | 'heap') => void answer(question))
process.on('disconnect', () => process.exit())
process.send!(port)

async function answer(question: 'cpu' | 'heap'): Promise<void> {
  if (question === 'heap') await collect()
  const { user, system } = process.cpuUsage()
  const figures: Figures = {
    cpu: user + system,
    heap: process.memoryUsage().heapUsed,
    markCompacts: markCompacts(),
    pageFaults: pageFaults(),
    open: await open(),
  }
  process.send!(figures)
}

/** Finalizers and weak references need more than one collection, with a turn of the loop between. */
async function collect(): Promise<void> {
  if (!globalThis.gc) throw new Error('give --expose-gc')
  for (let i = 0; i < 4; i++) {
    globalThis.gc()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

async function listenBare(): Promise<{ port: number; open: () => Promise<number> }> {
  const { pem, echo } = settings
  // Those that Cio sets.
  const options = {
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  }
  const serve = (socket: Socket): void => {
    socket.on('error', () => {})
    if (echo) socket.pipe(socket)
    else socket.resume()
  }
  const server: Server = pem
    ? createTlsServer({ ...options, ...tlsOptions(pem) }, serve)
    : createServer(options, serve)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const address = server.address()
  const open = (): Promise<number> => {
    return new Promise((resolve) => server.getConnections((_, count) => resolve(count)))
  }
  return { port: typeof address === 'object' ? (address?.port ?? 0) : 0, open }
}

function tlsOptions(pem: string): { key: string; cert: string; ca?: string; requestCert?: true } {
  return { key: pem, cert: pem, ...(settings.mutual && { ca: pem, requestCert: true }) }
}

async function listenCio(): Promise<{ port: number; open: () => Promise<number> }> {
  const { pem, echo, passThrough } = settings
  // The other side does not load it.
  const { Cio, allowList, limit, timeout } = await import('cio')
  const app = new Cio()
  if (settings.guarded) {
    app
      .useConnection(limit({ connections: Infinity, perAddress: Infinity }))
      .useConnection(timeout())
    if (settings.mutual) app.useConnection(allowList(['localhost']))
    for (const event of ['connection', 'close', 'error', 'remoteError'] as const) {
      app.on(event, () => {})
    }
  }
  for (let i = 1; i <= passThrough; i++) {
    const name = `passThrough${i}`
    const passThrough = async (_: object, next: () => Promise<void>): Promise<void> => {
      await next()
    }
    app.useConnection(passThrough, { name })
  }
  if (echo) {
    app.useConnection(async function echo({ stream }, next) {
      stream.pipe(stream)
      await next()
    })
  }
  const options: ListenOptions = { host, port: 0, ...(pem && tlsOptions(pem)) }
  const server = await app.listen(options)
  return { port: server.port, open: async () => server.connections.size }
}

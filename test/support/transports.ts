/** The same test over each kind of connection. */

import type { ExecutionContext } from 'ava'
import { type EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { type Socket, connect as connectNet } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import type { AppEvents, Cio, ListenOptions } from '../../src/index.ts'
import { contents, identity } from './certificates.ts'
import { duplexPair } from './duplex-pair.ts'
import { closeAfter } from './serve.ts'

export type Transport = 'memory' | 'tcp' | 'unix' | 'TLS 1.3' | 'TLS 1.2'
export const transports: readonly Transport[] = ['memory', 'tcp', 'unix', 'TLS 1.3', 'TLS 1.2']
/** Those with a port. */
export const networks: readonly Transport[] = ['tcp', 'TLS 1.3', 'TLS 1.2']

/** The path of a Unix socket that is there for one test. */
export function socketPath(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'cio-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'socket')
}

/** The options that let an app listen over a transport of sockets. */
export function optionsOf(t: ExecutionContext, transport: Transport): ListenOptions {
  if (transport === 'unix') return { path: socketPath(t) }
  const tls = transport === 'tcp' ? {} : identity('server')
  return { host: '127.0.0.1', port: 0, ...tls }
}

/** Where a client finds what listens. */
export interface Place {
  readonly port?: number
  readonly path?: string
}

/** A client of Node's own, half-open, connected; destroyed with the test. */
export async function dialOver(
  t: ExecutionContext,
  transport: Transport,
  place: Place,
): Promise<Duplex> {
  const client = start(transport, place)
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  await once(client, transport.startsWith('TLS') ? 'secureConnect' : 'connect')
  return client
}

function start(transport: Transport, { port = 0, path }: Place): Socket {
  if (path !== undefined) return connectNet({ path, allowHalfOpen: true })
  const raw = connectNet({ host: '127.0.0.1', port, allowHalfOpen: true })
  if (transport === 'tcp') return raw
  const version = transport === 'TLS 1.2' ? 'TLSv1.2' : 'TLSv1.3'
  const secure = connectTls({
    socket: raw,
    ca: contents('root.crt'),
    minVersion: version,
    maxVersion: version,
  })
  raw.on('error', () => {})
  beneath.set(secure, raw)
  return secure
}

const beneath = new WeakMap<Duplex, Socket>()

/** Resets the connection of a client: a TLS socket cannot be reset, but what is beneath it can. */
export function reset(client: Duplex): void {
  ;(beneath.get(client) ?? (client as Socket)).resetAndDestroy()
}

/** Serves an app over a transport, and connects a client of Node's own to it. */
export async function open(
  t: ExecutionContext,
  app: Cio,
  transport: Transport,
  options: ListenOptions = {},
): Promise<Duplex> {
  closeAfter(t, app)
  if (transport === 'memory') {
    const [near, far] = duplexPair()
    far.on('error', () => {})
    t.teardown(() => far.destroy())
    app.handle(near)
    return far
  }
  const listening = { ...optionsOf(t, transport), ...options }
  const { port } = await app.listen(listening)
  return dialOver(t, transport, listening.path === undefined ? { port } : { path: listening.path })
}

/** Waits until the other side has left. */
export function untilClosed(stream: Duplex): Promise<unknown> {
  return new Promise((resolve) => stream.resume().once('end', resolve).once('close', resolve))
}

/** As much as a stream might take whose other side is not read. */
export const tooMuch: number = 64 * 1024 * 1024
const block = Buffer.alloc(65_536)
const turns = 200

/**
 * Writes all of that, where it has to wait for it, and ends; how much was taken up to now, when
 * there has been time for more.
 */
export async function writeUnread(stream: Duplex): Promise<number> {
  let written = 0
  const write = (): void => {
    while (written < tooMuch) {
      written += block.length
      if (!stream.write(block)) return void stream.once('drain', write)
    }
    stream.end()
  }
  write()
  for (let turn = 0; turn < turns; turn++) await new Promise((done) => setImmediate(done))
  return written
}

/** A promise, and what settles it. */
export interface Deferred<Value> {
  readonly promise: Promise<Value>
  readonly resolve: (value: Value) => void
  readonly reject: (error: unknown) => void
}

export function deferred<Value = void>(): Deferred<Value> {
  let settle = {} as Omit<Deferred<Value>, 'promise'>
  const promise = new Promise<Value>((resolve, reject) => (settle = { resolve, reject }))
  return { promise, ...settle }
}

/** What comes with the next event; unlike `once` of Node's, an `error` before it is no rejection. */
export function nextEvent<Event extends keyof AppEvents>(
  app: Cio,
  event: Event,
): Promise<AppEvents[Event]> {
  return new Promise((resolve) => {
    ;(app as EventEmitter).once(event, (...details) => resolve(details as AppEvents[Event]))
  })
}

/** Bare TLS clients of Node's and of OpenSSL's, and what came of them. */

import type { ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, type TLSSocket, connect } from 'node:tls'
import { type Cio, type Middleware, type StreamContext, defineMiddleware } from '../../src/index.ts'
import { contents, path } from './certificates.ts'
import { duplexPair } from './duplex-pair.ts'
import { readAll } from './serve.ts'

/** What came of a visit, once the connection was gone. */
export interface TlsSession {
  /** All that the server said. */
  readonly said: string
  /** Whether the session was resumed. */
  readonly resumed: boolean
  /** The code of the client's error, if it had one. */
  readonly code: string | undefined
}

function dialTls(
  t: ExecutionContext,
  { port }: { port: number },
  options: ConnectionOptions,
): TLSSocket {
  const ca = contents('root.crt')
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...options })
  t.teardown(() => socket.destroy())
  return socket
}

/** Connects, says nothing, listens until the server hangs up. */
export async function connectTls(
  t: ExecutionContext,
  server: { port: number },
  options: ConnectionOptions = {},
): Promise<TlsSession> {
  const socket = dialTls(t, server, options)
  let said = ''
  let code: string | undefined
  let resumed = false
  socket.on('secureConnect', () => (resumed = socket.isSessionReused()))
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
  socket.on('error', (error: NodeJS.ErrnoException) => (code = error.code ?? error.message))
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve))
  return { said, resumed, code }
}

/** A TLS client that connects to nothing: what it says first is sent by hand. */
export interface FirstFlight {
  readonly secure: TLSSocket
  /** The ClientHello. */
  readonly hello: Buffer
  /** Goes on over a socket that the ClientHello was written to, until the handshake is done. */
  readonly goOn: (socket: Duplex) => Promise<void>
}

/** A TLS client whose first flight may be cut, or come behind something else. */
export async function firstFlight(t: ExecutionContext): Promise<FirstFlight> {
  const [near, far] = duplexPair()
  for (const stream of [near, far]) stream.on('error', () => {})
  const secure = connect({ socket: near, ca: contents('root.crt'), servername: 'localhost' })
  secure.on('error', () => {})
  t.teardown(() => secure.destroy())
  const [hello] = (await once(far, 'data')) as [Buffer]
  const goOn = async (socket: Duplex): Promise<void> => {
    far.pipe(socket).pipe(far)
    await once(secure, 'secureConnect')
  }
  return { secure, hello, goOn }
}

/** A session of a handshake in full, to resume. */
export async function openSession(
  t: ExecutionContext,
  server: { port: number },
  options: ConnectionOptions = {},
): Promise<Buffer> {
  const socket = dialTls(t, server, options)
  socket.on('error', () => {})
  socket.resume()
  const [session] = (await once(socket, 'session')) as [Buffer]
  socket.destroy()
  return session
}

/** `openssl s_client` as the client, with an empty input: what the server said to it. */
export async function connectByOpenssl(
  t: ExecutionContext,
  { port }: { port: number },
  ...options: readonly string[]
): Promise<string> {
  const common = [
    '-connect',
    `127.0.0.1:${port}`,
    '-CAfile',
    path('root.crt'),
    '-quiet',
    '-ign_eof',
  ]
  const child = spawn('openssl', ['s_client', ...common, ...options], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  t.teardown(() => child.kill())
  child.stdin.on('error', () => {})
  child.stdin.end()
  return readAll(child.stdout)
}

/** What an app has told so far. */
export interface Recorded {
  readonly reject: Error[]
  readonly remoteError: Error[]
  readonly error: Error[]
}

/** Listens to all that an app tells of what goes wrong. */
export function recordEvents(app: Cio<object, object, object>): Recorded {
  const told: Recorded = { reject: [], remoteError: [], error: [] }
  app.on('reject', (error) => told.reject.push(error))
  app.on('remoteError', (error) => told.remoteError.push(error))
  app.on('error', (error) => told.error.push(error))
  return told
}

/** Lets a server listen that has no certificate, as `startTls` does, under lists that need one. */
export const mayBringTls: Middleware = defineMiddleware(
  { name: 'mayBringTls', provides: 'peer' },
  (_ctx, next) => next(),
)

/** A handler that greets, and returns. */
export function writeGreeting(ctx: StreamContext): void {
  ctx.stream.write(`hello ${ctx.peer?.name ?? 'nobody'}`)
}

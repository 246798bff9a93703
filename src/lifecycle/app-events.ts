/** The events of an app, and which event reports an error. */

import { EventEmitter } from 'node:events'
import type { TLSSocket } from 'node:tls'
import type { Overload } from '../server/acceptor.ts'
import type { ClientContext } from '../client/client.ts'
import type { Cio } from '../cio.ts'
import type { ConnectionContext } from './connection.ts'
import type { ConnectionEnd } from '../connection-end.ts'
import { type Context, lifeOf } from './context.ts'
import { CioError, asError, describe, isCioError } from '../errors.ts'
import type { ServerContext } from '../server/server.ts'
import type { StreamContext } from './stream-context.ts'
import type { StreamLife } from '../stream-life.ts'

/**
 * The events of an app, with their arguments.
 *
 * A package adds its own events by `declare module 'cio' { interface AppEvents { … } }`. If a
 * listener throws, `error` reports it; the process and the connection go on.
 */
export interface AppEvents {
  /** A server listens. */
  listening: [server: ServerContext]
  /**
   * A server is short of file descriptors and does not listen until more are free. At most once in
   * five seconds.
   */
  overload: [overload: Overload, server: ServerContext]
  /** A connection was accepted; nothing has been read from it. */
  connection: [ctx: ConnectionContext]
  /**
   * A connection skips the TLS handshake of its server, because a middleware called `skipTls()`.
   */
  plaintext: [ctx: ConnectionContext]
  /**
   * A client begins a TLS handshake on this socket. Listen to its events `keylog`, `OCSPResponse`
   * and `session`. On a server, use `ctx.tls`.
   */
  handshake: [socket: TLSSocket, ctx: ClientContext]
  /** A TLS handshake is done and the certificate is accepted, on a server or a client. */
  secure: [ctx: ConnectionContext | ClientContext]
  /** Hot reload: a server has read its keys, certificates, CAs and lists again, and uses them. */
  reload: [server: ServerContext]
  /** Dry run: a list with `dryRun` has admitted a peer that it would reject, with this error. */
  wouldReject: [error: CioError, ctx: StreamContext]
  /**
   * A peer was rejected: by a list, or for a certificate that is not trusted (`ERR_CIO_REJECTED`).
   * Log each one: it shows a name that is missing in a list.
   */
  reject: [error: CioError, ctx: StreamContext]
  /**
   * The peer caused the end of a connection: a reset, a failed handshake, a message that is too
   * long. This is normal on the internet; a sudden rise is not.
   */
  remoteError: [error: CioError | NodeJS.ErrnoException, ctx: StreamContext]
  /**
   * The application failed: a handler threw, for example. Without a listener Cio prints it, once
   * per connection.
   */
  error: [error: Error, ctx?: Context]
  /** A client is connected, and its pipeline has reached its end. Again after each reconnect. */
  connect: [ctx: ClientContext]
  /**
   * The connection of a client has closed, with its error, if any, and its end. `reconnect` reports
   * whether another attempt follows.
   */
  disconnect: [error: Error | undefined, ctx: ClientContext, end: ConnectionEnd]
  /**
   * A connection has closed, and all its middleware have returned or were left behind; `end` says
   * why. Follows every `connection`.
   */
  close: [ctx: ConnectionContext, end: ConnectionEnd]
}

/** Emits an event, and survives listeners that throw. */
export function emitSafely<Event extends keyof AppEvents>(
  app: Cio,
  event: Event,
  ...details: AppEvents[Event]
): void {
  // Most events have no listener; `error` without one would throw.
  if (app.listenerCount(event) === 0) return
  try {
    ;(app.emit as (event: string, ...details: unknown[]) => boolean).call(app, event, ...details)
  } catch (thrown) {
    listenerFailed(app, event, thrown)
  }
}

/**
 * An async listener that rejects counts as one that throws; otherwise Node would end the process.
 */
export function catchRejections(app: Cio): void {
  Object.defineProperty(app, EventEmitter.captureRejectionSymbol, {
    value: (error: Error, event: unknown) => listenerFailed(app, event, error),
  })
}

function listenerFailed(app: Cio, event: unknown, thrown: unknown): void {
  if (event === 'error') print(thrown)
  else reportError(app, asError(thrown))
}

/** Reports an error by one event, which its fault decides. */
export function reportError(app: Cio, error: Error, ctx?: Context): void {
  const stream = ctx && ctx.kind !== 'server' ? (ctx as StreamContext) : undefined
  if (stream && isCioError(error, 'ERR_CIO_REJECTED'))
    return emitSafely(app, 'reject', error, stream)
  if (stream && isRemoteFault(error, stream)) return emitSafely(app, 'remoteError', error, stream)
  if (app.listenerCount('error') > 0) return emitSafely(app, 'error', error, ctx)
  print(error)
}

/** Prints a thrown value, even if it cannot be inspected. */
function print(thrown: unknown): void {
  try {
    console.error(thrown)
  } catch {
    console.error(describe(thrown))
  }
}

/** Whether the other side caused an error that ends a connection. */
export function isRemoteFault(error: Error, ctx: StreamContext): boolean {
  if (isCioError(error)) return error.fault === 'remote'
  const { cause, destroyedWith } = lifeOf<StreamLife>(ctx)
  // Errors of files and databases in a handler have a `syscall` as well.
  return error === cause && error !== destroyedWith && isNetworkError(error)
}

/** Whether it is an error of the network or of TLS, not of the application. */
function isNetworkError({ syscall, code }: NodeJS.ErrnoException): boolean {
  if (syscall !== undefined) return true
  return typeof code === 'string' && /^(ECONN|EPIPE|ETIMEDOUT|ERR_SSL_)/.test(code)
}

// Errors that a handler gets from a closed connection: the consequence, not the cause.
const consequences = new Set([
  'ABORT_ERR',
  'ECONNRESET',
  'EPIPE',
  'ERR_CIO_CLOSED',
  'ERR_CIO_CLOSING',
  'ERR_CIO_STOPPED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/** The error of a run: the original cause, if the thrown error is its consequence. */
export function rootCause(ctx: StreamContext, thrown: Error | undefined): Error | undefined {
  const error = causeOf(ctx, thrown)
  return error && isOfIterator(error, ctx) ? iterated(ctx, error) : error
}

/** Whether Node's own async iterator destroyed the stream, which leaves no other reason. */
function isOfIterator(error: Error, ctx: StreamContext): boolean {
  const { code, cause } = error as NodeJS.ErrnoException
  if (code !== 'ABORT_ERR' || cause !== undefined) return false
  const { destroyedWith } = lifeOf<StreamLife>(ctx)
  return error === ctx.broken && error !== destroyedWith
}

function iterated({ step }: StreamContext, cause: Error): CioError {
  const message = `the stream was destroyed when a loop over it ended, as Node's \`for await (… of ctx.stream)\` does, in \`${step}\` or outside it; write \`for await (const chunk of ctx)\`, which leaves the stream open for a reply`
  return new CioError('ERR_CIO_ITERATED', message, { cause })
}

function causeOf(ctx: StreamContext, thrown: Error | undefined): Error | undefined {
  const { broken } = ctx
  if (!thrown || thrown === broken) return broken
  const { code, name } = thrown as NodeJS.ErrnoException
  const gone = broken !== undefined || ctx.isClosed
  return gone && (consequences.has(code ?? '') || name === 'AbortError') ? broken : thrown
}

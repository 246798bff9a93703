/** The TLS step of both ends, and the same handshake for middleware that do it later. */

import type { TLSSocket } from 'node:tls'
import { debug } from '../debug.ts'
import { emitSafely } from '../lifecycle/app-events.ts'
import type { Contexts } from '../lifecycle/app.ts'
import { handshakeOfClient } from './client-handshake.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { noteBytesBeforeTls } from '../lifecycle/bytes-of.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { whoIs } from './handshake-errors.ts'
import { tlsWish } from '../lifecycle/known-options.ts'
import type { Next } from '../pipeline/middleware.ts'
import { handshakeOfServer } from './server-handshake.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { TlsClientOptions } from './tls-options.ts'

const log = debug('cio:secure')

type ClientContext = Contexts['client']

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /** A server or a client has finished a TLS handshake, and has accepted the certificate. */
    secure: [ctx: ConnectionContext | ClientContext]
  }
}

/** The `secure` step of a connection: the server's side of the handshake. */
export function secureConnection(ctx: ConnectionContext, next: Next): Promise<void> {
  // Not async, so that a plain connection keeps no frame of it in memory.
  if (ctx.awaitsHandshake) return handshake(ctx).then(next)
  lifeOf(ctx).secure()
  return next()
}

/**
 * Upgrades the stream to TLS, as the `secure` step does, with the options of `listen()` or
 * `connect()`: for a middleware that does it later. It verifies the peer, or throws.
 *
 * @throws `ERR_CIO_HANDSHAKE` (remote), `ERR_CIO_HANDSHAKE_TIMEOUT` (remote), `ERR_CIO_REJECTED` (remote)
 * @throws `ERR_CIO_CERTIFICATE` (local): the server has no certificate
 */
export async function handshake(ctx: StreamContext): Promise<void> {
  if (ctx.kind === 'client' || ctx.tlsSkipped) noteBytesBeforeTls(ctx)
  if (ctx.kind === 'client') await handshakeOfClient(ctx as ClientContext)
  else await handshakeOfServer(ctx as ConnectionContext)
  if (log.enabled) log('%d %s, %s', ctx.id, (ctx.socket as TLSSocket).getProtocol(), whoIs(ctx))
  lifeOf(ctx).secure()
  emitSafely(ctx.app, 'secure', ctx as ConnectionContext | ClientContext)
}

/** The `secure` step of a client: its side of the handshake, with Node's check of the server. */
export async function secureClient(ctx: ClientContext, next: Next): Promise<void> {
  const life = lifeOf(ctx)
  if (wantsTls(ctx.options) && !ctx.tlsSkipped && !life.isSecured) await handshake(ctx)
  else life.secure()
  return next()
}

/** Whether options of `connect()` turn TLS on. */
export function wantsTls(options: TlsClientOptions): boolean {
  return options.tls ?? tlsWish('connect', options) !== undefined
}

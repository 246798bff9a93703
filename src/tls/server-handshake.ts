/**
 * The server's side of a handshake.
 *
 * A server accepts with `net.Server` and hands the socket to a `tls.Server` that never listens, so
 * that Node's own code verifies the peer. Only this file decides whether to accept the verdict: if
 * Node itself rejects, it hides the rejected identity.
 */

import type { Duplex } from 'node:stream'
import type { Server, TLSSocket } from 'node:tls'
import { hasVerifiedCertificate } from '../identity/peer-certificate.ts'
import { nothingSaid } from '../connection-end.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { startDeadline } from '../deadline.ts'
import { CioError, asError } from '../errors.ts'
import {
  clientRefusedError,
  handshakeClosedError,
  handshakeError,
  handshakeReason,
  handshakeTimeoutError,
} from './handshake-errors.ts'
import { checkRequest } from './client-hello-check.ts'
import { checkResumedDates, keepIssuerExpiry } from './issuer-expiry.ts'
import { type TlsServerOptions, defaultHandshakeTimeout } from './tls-options.ts'
import { type Handshake, choosesByName, handshakes, namesOf } from './tls-server.ts'
import { trustError } from './trust-store.ts'

/** Verifies the client, and puts the TLS socket on top of the stream. */
export async function handshakeOfServer(ctx: ConnectionContext): Promise<void> {
  if (!ctx.server?.tls) {
    throw new CioError(
      'ERR_CIO_CERTIFICATE',
      `a handshake with ${ctx.remote} takes a certificate, and the server has none; give \`key\` and \`cert\` to \`listen\``,
    )
  }
  const { tls: server, options } = ctx.server
  const raw = ctx.socket
  const names = namesOf(server)
  const socket = await serverHandshake(ctx, server, options)
  // Not restored afterwards: the socket beneath ends together with the TLS socket.
  ctx.stream = socket
  ctx.socket = socket
  if (socket.destroyed) {
    // The raw socket still has the remote address.
    ctx.socket = raw
    throw handshakeClosedError(ctx, ctx.remote, socket.errored)
  }
  checkRequest(ctx, socket, choosesByName(options))
  const { requestCert, rejectUnauthorized } = options
  if (requestCert && socket.authorized) {
    const keepOrCheck = socket.isSessionReused() ? checkResumedDates : keepIssuerExpiry
    keepOrCheck(names.trustHash, socket)
  }
  if (requestCert && rejectUnauthorized !== false && !hasVerifiedCertificate(socket, options)) {
    throw clientRefusedError(ctx)
  }
  // A reload during the handshake may have changed the CAs or lists.
  const unwelcome = names === namesOf(server) ? undefined : trustError(ctx, namesOf(server))
  if (unwelcome) throw unwelcome
}

/** Ends the handshake on a raw socket, if it is under way. */
function giveUp(this: Duplex): void {
  handshakes.get(this)?.close()
}

function serverHandshake(
  ctx: ConnectionContext,
  server: Server,
  { handshakeTimeout = defaultHandshakeTimeout }: TlsServerOptions,
): Promise<TLSSocket> {
  const raw = ctx.stream
  // Read now for the errors below, and for readers of `ctx.socket`: Node loses the address when it
  // destroys the socket.
  void ctx.socket?.remoteAddress
  return new Promise<TLSSocket>((resolve, reject) => {
    const settle = (): void => {
      deadline?.stop()
      handshakes.delete(raw)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const { preambleSize } = lifeOf(ctx)
    const isSilent = (): boolean => ctx.socket?.bytesRead === preambleSize && !ctx.isClosed
    const close = (): void => {
      if (isSilent()) fail(nothingSaid(ctx.remote, raw.errored))
      else fail(handshakeClosedError(ctx, ctx.remote, raw.errored, pending.serverName))
    }
    const deadline = startDeadline(handshakeTimeout, () =>
      fail(handshakeTimeoutError(ctx.remote, handshakeTimeout, pending.serverName)),
    )

    const pending: Handshake = {
      close,
      resolve: (socket) => {
        settle()
        raw.allowHalfOpen = halfOpen
        socket.allowHalfOpen = halfOpen
        resolve(socket)
      },
      reject: (cause) => {
        // Node reports the error with which this side destroyed the socket as a failure of the
        // peer.
        if (isSilent()) fail(nothingSaid(ctx.remote, cause))
        else if (ctx.isClosed) fail(asError(ctx.signal.reason))
        else fail(handshakeError(ctx.remote, handshakeReason(cause), cause, pending.serverName))
      },
    }
    if (raw.destroyed) return close()
    // Added before the listeners that end the run on `close`. Never removed: removing it costs more
    // memory than keeping it.
    raw.prependListener('close', giveUp)
    handshakes.set(raw, pending)
    // Notices a peer that leaves during the handshake; later the TLS socket does.
    const halfOpen = raw.allowHalfOpen
    raw.allowHalfOpen = false
    server.emit('connection', raw)
  })
}

/** The client's side of a handshake, with Node's check of the server. */

import { type TLSSocket, connect as connectTls, createSecureContext } from 'node:tls'
import { emitSafely } from '../lifecycle/app-events.ts'
import type { Contexts } from '../lifecycle/app.ts'
import { keepServerCertificate } from '../identity/peer-certificate.ts'
import { startDeadline } from '../deadline.ts'
import { CioError } from '../errors.ts'
import {
  handshakeClosedError,
  handshakeError,
  handshakeReason,
  handshakeTimeoutError,
} from './handshake-errors.ts'
import { handshakeCallbacks } from './handshake-callbacks.ts'
import { keepIssuerExpiry } from './issuer-expiry.ts'
import { askedName } from '../streams/host-name.ts'
import { checkDuration } from '../options.ts'
import { revealed } from '../lifecycle/secret-options.ts'
import { defaultHandshakeTimeout } from './tls-options.ts'
import { refusePfx, withoutRenegotiation } from './tls-server.ts'
import {
  checkResumedServer,
  clientTrust,
  serverNameCheck,
  serverRefusedError,
} from './verify-server-name.ts'

type ClientContext = Contexts['client']

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /**
     * A client begins a TLS handshake on this socket. Listen to its events `keylog`, `OCSPResponse`
     * and `session`. On a server, use `ctx.tls`.
     */
    handshake: [socket: TLSSocket, ctx: ClientContext]
  }
}

/** Verifies the server, and puts the TLS socket on top of the stream. */
export async function handshakeOfClient(ctx: ClientContext): Promise<void> {
  // Node would wait for an event that was emitted already.
  if (ctx.stream.destroyed) throw handshakeClosedError(ctx, ctx.remote, ctx.stream.errored)
  const socket = await clientHandshake(ctx)
  if (socket.isSessionReused()) checkResumedServer(ctx, socket)
  else if (socket.authorized) keepIssuerExpiry(clientTrust(ctx.options), socket)
}

function clientHandshake(ctx: ClientContext): Promise<TLSSocket> {
  const { options, remote } = ctx
  const { handshakeTimeout = defaultHandshakeTimeout } = options
  checkDuration('connect', 'handshakeTimeout', handshakeTimeout)
  refusePfx('connect', options)
  const raw = ctx.stream
  const checkName = serverNameCheck(options)
  const { session } = options
  const secureContext =
    options.secureContext ??
    createSecureContext({
      ...(revealed(options) as object),
      secureOptions: withoutRenegotiation(options),
    })

  return new Promise((resolve, reject) => {
    const socket = connectTls({
      // Without its secrets: Node keeps the options with the socket, and prints them with it.
      // Without its signal: that closes the run gracefully, where Node would destroy the socket.
      ...({ ...options, signal: undefined } as object),
      ...handshakeCallbacks('connect', options),
      secureContext,
      ...askedName(options),
      checkServerIdentity: (name, certificate) => {
        keepServerCertificate(socket, certificate.raw)
        return checkName(name, certificate)
      },
      ...(session && { session }),
      socket: raw,
    })
    emitSafely(ctx.app, 'handshake', socket, ctx)
    const asked = askedName(options).servername
    const deadline = startDeadline(handshakeTimeout, () =>
      socket.destroy(handshakeTimeoutError(remote, handshakeTimeout, asked)),
    )
    const fail = (error: Error): void => {
      deadline?.stop()
      if (socket.authorizationError) reject(serverRefusedError(remote, error))
      else if (error instanceof CioError) reject(error)
      else reject(handshakeError(remote, handshakeReason(error), error, asked))
    }
    const close = (): void => fail(handshakeClosedError(ctx, remote, null, asked))
    socket.once('error', fail)
    socket.once('close', close)
    socket.once('secureConnect', () => {
      deadline?.stop()
      // At once, so that an error always has a listener. Not restored afterwards: the socket
      // beneath ends together with the TLS socket.
      ctx.stream = socket
      ctx.socket = socket
      socket.off('error', fail)
      socket.off('close', close)
      resolve(socket)
    })
  })
}

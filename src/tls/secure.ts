/**
 * The TLS step of both ends.
 *
 * A server accepts with `net.Server` and hands the socket to a `tls.Server` that never listens, so
 * that Node's own code verifies the peer. Only this file decides whether to accept the verdict: if
 * Node itself rejects, it hides the rejected identity.
 */

import debug from 'debug'
import type { Duplex } from 'node:stream'
import { type Server, type TLSSocket, connect as connectTls, createSecureContext } from 'node:tls'
import { emitSafely } from '../lifecycle/app-events.ts'
import {
  checkResumedDate,
  hasVerifiedCertificate,
  keepServerCertificate,
} from '../identity/peer-certificate.ts'
import type { Contexts } from '../lifecycle/app.ts'
import { nothingSaid } from '../connection-end.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { startDeadline } from '../deadline.ts'
import { CioError, asError } from '../errors.ts'
import {
  clientRefusedError,
  handshakeError,
  handshakeTimeoutError,
  whoIs,
  handshakeClosedError,
  handshakeReason,
} from './handshake-errors.ts'
import { checkRequest } from './hello-check.ts'
import { askedName } from '../streams/host-name.ts'
import { tlsWish } from '../lifecycle/known-options.ts'
import type { Next } from '../pipeline/middleware.ts'
import { checkDuration } from '../options.ts'
import { revealed } from '../lifecycle/secret-options.ts'
import {
  type TlsClientOptions,
  type TlsServerOptions,
  defaultHandshakeTimeout,
} from './tls-options.ts'
import { trustError } from './trust-store.ts'
import { checkResumedServer, serverNameCheck, serverRefusedError } from './verify-server-name.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { StreamLife } from '../lifecycle/stream-life.ts'
import {
  type Handshake,
  choosesByName,
  handshakes,
  namesOf,
  refusePfx,
  withoutRenegotiation,
} from './tls-server.ts'

const log = debug('cio:secure')

type ClientContext = Contexts['client']

declare module '../lifecycle/app-events.ts' {
  interface AppEvents {
    /**
     * A client begins a TLS handshake on this socket. Listen to its events `keylog`, `OCSPResponse`
     * and `session`. On a server, use `ctx.tls`.
     */
    handshake: [socket: TLSSocket, ctx: ClientContext]
    /** A TLS handshake is done and the certificate is accepted, on a server or a client. */
    secure: [ctx: ConnectionContext | ClientContext]
  }
}

/** The `secure` step of a connection: the server's side of the handshake. */
export function secureConnection(ctx: ConnectionContext, next: Next): Promise<void> {
  // Not async: a plain connection keeps no frame of it.
  if (ctx.awaitsHandshake) return handshake(ctx).then(next)
  lifeOf<StreamLife>(ctx).secure()
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
  if (ctx.kind === 'client') return handshakeOfClient(ctx as ClientContext)
  const { server } = ctx as ConnectionContext
  if (server?.tls) return handshakeOfServer(ctx as ConnectionContext, server.tls, server.options)
  throw new CioError(
    'ERR_CIO_CERTIFICATE',
    `a handshake with ${ctx.remote} takes a certificate, and the server has none; give \`key\` and \`cert\` to \`listen\``,
  )
}

async function handshakeOfServer(
  ctx: ConnectionContext,
  server: Server,
  options: TlsServerOptions,
): Promise<void> {
  const raw = ctx.socket
  const names = namesOf(server)
  const socket = await serverHandshake(ctx, server, options)
  putOnTop(ctx, socket)
  if (socket.destroyed) {
    // The raw socket still has the remote address.
    ctx.socket = raw
    throw handshakeClosedError(ctx, ctx.remote, socket.errored)
  }
  checkRequest(ctx, socket, choosesByName(options))
  checkResumedDate(socket)
  const { requestCert, rejectUnauthorized } = options
  if (requestCert && rejectUnauthorized !== false && !hasVerifiedCertificate(socket, options)) {
    throw clientRefusedError(ctx)
  }
  // A reload during the handshake may have changed the CAs or lists.
  const unwelcome = names === namesOf(server) ? undefined : trustError(ctx, namesOf(server))
  if (unwelcome) throw unwelcome
  if (log.enabled) log('%d %s, %s', ctx.id, socket.getProtocol(), whoIs(ctx))
  lifeOf<StreamLife>(ctx).secure()
  emitSafely(ctx.app, 'secure', ctx)
}

/** Not put back afterwards: the end of the TLS socket is the end of the one beneath. */
function putOnTop(ctx: StreamContext, socket: TLSSocket): void {
  ctx.stream = socket
  ctx.socket = socket
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
  // Node loses the address with the socket unless it was read before, and the errors below name it.
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
    const { preambleSize } = lifeOf<StreamLife>(ctx)
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
        // Node reports the error by which this side destroyed the socket as a failure of the peer.
        if (isSilent()) fail(nothingSaid(ctx.remote, cause))
        else if (ctx.isClosed) fail(asError(ctx.signal.reason))
        else fail(handshakeError(ctx.remote, handshakeReason(cause), cause, pending.serverName))
      },
    }
    if (raw.destroyed) return close()
    // Before the listeners that end the run on `close`. It is not removed: removing it costs more
    // memory than keeping it.
    raw.prependListener('close', giveUp)
    handshakes.set(raw, pending)
    // Notices a peer that leaves during the handshake; later the TLS socket does.
    const halfOpen = raw.allowHalfOpen
    raw.allowHalfOpen = false
    server.emit('connection', raw)
  })
}

/** The `secure` step of a client: its side of the handshake, with Node's check of the server. */
export async function secureClient(ctx: ClientContext, next: Next): Promise<void> {
  const life = lifeOf<StreamLife>(ctx)
  if (wantsTls(ctx.options) && !ctx.tlsSkipped && !life.isSecured) await handshake(ctx)
  else life.secure()
  return next()
}

/** Whether options of `connect()` turn TLS on. */
export function wantsTls(options: TlsClientOptions): boolean {
  return options.tls ?? tlsWish('connect', options) !== undefined
}

async function handshakeOfClient(ctx: ClientContext): Promise<void> {
  // Node would wait for an event that was emitted already.
  if (ctx.stream.destroyed) throw handshakeClosedError(ctx, ctx.remote, ctx.stream.errored)
  const socket = await clientHandshake(ctx)
  putOnTop(ctx, socket)
  if (socket.isSessionReused()) checkResumedServer(ctx, socket)
  if (log.enabled) log('%d %s, %s', ctx.id, socket.getProtocol(), whoIs(ctx))
  lifeOf<StreamLife>(ctx).secure()
  emitSafely(ctx.app, 'secure', ctx)
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
      ...(options as object),
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
      if (error instanceof CioError) reject(error)
      else if (socket.authorizationError) reject(serverRefusedError(remote, error))
      else reject(handshakeError(remote, handshakeReason(error), error, asked))
    }
    const close = (): void => fail(handshakeClosedError(ctx, remote, null, asked))
    socket.once('error', fail)
    socket.once('close', close)
    socket.once('secureConnect', () => {
      deadline?.stop()
      ctx.stream = socket
      socket.off('error', fail)
      socket.off('close', close)
      resolve(socket)
    })
  })
}

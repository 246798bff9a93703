/** The `tls.Server` that does the handshakes of a server, and never listens. */

import { constants, createHash } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Server, type TLSSocket, type TlsOptions, createServer } from 'node:tls'
import { CioError } from '../errors.ts'
import { keepName } from './hello-check.ts'
import { tlsWish } from '../lifecycle/known-options.ts'
import { checkDuration, maxTimerDelay } from '../options.ts'
import { conceal, revealed } from '../lifecycle/secret-options.ts'
import { ServerNames, namesDiffer } from './sni.ts'
import type { TlsServerOptions } from './tls-options.ts'
import { trustHash } from './trust-store.ts'

/** Where the outcome of a handshake on a raw socket goes. */
export interface Handshake {
  readonly close: () => void
  readonly resolve: (socket: TLSSocket) => void
  readonly reject: (error: Error) => void
}

/** The handshakes that are under way, by the socket beneath. */
export const handshakes: Map<Duplex, Handshake> = new Map()

/**
 * The server that does the handshakes, or null where the options ask for none.
 *
 * @throws `ERR_CIO_CERTIFICATE`: options ask for TLS, and there is no certificate
 */
export function createTlsServer(options: TlsServerOptions): Server | null {
  checkDuration('listen', 'handshakeTimeout', options.handshakeTimeout ?? Infinity)
  if (!hasIdentity(options)) return null
  refusePfx('listen', options)

  const settings = settingsOf(options)
  const server: Server = createServer({
    ...revealed(options),
    ...settings,
    ...(choosesByName(options) && { SNICallback: chooseByName }),
    rejectUnauthorized: false,
    // Ours is a deadline; Node's starts again with every byte, and closes nothing.
    handshakeTimeout: maxTimerDelay,
  } as TlsOptions)
  conceal(server)
  /** Node calls it on the socket of the handshake. */
  function chooseByName(this: TLSSocket, name: string, done: ChosenByName): void {
    keepName(this, name)
    if (options.sni) namesOf(server).find(name, done)
    else options.SNICallback!.call(this, name, done)
  }
  names.set(server, new ServerNames(options, settings.sessionIdContext))
  server.on('secureConnection', (socket) => {
    if (socket.getProtocol() === 'TLSv1.3') socket._final = endNextTurn
    handshakes.get(rawOf(socket))?.resolve(socket)
  })
  server.on('tlsClientError', (error, socket) => handshakes.get(rawOf(socket))?.reject(error))
  return server
}

/**
 * Node would trust every certificate of such a file; `certs` has put its key and chain in its place.
 *
 * @throws `ERR_CIO_CERTIFICATE`: `certs` is not in the pipeline
 */
export function refusePfx(owner: string, { pfx }: { readonly pfx?: unknown }): void {
  if (pfx === undefined) return
  throw new CioError(
    'ERR_CIO_CERTIFICATE',
    `${owner}: \`pfx\` is read by \`certs\`, which is not in the pipeline; leave it there, or give \`key\` and \`cert\``,
  )
}

type ChosenByName = Parameters<NonNullable<TlsOptions['SNICallback']>>[1]

/** Whether the name that a client asks for decides about the certificate. */
export function choosesByName({ sni, SNICallback }: TlsServerOptions): boolean {
  return sni !== undefined || SNICallback !== undefined
}

/**
 * Puts other keys, certificates and CAs in place of those that a server has; connections that are
 * open keep theirs. Where it throws, nothing has changed.
 */
export function swapCertificates(server: Server, options: TlsServerOptions): void {
  const settings = settingsOf(options)
  const next = new ServerNames(options, settings.sessionIdContext)
  // What cannot be read fails here, while nothing has changed.
  if (options.requestCert) next.trustOf(undefined)
  // All of it: what is left out falls back to Node's defaults, `ca` to the public roots.
  server.setSecureContext({ ...revealed(options), ...settings } as TlsOptions)
  conceal(server)
  names.set(server, next)
}

const names = new WeakMap<Server, ServerNames>()

/** The names of a server, as they are now: another object after each swap. */
export function namesOf(server: Server): ServerNames {
  return names.get(server)!
}

interface Settings {
  readonly sessionIdContext: string
  readonly secureOptions: number
}

/** What Cio decides about a context, whatever the options say. */
function settingsOf(options: TlsServerOptions): Settings {
  const noTickets = namesDiffer(options) ? constants.SSL_OP_NO_TICKET : 0
  return {
    sessionIdContext: sessionContext(options),
    secureOptions: withoutRenegotiation(options) | noTickets,
    // Who asks for no name gets none, either.
    ...(options.strictSni && { key: undefined, cert: undefined, pfx: undefined }),
  }
}

/**
 * What is given or Node's own default, and who is trusted: a ticket from before a revocation, or
 * from a server with the same `ticketKeys` that trusts others, is not taken for a certificate that
 * was verified here.
 */
function sessionContext(options: TlsServerOptions): string {
  const { sessionIdContext = process.argv.join(' ') } = options
  const hash = createHash('sha256').update(sessionIdContext).update(trustHash(options))
  return hash.digest('hex').slice(0, 32)
}

/** Renegotiation may change the certificate of a connection whose peer has been let in. */
export function withoutRenegotiation({
  secureOptions = 0,
}: {
  readonly secureOptions?: number | undefined
}): number {
  return secureOptions | constants.SSL_OP_NO_RENEGOTIATION
}

/**
 * Ends a socket in the next turn of the event loop. Right after the handshake its session tickets
 * are still to be sent, and Node would leave them and the end half done.
 */
function endNextTurn(this: TLSSocket, done: (error?: Error | null) => void): void {
  setImmediate(() => Socket.prototype._final.call(this, done))
}

interface Beneath {
  readonly _parent: Duplex | null
  readonly _handle: { readonly _parentWrap?: { readonly stream: Duplex } } | null
}

/**
 * Node keeps the socket beneath a TLS socket here, and nowhere that is documented; a Duplex that is
 * no socket, in what Node wraps it in.
 */
function rawOf(socket: TLSSocket): Duplex {
  const { _parent: parent, _handle: handle } = socket as unknown as Beneath
  // A key that no handshake has, where it is gone: the raw socket's `close` tells of that.
  return parent ?? handle?._parentWrap?.stream ?? socket
}

/** Whether there is something to prove oneself by; refuses wishes that need it where there is not. */
function hasIdentity(options: TlsServerOptions): boolean {
  const { key, cert, pfx, sni = {}, SNICallback, pskCallback } = options
  const named = Object.keys(sni).length > 0
  if ((key && cert) || pfx || named || SNICallback || pskCallback) return true

  const wish = tlsWish('listen', options)
  if (wish === undefined) return false
  throw new CioError(
    'ERR_CIO_CERTIFICATE',
    `\`${wish}\` asks for TLS, and there is no certificate to do it with; give \`key\` and \`cert\`, or \`pfx\`, \`SNICallback\` or \`pskCallback\`, or leave \`${wish}\` out for a server without TLS`,
  )
}

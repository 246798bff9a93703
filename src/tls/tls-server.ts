/** The `tls.Server` that does the handshakes of a server, and never listens. */

import { constants, createHash } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Server, type TLSSocket, type TlsOptions, createServer } from 'node:tls'
import { CioError } from '../errors.ts'
import { keepName } from './client-hello-check.ts'
import { askSni, handshakeCallbacks } from './handshake-callbacks.ts'
import { tlsWish } from '../lifecycle/known-options.ts'
import { checkDuration, maxTimerDelay } from '../options.ts'
import { conceal, revealed } from '../lifecycle/secret-options.ts'
import { ServerNames, namesDiffer } from './sni.ts'
import type { TlsServerOptions } from './tls-options.ts'
import { trustHash } from './trust-store.ts'

/** The callbacks for the outcome of a handshake on a raw socket. */
export interface Handshake {
  readonly close: () => void
  readonly resolve: (socket: TLSSocket) => void
  readonly reject: (error: Error) => void
  /** The name that the client asked for, if it is known. */
  serverName?: string | false
}

/** The handshakes that are under way, by the socket beneath. */
export const handshakes: Map<Duplex, Handshake> = new Map()

/**
 * The server that does the handshakes, or null if the options do not turn TLS on.
 *
 * @throws `ERR_CIO_CERTIFICATE`: the options turn TLS on without a certificate
 */
export function createTlsServer(options: TlsServerOptions): Server | null {
  checkDuration('listen', 'handshakeTimeout', options.handshakeTimeout ?? Infinity)
  if (!hasIdentity(options)) return null
  refusePfx('listen', options)

  const settings = settingsOf(options)
  const server: Server = createServer({
    ...revealed(options),
    ...settings,
    ...handshakeCallbacks('listen', options),
    ...(choosesByName(options) && { SNICallback: chooseByName }),
    rejectUnauthorized: false,
    // Cio's timeout is a deadline; Node's restarts with every byte, and closes nothing.
    handshakeTimeout: maxTimerDelay,
  } as TlsOptions)
  conceal(server)
  /** Node calls it on the socket of the handshake. */
  function chooseByName(this: TLSSocket, name: string, done: ChosenByName): void {
    keepName(this, name)
    const pending = handshakes.get(rawOf(this))
    if (pending) pending.serverName = name
    if (options.sni) namesOf(server).find(name, done)
    else askSni(options.SNICallback!, this, name, done)
  }
  names.set(server, new ServerNames(options, settings.sessionIdContext))
  withholdSessions(server, namesDiffer(options))
  server.on('secureConnection', (socket) => {
    if (socket.getProtocol() === 'TLSv1.3') socket._final = endNextTurn
    handshakes.get(rawOf(socket))?.resolve(socket)
  })
  server.on('tlsClientError', (error, socket) => {
    const pending = handshakes.get(rawOf(socket))
    if (pending) pending.serverName ??= askedBy(socket)
    pending?.reject(error)
  })
  return server
}

/**
 * Node would trust every certificate of a PKCS#12 file; `certs` replaces it by its key and chain.
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

/** Whether SNI selects the certificate. */
export function choosesByName({ sni, SNICallback }: TlsServerOptions): boolean {
  return sni !== undefined || SNICallback !== undefined
}

/**
 * Replaces the keys, certificates and CAs of a server; open connections keep theirs. If it throws,
 * nothing has changed.
 */
export function swapCertificates(server: Server, options: TlsServerOptions): void {
  const settings = settingsOf(options)
  const next = new ServerNames(options, settings.sessionIdContext)
  // Unreadable input fails here, before anything changes.
  if (options.requestCert) next.trustOf(undefined)
  // Set all options: an omitted one falls back to Node's default, `ca` to the public roots.
  server.setSecureContext({ ...revealed(options), ...settings } as TlsOptions)
  conceal(server)
  names.set(server, next)
  withholdSessions(server, namesDiffer(options))
}

/**
 * Hides sessions from an application that stores them, if a session of one name must not be resumed
 * under another. The option that turns off tickets does not turn off session ids, and before TLS
 * 1.3 Node has no other place to refuse a session.
 */
function withholdSessions(server: Server, withhold: boolean): void {
  if (!withhold) return void Reflect.deleteProperty(server, 'emit')
  server.emit = (event: string, ...values: unknown[]): boolean => {
    if (event !== 'newSession' && event !== 'resumeSession') {
      return EventEmitter.prototype.emit.call(server, event, ...values)
    }
    const done = values.at(-1) as (error: null, session: null) => void
    done(null, null)
    return true
  }
}

const names = new WeakMap<Server, ServerNames>()

/** The current SNI names of a server: a new object after each swap. */
export function namesOf(server: Server): ServerNames {
  return names.get(server)!
}

interface Settings {
  readonly sessionIdContext: string
  readonly secureOptions: number
}

/** The settings of a secure context that Cio overrides. */
function settingsOf(options: TlsServerOptions): Settings {
  const noTickets = namesDiffer(options) ? constants.SSL_OP_NO_TICKET : 0
  return {
    sessionIdContext: sessionContext(options),
    secureOptions: withoutRenegotiation(options) | noTickets,
    // With `strictSni`, a client that sends no SNI gets no certificate.
    ...(options.strictSni && { key: undefined, cert: undefined, pfx: undefined }),
  }
}

/**
 * The session id context: the given one or Node's default, plus a hash of the trust store. So a
 * ticket from before a revocation, or from a server with the same `ticketKeys` and other CAs, does
 * not count as a certificate that was verified here.
 */
function sessionContext(options: TlsServerOptions): string {
  const { sessionIdContext = process.argv.join(' ') } = options
  const hash = createHash('sha256').update(sessionIdContext).update(trustHash(options))
  return hash.digest('hex').slice(0, 32)
}

/** Renegotiation could change the certificate of an admitted connection. */
export function withoutRenegotiation({
  secureOptions = 0,
}: {
  readonly secureOptions?: number | undefined
}): number {
  return secureOptions | constants.SSL_OP_NO_RENEGOTIATION
}

/**
 * Ends a socket in the next turn of the event loop. Right after the handshake Node still has to
 * send session tickets, and would leave both them and the end unfinished.
 */
function endNextTurn(this: TLSSocket, done: (error?: Error | null) => void): void {
  setImmediate(() => Socket.prototype._final.call(this, done))
}

interface Beneath {
  readonly _parent: Duplex | null
  readonly _handle: { readonly _parentWrap?: { readonly stream: Duplex } } | null
}

/**
 * Node keeps the socket beneath a TLS socket in this undocumented property. For a Duplex that is
 * not a socket, it keeps a wrapper there.
 */
function rawOf(socket: TLSSocket): Duplex {
  const { _parent: parent, _handle: handle } = socket as unknown as Beneath
  // If the socket is closed, a key that no handshake has; the `close` of the raw socket reports the
  // end.
  return parent ?? handle?._parentWrap?.stream ?? socket
}

interface Asked {
  readonly _handle: { readonly getServername?: () => string | false } | null
}

/**
 * Node sets `servername` after the handshake, so after a failed handshake only OpenSSL knows it.
 */
function askedBy(socket: TLSSocket): string | false {
  return (socket as unknown as Asked)._handle?.getServername?.() ?? false
}

/**
 * Whether a certificate or another credential is configured. Refuses options that need one if there
 * is none.
 */
function hasIdentity(options: TlsServerOptions): boolean {
  const { key, cert, pfx, sni = {}, SNICallback, pskCallback } = options
  const named = Object.keys(sni).length > 0
  if ((key && cert) || pfx || named || SNICallback || pskCallback) return true

  const wish = tlsWish('listen', options)
  if (wish === undefined) return false
  throw new CioError(
    'ERR_CIO_CERTIFICATE',
    `\`${wish}\` requires TLS, but no certificate is configured; give \`key\` and \`cert\`, or \`pfx\`, \`SNICallback\` or \`pskCallback\`, or leave \`${wish}\` out for a server without TLS`,
  )
}

/** The `tls.Server` that does the handshakes of a server, and never listens. */

import { constants, createHash } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type Server, type TLSSocket, createServer } from 'node:tls'
import { CioError } from './errors.ts'
import { checkDuration, longestTimer } from './option.ts'
import type { ListenOptions } from './server.ts'

/** Where the outcome of a handshake on a raw socket goes. */
export interface Handshake {
  readonly resolve: (socket: TLSSocket) => void
  readonly reject: (error: Error) => void
}

/** The handshakes that are under way, by the socket beneath. */
export const handshakes: WeakMap<Duplex, Handshake> = new WeakMap()

/**
 * The server that does the handshakes, or null where the options ask for none.
 *
 * @throws `ERR_CIO_CERTIFICATE`: options ask for TLS, and there is no certificate
 */
export function createTlsServer(options: ListenOptions): Server | null {
  checkDuration('listen', 'handshakeTimeout', options.handshakeTimeout ?? Infinity)
  if (!hasIdentity(options)) return null

  const server = createServer({
    sessionIdContext: sessionContext(options),
    ...(options as object),
    secureOptions: withoutRenegotiation(options),
    rejectUnauthorized: false,
    // Ours is a deadline; Node's starts again with every byte, and closes nothing.
    handshakeTimeout: longestTimer,
  })
  server.on('secureConnection', (socket) => handshakes.get(rawOf(socket))?.resolve(socket))
  server.on('tlsClientError', (error, socket) => handshakes.get(rawOf(socket))?.reject(error))
  return server
}

/**
 * Node's own default, and who is trusted: a ticket from before a revocation, or from a server with
 * the same `ticketKeys` that trusts others, is not taken for a certificate that was verified here.
 */
function sessionContext({ ca, crl }: ListenOptions): string {
  const hash = createHash('sha256').update(process.argv.join(' '))
  for (const list of [ca, crl]) {
    hash.update('\0')
    for (const one of [list].flat()) if (one !== undefined) hash.update(String(one))
  }
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
function hasIdentity(options: ListenOptions): boolean {
  const { key, cert, pfx, SNICallback, pskCallback } = options
  if ((key && cert) || pfx || SNICallback || pskCallback) return true

  const wishes = ['requestCert', 'rejectUnauthorized', 'ca', 'crl', 'key', 'cert'] as const
  const wish = wishes.find((name) => options[name] !== undefined && options[name] !== false)
  if (wish === undefined) return false
  throw new CioError(
    'ERR_CIO_CERTIFICATE',
    `\`${wish}\` asks for TLS, and there is no certificate to do it with; give \`key\` and \`cert\`, or \`pfx\`, or leave \`${wish}\` out for a server without TLS`,
  )
}

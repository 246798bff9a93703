/** Why a connection ended: one reason from a closed set. */

import { CioError, isCioError } from './errors.ts'

/** The reasons, in groups: regular, refused, a local limit, the other side, this side. */
export const endReasons = [
  /** The client or server at the other side ended, and all middleware returned. */
  'remote_ended',
  /** The middleware returned before the other side ended. */
  'served',
  /** It finished on request: `close()`, or a draining server. */
  'drained',
  /** The other side left without a byte, as health checks and port scanners do. */
  'nothing_said',

  /** A limit of `limit` was reached. */
  'over_limit',
  /** A list rejected the peer. */
  'not_admitted',
  /** The certificate of the peer is missing, or was not verified. */
  'untrusted',
  /** The certificate of the peer expired while it was connected. */
  'expired',
  /** `route` has no target for the connection. */
  'no_route',

  /** The TLS handshake took too long. */
  'handshake_timeout',
  /** No byte passed for too long, or a ping had no answer. */
  'idle',
  /** The other side did not read what was written. */
  'not_reading',
  /** The connection reached its greatest age. */
  'too_old',
  /** It was destroyed: at the deadline of `close()`, or by `destroy()` without an error. */
  'forced',

  /** The TLS handshake failed. */
  'handshake_failed',
  /** The network or the other side reset the connection. */
  'remote_reset',
  /** A PROXY header was missing, late or malformed. */
  'bad_header',
  /** The other side sent what the protocol does not allow. */
  'bad_data',
  /** Any other error with fault `remote`. */
  'remote_fault',

  /** An upstream server failed. */
  'upstream',
  /** The application failed. */
  'local_fault',
  /** The middleware did not return after the connection was destroyed. */
  'stuck',
] as const

/** Why a connection ended. */
export type EndReason = (typeof endReasons)[number]

/** The rule or the limit of Cio's own middleware that refused a connection. */
export type RefusalReason =
  | 'no_tls'
  | 'no_certificate'
  | 'untrusted'
  | 'expired'
  | 'revoked'
  | 'name_defect'
  | 'not_listed'
  | 'listed'
  | 'rule_failed'
  | 'rule_timeout'
  | 'connections'
  | 'perAddress'
  | 'queued'
  | 'rate'
  | 'ratePerAddress'
  | 'handshakes'
  | 'no_route'

/** Why a connection was refused, in a form for programs; the message is for readers. */
export interface Refusal {
  /** The middleware that refused it. */
  readonly step: string
  /** The rule or the limit that refused it; a middleware of yours may have words of its own. */
  // oxlint-disable-next-line typescript/no-redundant-type-constituents
  readonly why: RefusalReason | (string & {})
  /**
   * The file and line that registered the middleware; `cio` for a step of Cio. Cio fills it in, so
   * that it is there in `reject`, `remoteError` and `close`.
   */
  readonly at?: string
  /** The verified name, or the claimed name of an unverified certificate. Null without either. */
  readonly peer?: { readonly name: string | null; readonly verified: boolean }
  /** The verdict of OpenSSL, such as `CERT_HAS_EXPIRED`. */
  readonly verdict?: string
}

/** What is known of a TLS handshake that failed. */
export interface HandshakeFailure {
  /**
   * The host name that the client asked for by SNI, in canonical form. Null if it asked for none, or
   * left before Node knew it.
   */
  readonly serverName: string | null
  /**
   * OpenSSL's reason, such as `wrong version number`, or Cio's. Undefined after a timeout or an error
   * of the network.
   */
  readonly reason: string | undefined
  /**
   * Which way an alert went. `received`: the other side objects to something of this side, such as
   * its certificate. `sent`: this side objects. Undefined without an alert.
   */
  readonly alert: 'sent' | 'received' | undefined
}

/** How a connection ended. */
export interface ConnectionEnd {
  readonly reason: EndReason
  /** Which side ended it. */
  readonly by: 'remote' | 'local'
  /** A further word from a middleware, such as `quota`. */
  readonly why: string | undefined
  /** The innermost middleware entered at the end. */
  readonly step: string
  /** The code of the error, of Cio or of Node; undefined without an error. */
  readonly code: string | undefined
  readonly error: Error | undefined
  readonly refusal: Refusal | undefined
  /** More about a TLS handshake that failed; undefined for all other ends. */
  readonly handshake: HandshakeFailure | undefined
}

const ofRemote: ReadonlySet<EndReason> = new Set<EndReason>([
  'remote_ended',
  'nothing_said',
  'handshake_failed',
  'remote_reset',
  'bad_header',
  'bad_data',
  'remote_fault',
])

/** Reasons that only `close` reports, since they are normal at an open port. */
export const quietReasons: ReadonlySet<EndReason> = new Set<EndReason>([
  'remote_ended',
  'nothing_said',
])

/** The reason for each code that has one; all others follow their fault. */
const reasons: Readonly<Record<string, EndReason>> = {
  ERR_CIO_DECODE: 'bad_data',
  ERR_CIO_DECODE_RATIO: 'bad_data',
  ERR_CIO_DRAIN_TIMEOUT: 'forced',
  ERR_CIO_EXPIRED: 'expired',
  ERR_CIO_FIRST_BYTE: 'idle',
  ERR_CIO_FLOOD: 'bad_data',
  ERR_CIO_FLUSH_TIMEOUT: 'not_reading',
  ERR_CIO_FRAME_TIMEOUT: 'idle',
  ERR_CIO_HALF_OPEN: 'remote_ended',
  ERR_CIO_HANDSHAKE: 'handshake_failed',
  ERR_CIO_HANDSHAKE_TIMEOUT: 'handshake_timeout',
  ERR_CIO_HTTP: 'bad_data',
  ERR_CIO_IDLE: 'idle',
  ERR_CIO_INJECTION: 'bad_data',
  ERR_CIO_INVALID_MESSAGE: 'bad_data',
  ERR_CIO_LIFETIME: 'too_old',
  ERR_CIO_MESSAGE_TOO_LONG: 'bad_data',
  ERR_CIO_MULTIPLEX: 'bad_data',
  ERR_CIO_NOTHING_SAID: 'nothing_said',
  ERR_CIO_NO_ROUTE: 'no_route',
  ERR_CIO_PEEK_TIMEOUT: 'idle',
  ERR_CIO_PING_TIMEOUT: 'idle',
  ERR_CIO_CONNECT: 'upstream',
  ERR_CIO_CONNECT_TIMEOUT: 'upstream',
  ERR_CIO_PROXY: 'upstream',
  ERR_CIO_PROXY_AUTH: 'upstream',
  ERR_CIO_PROXY_HEADER: 'bad_header',
  ERR_CIO_PROXY_HEADER_TIMEOUT: 'bad_header',
  ERR_CIO_QUEUE_SIZE: 'not_reading',
  ERR_CIO_REJECTED: 'not_admitted',
  ERR_CIO_SLOW_READER: 'not_reading',
  ERR_CIO_START_TLS: 'bad_data',
  ERR_CIO_STREAM_REFUSED: 'upstream',
  ERR_CIO_STREAM_RESET: 'remote_reset',
  ERR_CIO_STUCK: 'stuck',
  ERR_CIO_SYNTAX: 'bad_data',
  ERR_CIO_TRUNCATED: 'bad_data',
  ERR_CIO_UPSTREAM: 'upstream',
  ERR_CIO_WEBSOCKET: 'bad_data',
  ERR_CIO_WRITE_TIMEOUT: 'not_reading',
}

/** The reason that belongs to an error of Cio. */
export function reasonOf({ code, fault, end }: CioError): EndReason {
  // An error of another class may have the name of ours, and anything in it.
  if (typeof end === 'string') return end
  const known = Object.hasOwn(reasons, code) ? reasons[code] : undefined
  return known ?? (fault === 'local' ? 'local_fault' : 'remote_fault')
}

/** Describes an end. */
export function describeEnd(
  step: string,
  reason: EndReason,
  error: Error | undefined,
): ConnectionEnd {
  const cio = isCioError(error) ? error : undefined
  return {
    reason,
    by: ofRemote.has(reason) ? 'remote' : 'local',
    why: typeof cio?.why === 'string' ? cio.why : undefined,
    step,
    code: error && codeOf(error),
    error,
    refusal: typeof cio?.refusal?.why === 'string' ? cio.refusal : undefined,
    handshake: cio?.handshake,
  }
}

/** Notes where the middleware was registered that refused a connection, if that is not known yet. */
export function noteSite(thrown: unknown, at: string | undefined): void {
  if (at === undefined || !isCioError(thrown)) return
  try {
    const { refusal } = thrown
    // The error may be of another copy of Cio, and its refusal frozen.
    if (refusal?.at === undefined) Reflect.set(refusal ?? {}, 'at', at)
  } catch {
    // An error that cannot be read is reported as such, and no refusal.
  }
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: string | number }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : undefined
}

/** The error of a half-open stream over which nothing was written for too long. */
export function halfOpenError({ remote }: { readonly remote: string }, timeout: number): CioError {
  const message = `${remote} ended its side, and nothing was written for ${timeout} ms after that; for answers that take longer raise \`halfOpenTimeout\``
  return new CioError('ERR_CIO_HALF_OPEN', message, { fault: 'remote' })
}

/** The error of a client that leaves without a byte, as health checks do. */
export function nothingSaid(remote: string, cause: Error | null): CioError {
  const message = `${remote} closed the connection without sending a byte`
  return new CioError('ERR_CIO_NOTHING_SAID', message, {
    fault: 'remote',
    cause: cause ?? undefined,
  })
}

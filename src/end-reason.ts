/** The reasons for which a connection ends, and the details of a refusal or a failed handshake. */

/** The reasons, in groups: regular, refused, a local limit, the other side, this side. */
export const endReasons = [
  /** The client or server at the other side ended, and all middleware returned. */
  'remote_ended',
  /** The middleware returned, or destroyed the stream, before the other side ended. */
  'served',
  /** It finished on request, by `close()` or because its server drained. */
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
  /** No byte passed for too long, or a ping got no answer. */
  'idle',
  /** The other side did not read what was written. */
  'not_reading',
  /** The connection reached its maximum lifetime. */
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

/** Why a connection was refused, in a form for programs. The message is for readers. */
export interface Refusal {
  /** The middleware that refused it. */
  readonly step: string
  /** The rule or the limit that refused it. Your own middleware may use other words. */
  // oxlint-disable-next-line typescript/no-redundant-type-constituents
  readonly why: RefusalReason | (string & {})
  /**
   * The file and line that registered the middleware; `cio` for a step of Cio. Cio sets it before
   * it emits `reject`, `remoteError` and `close`.
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

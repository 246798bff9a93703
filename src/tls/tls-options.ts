/** The TLS options of `listen()` and `connect()`. */

import type { ServerOpts } from 'node:net'
import type { ConnectionOptions, TlsOptions } from 'node:tls'
import type { CertFilesOptions, CertificateOptions } from './certificates.ts'

/** The default of `handshakeTimeout`, at both ends, in milliseconds. */
export const defaultHandshakeTimeout = 10_000

/** Options of a server's side of TLS. */
export interface TlsServerOptions
  extends Omit<TlsOptions, keyof CertificateOptions | keyof ServerOpts>, CertificateOptions {
  /**
   * Milliseconds for a whole TLS handshake; then the connection is destroyed. `Infinity` waits
   * for ever.
   *
   * @default 10_000
   */
  readonly handshakeTimeout?: number
}

/** Options of a client's side of TLS. */
export interface TlsClientOptions
  extends
    Omit<
      ConnectionOptions,
      keyof CertFilesOptions | 'socket' | 'allowHalfOpen' | 'signal' | 'timeout'
    >,
    CertFilesOptions {
  /** Turns TLS on, if no other option does. Without it, any other TLS option turns TLS on. */
  readonly tls?: boolean
  /**
   * Milliseconds for a whole TLS handshake. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly handshakeTimeout?: number
}

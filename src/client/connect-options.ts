/** The options of `connect()`, and the target that they name. */

import type { Duplex } from 'node:stream'
import { withoutBrackets } from '../streams/host-name.ts'
import type { TlsClientOptions } from '../tls/tls-options.ts'

/**
 * Options of `connect()`: Node's own of `net.connect` and `tls.connect`, with the certificates as
 * `certs` takes them, and Cio's.
 *
 * Any option of TLS turns TLS on. `allowHalfOpen` is always on; `noDelay` is on unless it is
 * switched off.
 */
export interface ConnectOptions extends TlsClientOptions {
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  readonly keepAliveInitialDelay?: number
  readonly localAddress?: string
  readonly localPort?: number
  readonly family?: number
  readonly hints?: number
  readonly autoSelectFamily?: boolean
  /** Bytes that the socket buffers in each direction. Without it, Node's default. */
  readonly highWaterMark?: number
  /**
   * Milliseconds for each address of a name before the next one is tried; the last has all the time
   * that is left. Node's default is 250, which is too short for distant servers.
   *
   * @default 1_000
   */
  readonly autoSelectFamilyAttemptTimeout?: number
  /** Several targets, tried in turn: the array that `connect()` is given. */
  readonly targets?: readonly ConnectTarget[]
  /**
   * The order in which `targets` are tried: as given, or at random each time.
   *
   * @default 'given'
   */
  readonly order?: 'given' | 'random'
  /**
   * Makes the connection instead of `net.connect`: through a proxy, for example. Cio adds TLS on
   * top if it is configured; an identity beneath it is not `ctx.peer`.
   */
  readonly createConnection?: CreateConnection
  /**
   * Milliseconds for the connection to each target to be made, name look-up included. `Infinity`
   * leaves the timeout to the kernel.
   *
   * @default 10_000
   */
  readonly connectTimeout?: number
  /**
   * Milliseconds for what was written to reach the peer once the pipeline has returned.
   * `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
  /**
   * Milliseconds that this side may be silent after the server has ended its side; each write
   * restarts the time. Then the connection is closed. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /** Ends the client when it aborts: at once before it is connected, by `close()` afterwards. */
  readonly signal?: AbortSignal
}

/** One of several targets of `connect()`. */
export interface ConnectTarget {
  readonly host?: string
  readonly port?: number
  /** The path of a Unix socket, instead of a host and a port. */
  readonly path?: string
  /** The name that the server's certificate must have, if it is not the host. */
  readonly servername?: string
}

/**
 * Makes a connection instead of Node's `net.connect`.
 *
 * `options` are those of the run, with the host and the port of the target. When `signal` aborts,
 * the connection is not needed any more: Cio destroys one that comes late.
 */
export type CreateConnection = (
  options: ConnectOptions,
  signal: AbortSignal,
) => Duplex | Promise<Duplex>

/** The target of the options, for error messages. */
export function placeOf({
  path,
  host = 'localhost',
  port,
}: Pick<ConnectOptions, 'path' | 'host' | 'port'>): string {
  const bare = withoutBrackets(host)
  return path ?? `${bare.includes(':') ? `[${bare}]` : bare}:${port}`
}

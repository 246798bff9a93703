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
  /**
   * Node's option: sends small packets at once.
   *
   * @default true
   */
  readonly noDelay?: boolean
  /**
   * Node's option: TCP keep-alive.
   *
   * @default false
   */
  readonly keepAlive?: boolean
  /**
   * Node's option: milliseconds of silence before the first keep-alive probe.
   *
   * @default 0, the kernel's default
   */
  readonly keepAliveInitialDelay?: number
  /** Node's option: the local address to connect from. Without it, the kernel chooses. */
  readonly localAddress?: string
  /** Node's option: the local port to connect from. Without it, the kernel chooses. */
  readonly localPort?: number
  /**
   * Node's option: the IP version, 4 or 6; 0 allows both.
   *
   * @default 0
   */
  readonly family?: number
  /** Node's option: flags for `dns.lookup()`. Without it, none are set. */
  readonly hints?: number
  /**
   * Node's option: tries all addresses of a name, one after the other.
   *
   * @default true
   */
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
  /**
   * Several targets, tried in turn: the array that `connect()` is given. Without it, the other
   * options are the target.
   */
  readonly targets?: readonly ConnectTarget[]
  /**
   * The order in which `targets` are tried: as given, or at random each time.
   *
   * @default 'given'
   */
  readonly order?: 'given' | 'random'
  /**
   * Makes the connection instead of `net.connect`: through a proxy, for example. Cio adds TLS on
   * top if it is configured; an identity beneath it is not `ctx.peer`. Without it, Cio connects by
   * `net.connect`.
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
  /**
   * Ends the client when it aborts: at once before it is connected, by `close()` afterwards.
   * Without it, only `close()` does.
   */
  readonly signal?: AbortSignal
}

/** One of several targets of `connect()`. */
export interface ConnectTarget {
  /** The host name or address. Without it, `localhost`. */
  readonly host?: string
  /** The port. */
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

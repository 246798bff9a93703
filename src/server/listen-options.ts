/** The options of `listen()`. */

import type { ListenOptions as NodeListenOptions, ServerOpts } from 'node:net'
import type { TlsServerOptions } from '../tls/tls-options.ts'

/**
 * Options of `listen()`: Node's own of `net.createServer`, `server.listen` and `tls.createServer`,
 * with the certificates as `certs` takes them, and Cio's.
 *
 * `allowHalfOpen` is always on: the pipeline decides when to end. `noDelay` is on unless you switch
 * it off.
 */
export interface ListenOptions
  extends Omit<ServerOpts, 'allowHalfOpen'>, Omit<NodeListenOptions, 'signal'>, TlsServerOptions {
  /** A descriptor that listens already, such as 3, the first from systemd socket activation. */
  readonly fd?: number
  /**
   * Whether to listen. If false, the server still runs, over what you pass to `accept()`: sockets
   * that another process accepted, or the streams of a test.
   *
   * @default true
   */
  readonly bind?: boolean
  /**
   * Milliseconds for what was written to reach the peer once a connection's pipeline has
   * returned. `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
  /**
   * Milliseconds that a half-open connection may be silent after its client has ended its side;
   * each write restarts the time. Then `ctx.signal` aborts and the connection closes. `Infinity`
   * waits for ever, for long calls. 0 ends a connection as soon as its client does: the default of
   * `net.createServer`, which libraries for it expect.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /**
   * File descriptors to keep free for files and outgoing connections. When fewer are free, the
   * server stops listening for a second or more, and emits `overload`. 0 uses the last one; then
   * Node accepts and closes further connections without a report.
   *
   * @default 16
   */
  readonly reservedDescriptors?: number
  /** Ends the server when it aborts: at once before it listens, by `close()` afterwards. */
  readonly signal?: AbortSignal
}

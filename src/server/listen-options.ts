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
  /**
   * A descriptor that listens already: for example 3, the first one of systemd socket activation.
   * Without it, the server opens its own socket.
   */
  readonly fd?: number
  /**
   * Whether to listen. If false, the server still runs, with the sockets or streams that you pass
   * to `accept()`: sockets that another process accepted, or the streams of a test.
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
   * waits for ever, for long calls. With 0, Cio ends a connection as soon as its client ends it, as
   * `net.createServer` does by default; libraries for `net` expect that.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /**
   * File descriptors to keep free for files and outgoing connections. When fewer are free, the
   * server stops listening until clearly more are, for a second or more, and emits `overload`. With
   * 0, the server uses the last one too; then Node accepts and closes further connections without a
   * report.
   *
   * @default 16
   */
  readonly reservedDescriptors?: number
  /**
   * Ends the server when it aborts: at once before it listens, by `close()` afterwards. Without it,
   * only `close()` does.
   */
  readonly signal?: AbortSignal
}

/**
 * Connects to the target: with a plain socket at the least cost, and otherwise as a client does.
 */

import type { Duplex } from 'node:stream'
import { createSecureContext } from 'node:tls'
import { reportError } from '../../src/lifecycle/app-events.ts'
import { place } from '../../src/lifecycle/arguments.ts'
import { Cio } from '../../src/cio.ts'
import { checkOptions } from '../../src/lifecycle/known-options.ts'
import { ClientContext } from '../../src/client/client.ts'
import type { ConnectOptions } from '../../src/client/connect-options.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { dial } from '../../src/client/dial.ts'
import { startSocket } from '../../src/client/open-socket.ts'
import { asError } from '../../src/errors.ts'
import { checkDuration } from '../../src/options.ts'
import { allowListeners } from '../../src/streams/lazy-abort.ts'
import type { Resettable } from '../../src/streams/reset.ts'
import { handshake, wantsTls } from '../../src/tls/secure.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { withoutRenegotiation } from '../../src/tls/tls-server.ts'
import { rename, withMaterial } from '../certs.ts'
import { loadCerts } from '../../src/tls/certificates.ts'
import { pathsOf } from '../../src/tls/certificates/source.ts'

/**
 * The target of a connection: a port of this host, the path of a Unix socket, options of
 * `connect()`, a client's context that `connect()` has resolved to, or a Duplex.
 */
export type ForwardTarget = number | string | ConnectOptions | Duplex | StreamContext

type Bytes = Uint8Array | string | undefined

/** The checked options for all connections to a target. */
interface Prepared {
  readonly options: ConnectOptions
  readonly wantsTls: boolean
  /** The `performance.now()` after which the files are read again. */
  readonly staleAt: number
}

/** Milliseconds for which certificates are used before their files are read again. */
const freshFor = 60_000

/** Connects to the targets of one `forward`. */
export class Upstream {
  readonly #connectTimeout: number
  // The connection that uses the target reports a failure, once.
  readonly #app = new Cio().on('error', () => {})
  readonly #prepared = new WeakMap<ConnectOptions, Prepared>()

  constructor(connectTimeout: number) {
    this.#connectTimeout = connectTimeout
  }

  /** Connects to a target, and sends `bytes` first. */
  reach(ctx: ConnectionContext, target: ForwardTarget, bytes: Bytes): Promise<Resettable> {
    // Not async: a plain target costs one promise.
    if (typeof target !== 'object') {
      return connectPlain(
        ctx,
        { connectTimeout: this.#connectTimeout, ...place('connect', target) },
        bytes,
      )
    }
    if (isDuplex(target)) return this.#await(ctx, target, bytes)
    if (isContext(target)) return withBytesSent(target, bytes)
    const prepared = this.#prepared.get(target)
    if (!prepared) return this.#prepare(target).then((made) => this.#connect(ctx, made, bytes))
    if (prepared.staleAt < performance.now()) this.#refresh(ctx, target, prepared)
    return this.#connect(ctx, prepared, bytes)
  }

  /** A stream that another caller created may still connect; it has as long as any other target. */
  async #await(ctx: ConnectionContext, target: Duplex, bytes: Bytes): Promise<Resettable> {
    const own = { path: 'its stream', createConnection: () => target }
    await dial({ connectTimeout: this.#connectTimeout, ...own }, ctx.signal)
    return withBytesSent({ stream: target, socket: null, transport: target }, bytes)
  }

  /** Reads and checks certificates, and creates a secure context, once for each options object. */
  async #prepare(target: ConnectOptions): Promise<Prepared> {
    const given = { connectTimeout: this.#connectTimeout, ...target }
    checkOptions('connect', given)
    checkDuration('connect', 'connectTimeout', given.connectTimeout)
    const options = withMaterial(given, await loadCerts(rename(given)))
    const isSecure = wantsTls(options)
    const staleAt = pathsOf(target).length > 0 ? performance.now() + freshFor : Infinity
    const prepared = {
      options: isSecure ? { ...options, secureContext: contextOf(options) } : options,
      wantsTls: isSecure,
      staleAt,
    }
    this.#prepared.set(target, prepared)
    return prepared
  }

  /**
   * Reads the certificates again in the background; if something is wrong, the old ones stay in
   * use.
   */
  #refresh(ctx: ConnectionContext, target: ConnectOptions, old: Prepared): void {
    this.#prepared.set(target, { ...old, staleAt: performance.now() + freshFor })
    this.#prepare(target).catch((thrown: unknown) => reportError(ctx.app, asError(thrown), ctx))
  }

  #connect(ctx: ConnectionContext, prepared: Prepared, bytes: Bytes): Promise<Resettable> {
    const { options } = prepared
    const isPlain = !prepared.wantsTls && !options.targets && !options.createConnection
    if (isPlain && !options.signal) return connectPlain(ctx, options, bytes)
    return this.#connectClient(ctx, prepared, bytes)
  }

  async #connectClient(
    ctx: ConnectionContext,
    prepared: Prepared,
    bytes: Bytes,
  ): Promise<Resettable> {
    const { options } = prepared
    const client = new ClientContext(this.#app, options)
    const end = (): void => client.destroy(asError(options.signal?.reason ?? ctx.signal.reason))
    ctx.signal.addEventListener('abort', end)
    if (options.signal) allowListeners(options.signal)
    options.signal?.addEventListener('abort', end)
    try {
      options.signal?.throwIfAborted()
      const dialed = await dial(options, client.signal)
      client.attach(dialed.stream)
      client.options = dialed.options
      dialed.stream.once('close', () => options.signal?.removeEventListener('abort', end))
      // The handshake takes over the socket, so the bytes must be sent before it.
      if (bytes !== undefined) await writeBytes(client.stream, bytes)
      if (prepared.wantsTls) await handshake(client)
      return client
    } catch (thrown) {
      client.destroy()
      throw thrown
    } finally {
      ctx.signal.removeEventListener('abort', end)
    }
  }
}

function connectPlain(
  ctx: ConnectionContext,
  options: ConnectOptions,
  bytes: Bytes,
): Promise<Resettable> {
  const near = ctx.stream
  return new Promise((resolve, reject) => {
    const socket = startSocket(options, options.connectTimeout ?? Infinity, (error) => {
      near.off('close', abandon)
      if (error) return reject(error)
      if (bytes !== undefined) socket.write(bytes)
      resolve({ stream: socket, socket, transport: socket })
    })
    const abandon = (): void => void socket.destroy()
    near.on('close', abandon)
    if (near.destroyed) abandon()
  })
}

function contextOf(options: ConnectOptions): NonNullable<ConnectOptions['secureContext']> {
  const secureOptions = withoutRenegotiation(options)
  return options.secureContext ?? createSecureContext({ ...(options as object), secureOptions })
}

/** A stream that another caller created: destroy it on `error`, which may leave it open. */
function withBytesSent(reached: Resettable, bytes: Bytes): Promise<Resettable> {
  const { stream } = reached
  stream.on('error', (error) => stream.destroy(error))
  if (bytes !== undefined) stream.write(bytes)
  return Promise.resolve(reached)
}

function writeBytes(stream: Duplex, bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(bytes, (error) => (error ? reject(error) : resolve()))
  })
}

function isDuplex(target: object): target is Duplex {
  return 'pipe' in target && 'write' in target
}

function isContext(target: object): target is StreamContext {
  return 'stream' in target && 'closed' in target
}

/**
 * One `listen()`: its context, to which `listen()` resolves, and the `listen` step.
 *
 * Closing goes in this order: stop accepting; `draining` aborts on the server and on each
 * connection; wait for the connections; at the deadline, destroy those that are left; then the
 * server's middleware return, innermost first.
 */

import { X509Certificate } from 'node:crypto'
import type { AddressInfo, Server } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Server as TlsServer } from 'node:tls'
import { debug } from '../debug.ts'
import { Acceptor } from './acceptor.ts'
import { type Admission, type AdmissionOptions, admissionOf } from './admission.ts'
import { checkedOptions } from '../lifecycle/arguments.ts'
import { CioError } from '../errors.ts'
import { emitSafely } from '../lifecycle/app-events.ts'
import type { App } from '../lifecycle/app.ts'
import { ConnectionContext } from '../lifecycle/connection.ts'
import { runConnection } from '../lifecycle/run-connection.ts'
import { flushTimeout } from '../streams/end-gracefully.ts'
import {
  type CloseOptions,
  type CloseResult,
  Context,
  closeOptionNames,
  closeTimeout,
  lifeOf,
} from '../lifecycle/context.ts'
import { halfOpenTimeout } from '../streams/half-open.ts'
import type { Next } from '../pipeline/middleware.ts'
import { byteStream } from '../streams/byte-stream.ts'
import { checkDuration, checkOptionNames, optionError } from '../options.ts'
import { checkPeerNeeds, noSecureStep } from '../identity/peer-needs.ts'
import type { ListenOptions } from './listen-options.ts'
import { type OptionsLoader, Reloader } from './reload.ts'
import { run, stoppedError } from '../lifecycle/run.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import { ServerLife } from './server-life.ts'
import { createTlsServer } from '../tls/tls-server.ts'
import { checkWithin } from './staggered-drain.ts'
import { unawaited } from '../lifecycle/unawaited.ts'

const log = debug('cio:server')

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /** A server listens. */
    listening: [server: ServerContext]
  }
  interface Contexts {
    server: ServerContext
  }
}

/** The context of one `listen()`. `listen()` also resolves to it. */
export class ServerContext<Connection extends object = {}> extends Context {
  /** @internal */
  declare readonly lifeType: ServerLife
  /** Node's server; undefined until the `listen` step. */
  server: Server | undefined
  /**
   * Node's `tls.Server`, which does the handshakes and never listens. It is there from the `listen`
   * step on. Use it for its events `keylog`, `OCSPRequest`, `newSession` and `resumeSession`. Null
   * on a server without TLS.
   */
  tls: TlsServer | null = null

  #options: ListenOptions
  readonly #reloads = new Reloader(this)

  constructor(app: App, options: ListenOptions) {
    const life = new ServerLife()
    super(app, life)
    life.ctx = this
    this.#options = concealed(options)
    life.begin()
  }

  /** The kind of the context. */
  override get kind(): 'server' {
    return 'server'
  }

  /**
   * The options of this run; `certs` replaces file names by their contents. Keys and passphrases
   * are not enumerable. If you assign options without them, the present ones are kept.
   */
  get options(): ListenOptions {
    return this.#options
  }

  set options(options: ListenOptions) {
    this.#options = concealed(options, this.#options)
  }

  /**
   * Registers a function that makes options from the current ones, now and with each `reload()`.
   * For middleware that read files or settings that may change. Returns a function that removes it.
   */
  configure(load: OptionsLoader): Promise<() => void> {
    return this.#reloads.add(load)
  }

  /**
   * Hot reload: reads keys, certificates, CAs and revocation lists again, checks them, and uses
   * them. No connection and no handshake is lost. If anything is wrong, nothing changes. `revoked`
   * decides what happens to connections whose peer is not trusted any more.
   *
   * @throws `ERR_CIO_CERTIFICATE`: something is wrong; names the option and the file
   */
  reload(): Promise<void> {
    return unawaited(this, this.#reloads.run())
  }

  /**
   * Dry run of one client: whether this server would admit a certificate now, and which step would
   * refuse it. First it checks the certificate as a handshake does (CAs, revocation lists, dates,
   * purpose). Then it asks each middleware with the hint `refusalOf`, such as `allowList`, which
   * calls its predicates. There is no connection, and no event.
   *
   * @throws `ERR_CIO_OPTION`: an option is unknown, or `certificate` is not an `X509Certificate`
   */
  async wouldAdmit(
    certificate: X509Certificate,
    options: AdmissionOptions = {},
  ): Promise<Admission> {
    checkOptionNames('wouldAdmit', options, ['issuers', 'servername'])
    if (!(certificate instanceof X509Certificate)) {
      throw optionError('wouldAdmit', 'certificate', 'an X509Certificate', certificate)
    }
    return admissionOf(this, certificate, options)
  }

  /**
   * The open connections, from accept to close. A connection has the members that a middleware adds
   * only after that middleware has run: not during the TLS handshake, for example.
   */
  get connections(): ReadonlySet<ConnectionContext & Connection> {
    return lifeOf(this).connections as ReadonlySet<object> as ReadonlySet<
      ConnectionContext & Connection
    >
  }

  /**
   * Connections that Cio closed at once, without a context, because too few file descriptors were
   * left. It does not count connections that libuv closes itself when no descriptor is left at all.
   */
  get dropped(): number {
    return lifeOf(this).acceptor?.dropped ?? 0
  }

  /** The listening address, or the path of a Unix socket; null while the server does not listen. */
  get address(): AddressInfo | string | null {
    return this.server?.address() ?? null
  }

  /** The listening port; 0 on a Unix socket. */
  get port(): number {
    const { address } = this
    return typeof address === 'object' ? (address?.port ?? 0) : 0
  }

  /**
   * Graceful shutdown: stops accepting, asks the connections to finish, spread over `spread`, and
   * destroys the rest at the deadline. Fulfils when all middleware have returned.
   *
   * @throws `ERR_CIO_OPTION`: an option is unknown, `timeout` is not a duration, or `spread` or `minLifetime` is not
   *   one within it
   */
  override async close(options: CloseOptions = {}): Promise<CloseResult> {
    checkOptionNames('close', options, closeOptionNames)
    const { timeout = closeTimeout, spread = 0, minLifetime = 0 } = options
    checkDuration('close', 'timeout', timeout)
    checkWithin('close', 'spread', spread, timeout)
    checkWithin('close', 'minLifetime', minLifetime, timeout)
    const life = lifeOf(this)
    life.window = spread
    life.minLifetime = minLifetime
    return super.close(options)
  }

  /**
   * Stops accepting, and leaves the connections open. It closes the listening socket, since Node
   * has no other way. New connections are refused, and those in the backlog are reset. Does nothing
   * before the server listens, or without `bind`.
   *
   * @throws `ERR_CIO_PAUSE`: the server listens on a descriptor that was passed to it
   */
  pause(): void {
    lifeOf(this).acceptor?.pause()
  }

  /**
   * Accepts again, at the same address. Does nothing if the server listens already or is closing.
   *
   * @throws Node's error of listening: another process may have taken the address
   */
  resume(): Promise<void> {
    return unawaited(this, lifeOf(this).acceptor?.resume() ?? Promise.resolve())
  }

  /**
   * Runs a socket, or any other Duplex, as a connection of this server; destroys it if the server
   * is closed.
   *
   * @throws `ERR_CIO_OPTION`: not a Duplex, or an encoding is set
   */
  accept(stream: Duplex): ConnectionContext {
    const bytes = byteStream('accept', 'stream', stream)
    const ctx = new ConnectionContext(this.app, this, bytes, this.options)
    const { connections, isDraining, phase } = lifeOf(this)
    connections.add(ctx)
    if (isDraining) lifeOf(ctx).drain()
    // The server's middleware have returned, so their resources are gone.
    if (phase === 'closed') ctx.destroy()
    runConnection(ctx)
    return ctx
  }

  /**
   * Forgets a closed connection.
   *
   * @internal
   */
  forget(connection: ConnectionContext): void {
    const life = lifeOf(this)
    life.connections.delete(connection)
    life.checkEmptied()
  }

  /** @internal */
  protected override get summary(): object {
    return { address: this.address, connections: this.connections.size, ...super.summary }
  }
}

/** Runs the server pipeline; resolves when the server listens, rejects if it fails before. */
export function runServer(ctx: ServerContext): Promise<void> {
  return run(ctx, ctx.app.pipelines.server, (thrown) => {
    const error = thrown ?? (lifeOf(ctx).wasReady ? undefined : stoppedError(ctx, 'listened'))
    log('closed: %s', error?.message ?? 'ended')
    return lifeOf(ctx).destroyedWith ?? error
  })
}

/** The end of a server's pipeline: waits until the last connection has ended. */
export async function serverEnd(ctx: ServerContext): Promise<void> {
  const life = lifeOf(ctx)
  life.ready()
  emitSafely(ctx.app, 'listening', ctx)
  await life.untilEmptied()
}

/** The `listen` step: accepts connections until the inner middleware return. */
export async function listen(ctx: ServerContext, next: Next): Promise<void> {
  ctx.options = checkedOptions('listen', ctx.options)
  const { flushTimeout: flush = flushTimeout, halfOpenTimeout: silence = halfOpenTimeout } =
    ctx.options
  checkDuration('listen', 'flushTimeout', flush)
  checkDuration('listen', 'halfOpenTimeout', silence)
  // An error here fails `listen()`, not the first connection.
  await ctx.app.pipelines.connection.compose()
  // Passing `ca` implies `requestCert`; otherwise the README's first example would reject every
  // client.
  const { sni = {} } = ctx.options
  const trusted = [ctx.options, ...Object.values(sni)].some(({ ca }) => ca !== undefined)
  const { requestCert: given, crl } = ctx.options
  ctx.options = { ...ctx.options, requestCert: given ?? trusted }
  ctx.tls = createTlsServer(ctx.options)
  if (crl !== undefined && given === undefined && !trusted) {
    throw new CioError('ERR_CIO_CERTIFICATE', `\`crl\` would revoke no client: ${asksNone}`)
  }
  checkPeerNeeds(ctx.app.pipelines.connection, (hasStep) => whyNoPeer(ctx, hasStep))

  const life = lifeOf(ctx)
  if (ctx.options.bind !== false) {
    life.acceptor = new Acceptor(ctx)
    ctx.server = life.acceptor.server
    await life.acceptor.open()
  }
  try {
    await next()
  } finally {
    await life.empty()
  }
}

const asksNone =
  'the server asks its clients for no certificate; give it the `ca` that has signed theirs, or `requestCert: true`'

/** Why the connections of a server have no identity; undefined where they may have one. */
function whyNoPeer({ options, tls }: ServerContext, hasStep: boolean): string | undefined {
  // A stream that is passed to `accept()` may have its own identity.
  if (options.bind === false && !tls) return undefined
  if (!hasStep) return noSecureStep
  if (tls && options.requestCert) return undefined
  if (tls) return asksNone
  return 'the server has no TLS, so its clients have no identity; add `.useServer(certs({ key, cert, ca }))` (`npx cio certs alice` makes all three for a trial)'
}

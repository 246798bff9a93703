/** The application. Read this first. */

import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { certs } from '../middleware/certs.ts'
import { catchRejections, reportError } from './lifecycle/app-events.ts'
import type { AppEvents, Pipelines } from './lifecycle/app.ts'
import { optionsOf } from './lifecycle/arguments.ts'
import { byteStream } from './streams/byte-stream.ts'
import { callSite } from './pipeline/call-site.ts'
import type { ConnectOptions, ConnectTarget } from './client/connect-options.ts'
import { ClientContext } from './client/client.ts'
import { clientEnd, connect, runClient } from './client/connect.ts'
import { flushTimeout as defaultFlush } from './streams/end-gracefully.ts'
import { ConnectionContext } from './lifecycle/connection.ts'
import { isConnecting, untilConnected } from './client/until-connected.ts'
import { connectionEnd, runConnection } from './lifecycle/run-connection.ts'
import {
  type CloseOptions,
  type CloseResult,
  type Context,
  closeOptionNames,
} from './lifecycle/context.ts'
import { CioError, asError, isCioError } from './errors.ts'
import { halfOpenTimeout as defaultHalfOpen } from './streams/half-open.ts'
import { Inspection } from './pipeline/inspection.ts'
import type { Hints, Middleware } from './pipeline/middleware.ts'
import { checkDuration, checkOptionNames } from './options.ts'
import { Pipeline } from './pipeline/pipeline.ts'
import { type Probe, observe } from './lifecycle/probe.ts'
import type { ModuleName, Registrable } from './pipeline/registration.ts'
import { showAs } from './lifecycle/secret-options.ts'
import { secureClient, secureConnection } from './tls/secure.ts'
import { ServerContext, listen, runServer, serverEnd } from './server/server.ts'
import type { ListenOptions } from './server/listen-options.ts'
import { unawaited } from './lifecycle/unawaited.ts'

declare module './lifecycle/app.ts' {
  // `ctx.app` has the type of the whole app, and not only of the part that contexts need.
  interface App extends Cio {}
}

/** Options of `app.handle()`. */
export interface HandleOptions {
  /**
   * The socket beneath the stream, if there is one: `ctx.socket` and `ctx.peer` come from it. It
   * still belongs to the caller: the end of the connection destroys the stream, not the socket.
   * Without it, the connection has no socket.
   */
  readonly socket?: Socket
  /**
   * Milliseconds that a half-open connection may be silent; as for `listen()`.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /**
   * Members to add to the context before the pipeline begins.
   *
   * @default nothing
   */
  readonly extend?: object
  /**
   * Milliseconds to flush what was written, after the pipeline has returned. `Infinity` waits for
   * ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
}

/**
 * An application: three pipelines of middleware, for servers, their connections, and clients.
 *
 * `Connection`, `Client` and `Server` are the members that middleware have added to the three
 * contexts; each `use…` returns the app with more of them. Set them by hand for an app without
 * chained calls: `new Cio<{ user: User }>()`.
 *
 * @example
 * import { Cio } from 'cio'
 *
 * const app = new Cio().useConnection(async ({ stream }, next) => {
 *   stream.pipe(stream)
 *   await next()
 * })
 * const server = await app.listen(0)
 * console.log(`an echo on port ${server.port}`)
 * await server.close()
 */
export class Cio<
  Connection extends object = {},
  Client extends object = {},
  Server extends object = {},
> extends EventEmitter<AppEvents> {
  static {
    showAs<Cio>(this.prototype, (app) => ({
      servers: app.#servers.size,
      streams: app.#streams.size,
    }))
  }

  /** The three pipelines: to list, remove, replace, disable and enable their entries. */
  readonly pipelines: Pipelines = {
    server: new Pipeline('server', serverEnd, report),
    connection: new Pipeline('connection', connectionEnd, report),
    client: new Pipeline('client', clientEnd, report),
  }
  readonly #servers = new Set<ServerContext>()
  readonly #streams = new Set<ConnectionContext | ClientContext>()

  static {
    // For JavaScript: the types have only the three `use…` methods.
    Object.defineProperty(this.prototype, 'use', {
      value() {
        throw new CioError(
          'ERR_CIO_USE',
          'a Cio app has three pipelines, and no use(): call useConnection() for what runs with each accepted connection, useServer() with each listen(), useClient() with each connect()',
        )
      },
    })
  }

  constructor() {
    super({ captureRejections: true })
    if (arguments.length > 0) {
      throw new CioError(
        'ERR_CIO_OPTION',
        'new Cio() takes no options; give them to listen(), connect() or a middleware',
      )
    }
    catchRejections(this)
    const { server, connection, client } = this.pipelines
    const step = { step: true, at: 'cio' }
    server.add(certs(), {}, step)
    server.add(listen, { name: 'listen', after: '*' }, step)
    connection.add(secureConnection, { name: 'secure', provides: 'peer' }, step)
    client.add(certs(), {}, step)
    client.add(connect, { name: 'connect' }, step)
    client.add(secureClient, { name: 'secure', provides: 'peer' }, step)
  }

  /**
   * Registers a server middleware. It runs once for each `listen()`, before the server listens
   * unless hints say otherwise. `await next()` returns when the server has closed and its last
   * connection has ended.
   */
  useServer<Adds extends object = {}>(
    middleware: Middleware<ServerContext<Connection> & Server, Adds> | ModuleName,
    hints?: Hints,
  ): Cio<Connection, Client, Server & Adds> {
    const registrable = middleware as unknown as Registrable<ServerContext>
    this.pipelines.server.add(registrable, hints, { at: callSite() })
    return this as unknown as Cio<Connection, Client, Server & Adds>
  }

  /**
   * Registers a connection middleware. It runs once for each accepted connection, after the TLS
   * handshake unless hints say otherwise. `await next()` returns when the inner middleware are done
   * with the connection.
   */
  useConnection<Adds extends object = {}>(
    middleware: Middleware<ConnectionContext & Connection, Adds> | ModuleName,
    hints?: Hints,
  ): Cio<Connection & Adds, Client, Server> {
    const registrable = middleware as unknown as Registrable<ConnectionContext>
    this.pipelines.connection.add(registrable, hints, { at: callSite() })
    return this as unknown as Cio<Connection & Adds, Client, Server>
  }

  /**
   * Registers a client middleware. It runs once for each `connect()`, after the connection and the
   * TLS handshake unless hints say otherwise. `await next()` returns when the connection has
   * closed.
   */
  useClient<Adds extends object = {}>(
    middleware: Middleware<ClientContext & Client, Adds> | ModuleName,
    hints?: Hints,
  ): Cio<Connection, Client & Adds, Server> {
    const registrable = middleware as unknown as Registrable<ClientContext>
    this.pipelines.client.add(registrable, hints, { at: callSite() })
    return this as unknown as Cio<Connection, Client & Adds, Server>
  }

  /**
   * Runs the server pipeline and resolves when the server listens. May be called several times.
   *
   * @param target A port, the path of a Unix socket, or options; by default a free port.
   * @param options More options, for a port or a path.
   * @param more Nothing: a callback, as in Node, is refused.
   * @throws `ERR_CIO_OPTION`: an option is unknown to Cio and this Node, or out of its range; also
   *   the error of a middleware, or Node's error of listening
   */
  async listen(
    target: number | string | ListenOptions = {},
    options: ListenOptions = {},
    ...more: []
  ): Promise<ServerContext<Connection> & Server> {
    const given: ListenOptions = optionsOf('listen', target, options, ...more)
    const ctx = new ServerContext(this, given)
    this.#servers.add(ctx)
    void ctx.closed.then(() => this.#servers.delete(ctx))
    await runServer(ctx)
    return ctx as ServerContext<Connection> & Server
  }

  /**
   * Runs the client pipeline and resolves when the client is connected.
   *
   * @param target A port of this host, the path of a Unix socket, options, or several targets,
   *   tried in turn.
   * @param options More options, for a port, a path or several targets.
   * @param more Nothing: a callback, as in Node, is refused.
   * @throws `ERR_CIO_OPTION`: an option is unknown to Cio and this Node, or out of its range; also
   *   the error of a middleware, Node's error of connecting, or `ERR_CIO_CONNECT` if all of several
   *   targets failed
   */
  connect(
    target: number | string | ConnectOptions | readonly ConnectTarget[],
    options: ConnectOptions = {},
    ...more: []
  ): Promise<ClientContext & Client> {
    let given: ConnectOptions
    try {
      given = optionsOf('connect', target, options, ...more)
    } catch (error) {
      return Promise.reject(asError(error))
    }
    const ctx = new ClientContext(this, given)
    const connect = async (): Promise<ClientContext & Client> => {
      this.#track(ctx)
      await runClient(ctx)
      return ctx as ClientContext & Client
    }
    return unawaited(ctx, connect(), (error) => {
      // `reject` has reported a refused identity already.
      if (!isCioError(error, 'ERR_CIO_REJECTED')) reportError(this, error, ctx)
    })
  }

  /**
   * Runs the connection pipeline over a Duplex, and returns its context; `ctx.closed` fulfils when
   * the connection has closed. A socket that is still connecting is waited for. A stream in object
   * mode may read as `Uint8Array`.
   *
   * @throws `ERR_CIO_OPTION`: not a Duplex, or an encoding is set
   */
  handle(stream: Duplex, options: HandleOptions = {}): ConnectionContext & Connection {
    checkOptionNames('handle', options, ['socket', 'extend', 'flushTimeout', 'halfOpenTimeout'])
    const { socket, extend, halfOpenTimeout = defaultHalfOpen } = options
    const { flushTimeout = defaultFlush } = options
    checkDuration('handle', 'flushTimeout', flushTimeout)
    checkDuration('handle', 'halfOpenTimeout', halfOpenTimeout)
    const bytes = byteStream('handle', 'stream', stream)
    const ctx = new ConnectionContext(this, null, bytes, { halfOpenTimeout, flushTimeout }, socket)
    Object.assign(ctx, extend)
    this.#track(ctx)
    const connected = isConnecting(stream)
      ? () => untilConnected(stream, 'the stream', ctx.draining)
      : undefined
    runConnection(ctx, connected)
    return ctx as ConnectionContext & Connection
  }

  /**
   * The final order of all three pipelines, and the reason for each place. `String()` of it is a
   * table.
   *
   * @throws `ERR_CIO_ORDER_CYCLE`
   */
  inspect(): Inspection {
    const { server, connection, client } = this.pipelines
    return new Inspection(server, connection, client)
  }

  /**
   * Adds a probe, which sees the begin, the steps and the end of each connection and client that
   * begins from now on. Disposing of the result removes it. Without a probe nothing is measured.
   *
   * @throws `ERR_CIO_OPTION`: it is not an object with methods of a probe
   */
  observe(probe: Probe): Disposable {
    return observe(this, probe)
  }

  /** Closes all servers, clients, and streams passed to `handle()`. */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    checkOptionNames('close', options, closeOptionNames)
    const open = [...this.#servers, ...this.#streams]
    const results = await Promise.all(open.map((ctx) => ctx.close(options)))
    return { forced: results.reduce((sum, { forced }) => sum + forced, 0) }
  }

  /** Calls `close()` at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #track(ctx: ConnectionContext | ClientContext): void {
    this.#streams.add(ctx)
    void ctx.closed.then(() => this.#streams.delete(ctx))
  }
}

function report(ctx: Context, error: Error): void {
  reportError(ctx.app, error, ctx)
}

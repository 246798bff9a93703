/** Runs an app without a port: a connection over an in-memory pair, with or without TLS. */

import { Cio } from '../cio.ts'
import type { ClientContext } from '../client/client.ts'
import type { ConnectOptions } from '../client/connect-options.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { isCioError } from '../errors.ts'
import { checkMethods, checkOptionNames } from '../options.ts'
import type { ServerContext } from '../server/server.ts'
import type { ListenOptions } from '../server/listen-options.ts'
import { duplexPair } from './duplex-pair.ts'

/** Options of {@link testApp}. */
export interface TestAppOptions<
  Connection extends object = object,
  Client extends object = object,
  Server extends object = object,
> {
  /**
   * The app of the client, whose client pipeline runs.
   *
   * @default a new app without middleware; it presents any certificate in PEM, even an expired one
   */
  readonly client?: Cio<Connection, Client, Server>
  /**
   * Options of the server: `key` and `cert` turn TLS on, as with `listen()`.
   *
   * @default nothing
   */
  readonly listen?: ListenOptions
  /**
   * Options of each client: `ca` turns TLS on, as with `connect()`.
   *
   * @default nothing
   */
  readonly connect?: ConnectOptions
}

/** A connection of an app under test, with both its ends. */
export interface TestConnection<Connection extends object, Client extends object> {
  /** The client's end: `client.stream` is the Duplex to read and write. */
  readonly client: ClientContext & Client
  /** The server's end: the context of the app's middleware. */
  readonly ctx: ConnectionContext & Connection
  /**
   * Fulfils when the server's end has closed, with the error or undefined. Never rejects.
   */
  readonly closed: Promise<Error | undefined>
}

/** An app under test: its server, and its first connection. */
export interface TestApp<
  Connection extends object,
  Client extends object,
  Server extends object,
> extends TestConnection<Connection, Client> {
  /** The server of the app. */
  readonly server: ServerContext & Server
  /** Makes another connection to the same server. */
  connect(options?: ConnectOptions): Promise<TestConnection<Connection, Client>>
  /** Destroys all connections, and waits for all middleware to return. `await using` calls it. */
  close(): Promise<void>
  /** Calls `close()` at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Runs an app without a port, and connects to it.
 *
 * All three pipelines run as they do over sockets, and so does TLS; `ctx.socket` is null, or the
 * TLS socket. Nothing goes through the kernel: written data arrives in the next turns of the event
 * loop.
 *
 * @throws the errors of `listen()` and `connect()`
 *
 * @example
 * import assert from 'node:assert/strict'
 * import { Cio, lines } from 'cio'
 * import { testApp } from 'cio/testing'
 *
 * const app = new Cio()
 *   .useConnection(lines())
 *   .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
 *
 * await using run = await testApp(app, { client: new Cio().useClient(lines()) })
 * await run.client.messages.send('hello')
 * assert.equal((await run.client.messages.next()).value, 'HELLO')
 */
export async function testApp<
  Connection extends object,
  OwnClient extends object,
  Server extends object,
  OtherConnection extends object = {},
  Client extends object = {},
  OtherServer extends object = {},
>(
  app: Cio<Connection, OwnClient, Server>,
  options: TestAppOptions<OtherConnection, Client, OtherServer> = {},
): Promise<TestApp<Connection, Client, Server>> {
  checkOptionNames('testApp', options, ['client', 'listen', 'connect'])
  checkMethods('testApp', 'app', 'a Cio', app, ['listen', 'connect'])
  if (options.client !== undefined) {
    checkMethods('testApp', 'client', 'a Cio', options.client, ['listen', 'connect'])
  }
  const other = options.client ?? (bareClient() as Cio<OtherConnection, Client, OtherServer>)
  const server = await app.listen({ ...options.listen, bind: false })
  const clients = new Set<ClientContext>()

  const connect = async (
    given: ConnectOptions = {},
  ): Promise<TestConnection<Connection, Client>> => {
    let ctx: ConnectionContext | undefined
    const createConnection = (): ReturnType<typeof duplexPair>[1] => {
      const [near, far] = duplexPair()
      ctx = server.accept(near)
      return far
    }
    const client = await other.connect({ ...options.connect, ...given, createConnection })
    clients.add(client)
    void client.closed.then(() => clients.delete(client))
    // In TLS 1.3 the client finishes its handshake first.
    if (server.tls) await secured(ctx!)
    return { client, ctx: ctx as ConnectionContext & Connection, closed: endOf(ctx!) }
  }
  const close = async (): Promise<void> => {
    const open = [...clients, server]
    await Promise.all(open.map((ctx) => ctx.close({ timeout: 0 })))
  }

  try {
    const first = await connect()
    return { ...first, server, connect, close, [Symbol.asyncDispose]: close }
  } catch (error) {
    await close()
    throw error
  }
}

/** `certs` would refuse to present an invalid certificate. */
function bareClient(): Cio {
  const app = new Cio()
  app.pipelines.client.disable('certs')
  return app
}

/** Fulfils when the server's side of the handshake is done, or the connection has closed. */
async function secured(ctx: ConnectionContext): Promise<void> {
  const { app } = ctx
  let listener = (_secured: ConnectionContext | ClientContext): void => {}
  const done = new Promise<void>((resolve) => {
    listener = (one) => {
      if (one === ctx) resolve()
    }
    app.on('secure', listener)
  })
  if (!ctx.encrypted) await Promise.race([done, ctx.closed])
  app.off('secure', listener)
}

async function endOf(ctx: ConnectionContext): Promise<Error | undefined> {
  await ctx.closed
  const reason = ctx.signal.reason as Error
  const ordinary = isCioError(reason, 'ERR_CIO_CLOSED') || isCioError(reason, 'ERR_CIO_CLOSING')
  return ordinary ? undefined : reason
}

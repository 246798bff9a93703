/** What is inferred, and what must not compile: `tsc` is the judge, the tests run so as to be run. */

import test from 'ava'
import { expectTypeOf } from 'expect-type'
import type { Duplex } from 'node:stream'
import {
  type AppEvents,
  Cio,
  type CioError,
  type ClientContext,
  type CloseResult,
  type ConnectionContext,
  type Context,
  type Hints,
  type Inspection,
  type ListenOptions,
  type Middleware,
  type Next,
  type Peer,
  type PipelineEntry,
  type Relisten,
  type ServerContext,
  type StreamContext,
  allowList,
  certs,
  defineMiddleware,
  denyList,
  isCioError,
  relisten,
} from '../src/index.ts'

interface User {
  readonly login: string
}

interface Messages {
  send(message: string): Promise<void>
}

interface MessagesContext {
  messages: Messages
}

interface UserContext {
  user: User
}

interface DatabaseContext {
  database: { readonly url: string }
}

const lines = (): Middleware<StreamContext, MessagesContext> =>
  defineMiddleware<StreamContext, MessagesContext>({ name: 'lines' }, async (ctx, next) => {
    ctx.messages = { send: async () => {} }
    await next()
  })

/** Needs messages, adds a user. */
const login = (): Middleware<StreamContext & MessagesContext, UserContext> =>
  defineMiddleware<StreamContext & MessagesContext, UserContext>({}, async (ctx, next) => {
    await ctx.messages.send('who are you?')
    ctx.user = { login: 'alice' }
    await next()
  })

/** Needs both, adds nothing. */
const greet: Middleware<StreamContext & MessagesContext & UserContext> = async (ctx) => {
  await ctx.messages.send(`hello ${ctx.user.login}`)
}

const database = (): Middleware<ServerContext, DatabaseContext> =>
  defineMiddleware<ServerContext, DatabaseContext>({}, (ctx, next) => {
    ctx.database = { url: '' }
    return next()
  })

test('what a middleware adds is typed in the connection middleware after it', (t) => {
  const app = new Cio()
    .useConnection(lines())
    .useConnection((ctx, next) => {
      expectTypeOf(ctx.messages).toEqualTypeOf<Messages>()
      expectTypeOf(ctx).toExtend<ConnectionContext>()
      expectTypeOf(next).toEqualTypeOf<Next>()
      // @ts-expect-error: nothing has added a user
      void ctx.user
      return next()
    })
    .useConnection(login())
    .useConnection(async (ctx) => {
      expectTypeOf(ctx.messages).toEqualTypeOf<Messages>()
      expectTypeOf(ctx.user).toEqualTypeOf<User>()
    })
    .useConnection(greet)
  expectTypeOf(app).toExtend<Cio<MessagesContext & UserContext>>()
  t.pass()
})

test('what a middleware adds is typed in the client middleware after it', (t) => {
  new Cio()
    .useClient(lines())
    .useClient(login())
    .useClient((ctx, next) => {
      expectTypeOf(ctx.messages).toEqualTypeOf<Messages>()
      expectTypeOf(ctx.user).toEqualTypeOf<User>()
      expectTypeOf(ctx).toExtend<ClientContext>()
      return next()
    })
    .useClient(greet)
  t.pass()
})

test('what a middleware adds is typed in the server middleware after it', (t) => {
  new Cio().useServer(database()).useServer(async (ctx, next) => {
    expectTypeOf(ctx.database.url).toEqualTypeOf<string>()
    expectTypeOf(ctx).toExtend<ServerContext>()
    await next()
  })
  t.pass()
})

test('what is added to one pipeline is not in the others', (t) => {
  new Cio()
    .useConnection(lines())
    .useServer(database())
    .useClient((ctx, next) => {
      // @ts-expect-error: connections have messages, clients do not
      void ctx.messages
      return next()
    })
    .useConnection((ctx, next) => {
      // @ts-expect-error: the server has a database, its connections do not
      void ctx.database
      return next()
    })
  t.pass()
})

test('a middleware that needs what nothing has added does not compile', (t) => {
  // @ts-expect-error: it needs messages
  new Cio().useConnection(login())
  // @ts-expect-error: it needs messages
  new Cio().useClient(login())
  // @ts-expect-error: it needs a user, and there are only messages
  new Cio().useConnection(lines()).useConnection(greet)
  // @ts-expect-error: it needs a user, and adds nothing
  new Cio().useConnection((ctx: ConnectionContext & UserContext, next: Next) => next())
  // @ts-expect-error: it is registered before what it needs
  new Cio().useConnection(login()).useConnection(lines())
  // @ts-expect-error: it needs a database
  new Cio().useServer((ctx: ServerContext & DatabaseContext, next: Next) => next())
  t.pass()
})

test('a middleware of another pipeline does not compile', (t) => {
  // @ts-expect-error: a server's
  new Cio().useConnection(database())
  // @ts-expect-error: a server's
  t.throws(() => new Cio().useConnection(relisten()))
  // @ts-expect-error: a stream's
  new Cio().useServer(lines())
  // @ts-expect-error: a connection's
  new Cio().useClient((ctx: ConnectionContext, next: Next) => next())
  t.pass()
})

test('what a middleware needs under another type does not compile', (t) => {
  const wrong = defineMiddleware<StreamContext, { messages: string }>({}, (ctx, next) => next())
  // @ts-expect-error: its messages are a string
  new Cio().useConnection(wrong).useConnection(login())
  t.pass()
})

test('an app may be typed by hand, without a chain', (t) => {
  const app = new Cio<UserContext>()
  app.useConnection((ctx, next) => {
    expectTypeOf(ctx.user).toEqualTypeOf<User>()
    ctx.user = { login: 'alice' }
    return next()
  })
  app.useConnection(async (ctx) => {
    expectTypeOf(ctx.user).toEqualTypeOf<User>()
  })
  t.pass()
})

test('an app that was typed by hand has clients and servers typed by hand too', (t) => {
  const app = new Cio<UserContext, MessagesContext, DatabaseContext>()
  app.useClient((ctx, next) => {
    expectTypeOf(ctx.messages).toEqualTypeOf<Messages>()
    return next()
  })
  app.useServer((ctx, next) => {
    expectTypeOf(ctx.database.url).toEqualTypeOf<string>()
    return next()
  })
  t.pass()
})

test('a middleware on StreamContext is accepted at both ends', (t) => {
  const both: Middleware<StreamContext> = async (ctx, next) => {
    expectTypeOf(ctx.stream).toEqualTypeOf<Duplex>()
    await next()
  }
  new Cio()
    .useConnection(both)
    .useClient(both)
    .useConnection(allowList(['alice']))
    .useClient(allowList(['server']))
    .useConnection(denyList(['mallory']))
    .useServer(certs())
    .useClient(certs())
    .useServer(relisten())
  t.pass()
})

test('a plain function, a sync one and one of no parameters are accepted', (t) => {
  new Cio()
    .useConnection(() => {})
    .useConnection(async () => {})
    .useConnection((ctx) => void ctx.id)
    .useConnection(async (_ctx: object, next: Next) => next())
  t.pass()
})

test('a module name is accepted, and what it adds may be told by hand', (t) => {
  new Cio().useConnection<MessagesContext>('./lines.js').useConnection((ctx, next) => {
    expectTypeOf(ctx.messages).toEqualTypeOf<Messages>()
    return next()
  })
  new Cio().useConnection('./audit.js').useConnection((ctx, next) => {
    // @ts-expect-error: nothing was told
    void ctx.messages
    return next()
  })
  t.pass()
})

test('what is no middleware and no hint does not compile', (t) => {
  t.throws(
    // @ts-expect-error: a number is no middleware
    () => new Cio().useConnection(1),
  )
  t.notThrows(() => {
    const app = new Cio().useConnection<UserContext>(['cio-auth', { tokens: ['a'] }])
    app.useConnection(({ user }) => void expectTypeOf(user).toEqualTypeOf<User>())
    app.useServer(['cio-metrics', {}]).useClient(['cio-auth', {}])
  })
  for (const use of [
    // @ts-expect-error: options are an object
    () => new Cio().useConnection(['cio-auth', 1]),
    // @ts-expect-error: there are no options
    () => new Cio().useConnection(['cio-auth']),
    // @ts-expect-error: there is one object of options
    () => new Cio().useConnection(['cio-auth', {}, {}]),
    // @ts-expect-error: a name is a string
    () => new Cio().useServer([lines, {}]),
  ]) {
    t.throws(use, { code: 'ERR_CIO_OPTION' })
  }
  t.throws(
    // @ts-expect-error: there is no such hint
    () => new Cio().useConnection(lines(), { behind: 'secure' }),
  )
  // @ts-expect-error: a name is a string
  const hints: Hints = { before: 1 }
  t.truthy(hints)
})

/** Never called: only its types matter. */
async function results(): Promise<void> {
  const app = new Cio().useConnection(lines()).useClient(login1()).useServer(database())

  const server = await app.listen(0)
  expectTypeOf(server.database.url).toEqualTypeOf<string>()
  expectTypeOf(server).toExtend<ServerContext>()
  expectTypeOf(server.close()).toEqualTypeOf<Promise<CloseResult>>()
  for (const connection of server.connections) {
    expectTypeOf(connection).toExtend<ConnectionContext>()
    expectTypeOf(connection.messages).toEqualTypeOf<Messages>()
    // @ts-expect-error: clients have one, connections do not
    void connection.user
    // @ts-expect-error: the server has it, its connections do not
    void connection.database
  }
  // @ts-expect-error: only Cio adds connections
  server.connections.add(undefined)
  const bare = await new Cio().listen(0)
  // @ts-expect-error: no middleware adds messages
  for (const connection of bare.connections) void connection.messages
  // A function for any server takes one whose connections have more.
  expectTypeOf(server).toExtend<ServerContext>()
  // @ts-expect-error: the connections of this server have no messages
  const typed: ServerContext<{ messages: Messages }> = bare
  void typed
  new Cio().useConnection(lines()).useServer(({ connections }, next) => {
    for (const { messages } of connections) expectTypeOf(messages).toEqualTypeOf<Messages>()
    return next()
  })
  new Cio().useServer(({ connections }, next) => {
    // @ts-expect-error: only connection middleware registered before it counts
    for (const { messages } of connections) void messages
    return next()
  })

  const client = await app.connect({ port: 1 })
  expectTypeOf(client.user).toEqualTypeOf<User>()
  expectTypeOf(client).toExtend<ClientContext>()
  // @ts-expect-error: connections have them, clients do not
  void client.messages

  const handled = app.handle(client.stream)
  expectTypeOf(handled.messages).toEqualTypeOf<Messages>()
  // @ts-expect-error: clients have one, connections do not
  void handled.user
}

const login1 = (): Middleware<StreamContext, UserContext> =>
  defineMiddleware<StreamContext, UserContext>({}, (ctx, next) => {
    ctx.user = { login: '' }
    return next()
  })

test('listen, connect and handle give what was added', (t) => {
  t.is(typeof results, 'function')
})

test('events are typed', (t) => {
  const app = new Cio().useConnection(lines())
  app.on('listening', (server) => expectTypeOf(server).toEqualTypeOf<ServerContext>())
  app.on('connection', (ctx) => expectTypeOf(ctx).toEqualTypeOf<ConnectionContext>())
  app.on('secure', (ctx) => expectTypeOf(ctx).toEqualTypeOf<ConnectionContext | ClientContext>())
  app.once('reject', (error, ctx) => {
    expectTypeOf(error).toEqualTypeOf<CioError>()
    expectTypeOf(ctx).toEqualTypeOf<StreamContext>()
  })
  app.on('remoteError', (error, ctx) => {
    expectTypeOf(error).toEqualTypeOf<CioError | NodeJS.ErrnoException>()
    expectTypeOf(error.code).toEqualTypeOf<string | undefined>()
    expectTypeOf(ctx).toEqualTypeOf<StreamContext>()
  })
  app.on('error', (error, ctx) => {
    expectTypeOf(error).toEqualTypeOf<CioError | NodeJS.ErrnoException>()
    expectTypeOf(error.code).toEqualTypeOf<string | undefined>()
    expectTypeOf(ctx).toEqualTypeOf<Context | undefined>()
  })
  app.on('disconnect', (error, ctx) => {
    expectTypeOf(error?.code).toEqualTypeOf<string | undefined>()
    expectTypeOf(ctx).toEqualTypeOf<ClientContext>()
  })
  app.on('close', (ctx) => expectTypeOf(ctx).toEqualTypeOf<ConnectionContext>())
  app.on('relisten', (retry) => expectTypeOf(retry).toEqualTypeOf<Relisten>())
  expectTypeOf<AppEvents['relisten']>().toEqualTypeOf<[Relisten, ServerContext]>()
  t.pass()
})

test('behind a list the peer is never null, unless the list only reports', (t) => {
  new Cio()
    .useConnection((ctx) => expectTypeOf(ctx.peer).toEqualTypeOf<Peer | null>())
    .useConnection(allowList(['alice']))
    .useConnection((ctx) => expectTypeOf(ctx.peer.name).toEqualTypeOf<string | null>())
  new Cio()
    .useClient(denyList(['mallory'], { timeout: 1 }))
    .useClient((ctx) => expectTypeOf(ctx.peer).toExtend<Peer>())
  new Cio()
    .useConnection(allowList(['alice'], { dryRun: true }))
    .useConnection((ctx) => expectTypeOf(ctx.peer).toEqualTypeOf<Peer | null>())
  t.pass()
})

test('an error is narrowed by its code', (t) => {
  const error: unknown = undefined
  if (isCioError(error)) expectTypeOf(error).toEqualTypeOf<CioError>()
  if (isCioError(error, 'ERR_CIO_IDLE')) {
    expectTypeOf(error.code).toEqualTypeOf<'ERR_CIO_IDLE'>()
    expectTypeOf(error.fault).toEqualTypeOf<'local' | 'remote'>()
  }
  t.pass()
})

test('no public member is any', (t) => {
  type App = Cio<MessagesContext, UserContext, DatabaseContext>
  expectTypeOf<App['pipelines']['connection']>().not.toBeAny()
  expectTypeOf<App['pipelines']['connection']['names']>().toEqualTypeOf<string[]>()
  expectTypeOf<ReturnType<App['inspect']>>().toEqualTypeOf<Inspection>()
  expectTypeOf<Inspection['server']>().toEqualTypeOf<readonly PipelineEntry[]>()
  expectTypeOf<ReturnType<App['useConnection']>>().not.toBeAny()
  expectTypeOf<Parameters<App['useConnection']>[0]>().not.toBeAny()
  expectTypeOf<Awaited<ReturnType<App['listen']>>>().not.toBeAny()
  expectTypeOf<Awaited<ReturnType<App['connect']>>>().not.toBeAny()
  expectTypeOf<ReturnType<App['handle']>>().not.toBeAny()
  expectTypeOf<Awaited<ReturnType<App['close']>>>().toEqualTypeOf<CloseResult>()

  type Members<T> = { [K in keyof T]-?: 0 extends 1 & T[K] ? K : never }[keyof T]
  expectTypeOf<Members<ConnectionContext>>().toEqualTypeOf<never>()
  expectTypeOf<Members<ClientContext>>().toEqualTypeOf<never>()
  expectTypeOf<Members<ServerContext>>().toEqualTypeOf<never>()
  expectTypeOf<Members<ListenOptions>>().toEqualTypeOf<never>()
  expectTypeOf<Members<Peer>>().toEqualTypeOf<never>()
  expectTypeOf<Members<Middleware>>().toEqualTypeOf<never>()
  expectTypeOf<Members<PipelineEntry>>().toEqualTypeOf<never>()
  expectTypeOf<ConnectionContext['state']>().toEqualTypeOf<Record<PropertyKey, unknown>>()
  expectTypeOf<ConnectionContext['peer']>().toEqualTypeOf<Peer | null>()
  t.pass()
})

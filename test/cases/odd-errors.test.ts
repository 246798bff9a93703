/**
 * Whatever is thrown, as odd as JavaScript lets it be: values that are no errors, errors whose
 * properties throw when they are read, proxies that are revoked. If this fails, the code that
 * handles one error throws another in a place that nothing guards: the process ends, or a context
 * stays for ever.
 */

import test from 'ava'
import {
  Cio,
  type ConnectOptions,
  type ListenOptions,
  httpConnect,
  json,
  relisten,
  requests,
  rpc,
} from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { httpProxy } from '../support/proxies.ts'
import { closeAfter, dial, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

function fail(): never {
  throw new Error('read')
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable(new Error('revoked'), {})
  revoke()
  return proxy
}

const withGetter = (name: string): Error =>
  Object.defineProperty(new Error('odd'), name, { get: fail, configurable: true })

const ofCio = { name: 'CioError', code: 'ERR_CIO_ODD', fault: 'local' }

/** Each makes something to throw, and whether it reaches the application as it is. */
const odd: Record<string, [make: () => unknown, passes?: boolean]> = {
  null: [() => null],
  undefined: [() => undefined],
  'a symbol': [() => Symbol('odd')],
  'a text': [() => 'odd'],
  'an object without prototype': [() => Object.create(null) as object],
  'an object whose constructor throws': [
    () => Object.defineProperty({}, 'constructor', { get: fail }),
  ],
  'a revoked proxy': [revoked],
  'a proxy that throws': [() => new Proxy(new Error('odd'), { get: fail })],
  'a proxy without a prototype to see': [() => new Proxy({}, { getPrototypeOf: fail })],
  'a revoked function': [
    () => {
      const { proxy, revoke } = Proxy.revocable(() => {}, {})
      revoke()
      return proxy
    },
  ],
  'an error whose code throws': [() => withGetter('code')],
  'an error whose message throws': [() => withGetter('message')],
  'an error whose name throws': [() => withGetter('name')],
  'an error whose stack throws': [() => withGetter('stack')],
  'an error whose cause throws': [() => withGetter('cause')],
  'an error whose fault throws': [() => withGetter('fault')],
  'an error whose message is an object': [() => Object.assign(new Error('x'), { message: {} })],
  'an error whose code is a symbol': [
    () => Object.assign(new Error('odd'), { code: Symbol('odd') }),
    true,
  ],
  // It may be of another copy of Cio, or only have the name.
  ...Object.fromEntries(
    ['end', 'why', 'refusal', 'handshake', 'errors'].map((name) => [
      `a CioError whose ${name} throws`,
      [() => Object.assign(withGetter(name), ofCio)] as [() => unknown],
    ]),
  ),
  'a CioError with anything in it': [
    () => Object.assign(new Error('odd'), ofCio, { end: 5, why: {}, refusal: {}, errors: 5 }),
    true,
  ],
  'a CioError whose code is a member of every object': [
    () => Object.assign(new Error('odd'), ofCio, { code: 'constructor' }),
    true,
  ],
  'an error whose code has no text': [
    () => Object.assign(new Error('odd'), { code: Object.create(null) as object }),
    true,
  ],
  'a DOMException': [() => new DOMException('odd', 'DataError'), true],
}

for (const [what, [make]] of Object.entries(odd)) {
  test(`a client fails, and the process stays, when its lookup calls back with ${what}`, async (t) => {
    const lookup: ConnectOptions['lookup'] = (_, how, done) =>
      setImmediate(done, make() as Error, [])
    // For AVA, a DOMException is no error.
    const connecting = new Cio().connect({ host: 'a.test', port: 1, lookup })
    t.is(await connecting.then(() => 'connected').catch(() => 'failed'), 'failed')
  })
}

for (const [what, [make, passes = false]] of Object.entries(odd)) {
  /** Checks what the application gets of it. */
  const isTold = (error: unknown): boolean =>
    error instanceof Error &&
    (passes || (error as NodeJS.ErrnoException).code === 'ERR_CIO_NOT_AN_ERROR')

  test(`a connection ends and the server goes on when a middleware throws ${what}`, async (t) => {
    let connections = 0
    const app = new Cio().useConnection(async () => {
      connections += 1
      if (connections === 1) throw make()
    })
    const server = await serve(t, app)
    const [told, closed] = [nextEvent(app, 'error'), nextEvent(app, 'close')]
    await dial(t, server)
    const [error] = await told
    t.true(isTold(error))
    await closed
    t.is(server.connections.size, 0)
    const again = nextEvent(app, 'close')
    ;(await dial(t, server)).resume().end()
    await again
    t.is(connections, 2)
  })

  test(`${what} that is thrown is printed where nothing listens for errors`, async (t) => {
    const app = new Cio().useConnection(() => {
      throw make()
    })
    const server = await serve(t, app)
    const closed = nextEvent(app, 'close')
    await dial(t, server)
    await closed
    t.is(server.connections.size, 0)
  })

  test(`a connection or a client that is destroyed with ${what} is over`, async (t) => {
    for (const of of ['context', 'stream'] as const) {
      const app = new Cio().useConnection(async (ctx) => {
        ;(of === 'context' ? ctx : ctx.stream).destroy(make() as Error)
        await ctx.closed
      })
      app.useClient((ctx) => {
        ;(of === 'context' ? ctx : ctx.stream).destroy(make() as Error)
      })
      app.on('error', () => {})
      const server = await serve(t, app)
      const closed = nextEvent(app, 'close')
      await dial(t, server)
      await closed
      t.is(server.connections.size, 0)
      // Null and undefined are no reason to reject.
      await app.connect(server.port).then(
        (client) => client.closed,
        (error: unknown) => t.true(error instanceof Error),
      )
    }
  })

  test(`a server whose close() is given ${what} as its reason is over`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      void ctx.signal
      await ctx.closed
    })
    app.on('error', () => {})
    const server = await serve(t, app)
    const connected = nextEvent(app, 'connection')
    await dial(t, server)
    const [ctx] = await connected
    // The other side of the connection stays, so only the reason can end it.
    const closed = nextEvent(app, 'close')
    await ctx.close({ timeout: 0, reason: make() as Error })
    await closed
    await server.close({ timeout: 0, reason: make() as Error })
    t.is(server.connections.size, 0)
  })

  test(`listen() and connect() reject when a middleware throws ${what}`, async (t) => {
    const app = new Cio()
      .useServer(relisten())
      .useServer(() => Promise.reject(make()))
      .useClient(
        () => {
          throw make()
        },
        { before: 'connect' },
      )
    closeAfter(t, app)
    for (const begin of [() => app.listen(), () => app.connect(1)]) {
      t.true(isTold(await t.throwsAsync(begin, { any: true })))
    }
  })

  test(`a listener that throws ${what} ends nothing`, async (t) => {
    const app = new Cio().useConnection(({ stream }) => void stream.end('hello'))
    app.once('connection', () => {
      throw make()
    })
    // oxlint-disable-next-line typescript/no-misused-promises -- what it is about
    app.once('error', async () => {
      await Promise.resolve()
      throw make()
    })
    const server = await serve(t, app)
    const [told, closed] = [nextEvent(app, 'error'), nextEvent(app, 'close')]
    ;(await dial(t, server)).resume().end()
    t.true(isTold((await told)[0]))
    await closed
    t.is(server.connections.size, 0)
  })

  test(`a method of rpc that throws ${what} answers with an internal error`, async (t) => {
    const methods = {
      odd(): never {
        throw make()
      },
    }
    const app = new Cio()
      .useConnection(json())
      .useConnection(rpc({ methods }))
      .useClient(json())
      .useClient(rpc())
    const server = await serve(t, app)
    const told = nextEvent(app, 'error')
    const client = await app.connect(server.port)
    await t.throwsAsync(client.rpc.call('odd'), { code: 'ERR_CIO_RPC' })
    t.true(isTold((await told)[0]))
    await client.close()
  })

  test(`a handshake fails, and the process stays, when a callback of a server throws ${what}`, async (t) => {
    const odd = (): never => {
      throw make()
    }
    const psk = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
    const pskCallback = () => ({ psk: Buffer.alloc(16), identity: 'me' })
    const trust = { ca: path('root.crt'), servername: 'localhost' }
    const ways: [ListenOptions, ConnectOptions][] = [
      [{ ...identity('server'), SNICallback: odd }, trust],
      [{ ...identity('server'), SNICallback: (_, done) => done(make() as Error) }, trust],
      [
        { ...identity('server'), ALPNCallback: odd },
        { ...trust, ALPNProtocols: ['a'] },
      ],
      [
        { ...psk, pskCallback: odd },
        { ...psk, pskCallback, checkServerIdentity: () => undefined },
      ],
    ]
    for (const [listen, connect] of ways) {
      const server = await serve(t, new Cio(), listen)
      const app = new Cio()
      closeAfter(t, app)
      const tried = app.connect({ host: '127.0.0.1', port: server.port, ...connect })
      // Without an error there is no context, and the server's own certificate counts.
      if (listen.SNICallback && listen.SNICallback !== odd && !make()) await tried
      else await t.throwsAsync(tried, { code: 'ERR_CIO_HANDSHAKE' })
    }
  })

  test(`a client rejects a server, and the process stays, when checkServerIdentity throws or returns ${what}`, async (t) => {
    const checks: (() => undefined)[] = [
      () => {
        throw make()
      },
      () => make() as undefined,
    ]
    const server = await serve(t, new Cio(), identity('server'))
    const proxy = await httpProxy(t, { tls: true })
    for (const checkServerIdentity of checks) {
      const tls = { ca: path('root.crt'), servername: 'localhost', checkServerIdentity }
      const through = new Cio().useClient(httpConnect({ host: proxy.host, port: proxy.port, tls }))
      for (const [app, options] of [
        [new Cio(), { host: '127.0.0.1', ...tls }],
        [through, { host: '127.0.0.1' }],
      ] as const) {
        closeAfter(t, app)
        const tried = app.connect({ port: server.port, ...options })
        if (checkServerIdentity === checks[1] && !make()) await tried
        else await t.throwsAsync(tried, { code: 'ERR_CIO_REJECTED' })
      }
    }
  })
}

for (const [what, make] of Object.entries<() => unknown>({
  'a proxy that throws': () => new Proxy({}, { get: fail }),
  'a proxy that has nothing': () => new Proxy({}, { has: fail, get: fail }),
  'a revoked proxy': revoked,
  // oxlint-disable-next-line unicorn/no-thenable -- what it is about
  'a then that cannot be read': () => Object.defineProperty({}, 'then', { get: fail }),
  // oxlint-disable-next-line unicorn/no-thenable -- what it is about
  'a then that throws': () => Object.defineProperty({}, 'then', { value: fail }),
})) {
  test(`a method of rpc that returns ${what} is answered with an internal error`, async (t) => {
    const methods = { odd: make }
    const app = new Cio()
      .useConnection(json())
      .useConnection(rpc({ methods }))
      .useClient(json())
      .useClient(rpc())
    const server = await serve(t, app)
    const told = nextEvent(app, 'error')
    const client = await app.connect(server.port)
    await t.throwsAsync(client.rpc.call('odd'), { code: 'ERR_CIO_RPC' })
    await told
    const closed = nextEvent(app, 'close')
    await client.close()
    await closed
    t.is(server.connections.size, 0)
  })

  test(`a server of requests that answers with ${what} ends that connection alone`, async (t) => {
    const app = new Cio()
      .useConnection(json())
      .useConnection(requests({ match: 'order', serve: make }))
    const server = await serve(t, app)
    const [told, closed] = [nextEvent(app, 'error'), nextEvent(app, 'close')]
    ;(await dial(t, server)).write('{}\n')
    await told
    await closed
    t.is(server.connections.size, 0)
  })
}

test('an error that throws only when it is printed ends nothing', async (t) => {
  const app = new Cio().useConnection(() => {
    throw Object.assign(new Error('odd'), { [Symbol.for('nodejs.util.inspect.custom')]: fail })
  })
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  await dial(t, server)
  await closed
  t.is(server.connections.size, 0)
})

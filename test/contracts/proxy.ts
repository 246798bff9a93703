/** What every middleware that connects through a proxy keeps to. */

import test, { type ExecutionContext } from 'ava'
import { createServer } from 'node:net'
import {
  Cio,
  type CioError,
  type ClientContext,
  type ConnectOptions,
  type Middleware,
  reconnect,
} from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import type { Proxy } from '../support/proxies.ts'
import { closeAfter, listenBare, readAll, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

export interface Login {
  readonly host?: string
  readonly port?: number
  readonly username?: string
  readonly password?: string
}

/** A middleware that connects through a proxy. */
export interface Proxying {
  readonly name: string
  readonly make: (options: Login) => Middleware<ClientContext>
  readonly proxy: (
    t: ExecutionContext,
    login?: { username: string; password: string },
  ) => Promise<Proxy>
  /** What a proxy says that lets a connection through, and the first bytes of the server with it. */
  readonly early: (word: string) => string
}

const host = '127.0.0.1'
const login = { username: 'alice', password: 'a secret: ☃' }

export function proxyContract({ name, make, proxy, early }: Proxying): void {
  const client = (t: ExecutionContext, options: Login): Cio => {
    // A proxy of the tests notes what it was asked for, which is no option.
    const { asked: _, ...own }: Login & { asked?: unknown } = options
    const app = new Cio().useClient(make(own))
    closeAfter(t, app)
    return app
  }
  // By its own end, not by ours: few proxies pass on that one side has ended.
  const echo = (): Cio =>
    new Cio().useConnection(async (ctx) => {
      const { value } = await ctx[Symbol.asyncIterator]().next()
      ctx.stream.write(`${String(value)} from ${ctx.peer?.name}`)
    })

  test(`${name}: a connection goes through the proxy, both ways and to both ends`, async (t) => {
    const { port } = await serve(t, echo())
    const ctx = await client(t, await proxy(t)).connect({ host, port })
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from undefined')
    t.is(typeof ctx.options.createConnection, 'function')
    await ctx.closed
    t.is(ctx.broken, undefined)
    t.is(ctx.options.createConnection, undefined)
  })

  test(`${name}: a name is resolved by the proxy`, async (t) => {
    const { port } = await serve(t, echo())
    const lookup: ConnectOptions['lookup'] = (asked) => t.fail(`we looked up ${asked}`)
    const ctx = await client(t, await proxy(t)).connect({ host: 'localhost', port, lookup })
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from undefined')
  })

  test(`${name}: TLS goes through it, checked against the host that was asked for`, async (t) => {
    const { port } = await serve(t, echo(), {
      ...identity('server'),
      ca: path('root.crt'),
      requestCert: true,
    })
    const through = client(t, await proxy(t))
    const own = { ...identity('alice'), ca: path('root.crt'), port }
    const ctx = await through.connect({ ...own, host: 'localhost' })
    t.is(ctx.peer?.name, 'localhost')
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from alice')
    const error = await t.throwsAsync(
      through.connect({ ...own, host: 'localhost', servername: 'elsewhere.test' }),
      { code: 'ERR_CIO_REJECTED' },
    )
    t.true(error.message.includes(`localhost:${port}`), error.message)
  })

  test(`${name}: who has the password is let in`, async (t) => {
    const { port } = await serve(t, echo())
    const ctx = await client(t, { ...(await proxy(t, login)), ...login }).connect({
      host,
      port,
    })
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from undefined')
  })

  for (const [who, given] of [
    ['without a password', {}],
    ['with a wrong one', { ...login, password: 'wrong' }],
  ] as const) {
    test(`${name}: who comes ${who} is told so, and does not try again`, async (t) => {
      const { port } = await serve(t, echo())
      const app = client(t, { ...(await proxy(t, login)), ...given })
      app.useClient(reconnect({ delay: 2 ** 30 }), { before: name })
      const error = await t.throwsAsync<CioError>(app.connect({ host, port }), {
        code: 'ERR_CIO_PROXY_AUTH',
      })
      t.is(error.fault, 'local')
      t.false(JSON.stringify([error.message, error.stack, error]).includes('wrong'))
    })
  }

  test(`${name}: what the proxy does not reach is told, with its name`, async (t) => {
    const port = await ownPort()
    const through = client(t, await proxy(t))
    const error = await t.throwsAsync<CioError>(through.connect({ host, port }), {
      code: 'ERR_CIO_PROXY',
    })
    t.is(error.fault, 'remote')
    t.true(error.message.includes(`${host}:${port}`), error.message)
    await t.throwsAsync(through.connect({ host: 'nowhere.invalid', port }), {
      code: 'ERR_CIO_PROXY',
    })
  })

  test(`${name}: a proxy that is not there is Node’s own error`, async (t) => {
    const port = await ownPort()
    const error = await t.throwsAsync(client(t, { host, port }).connect({ host, port: 1 }), {
      code: 'ECONNREFUSED',
    })
    t.true(error.message.includes(`${host}:${port}`))
  })

  test(`${name}: several targets are tried through it`, async (t) => {
    const { port } = await serve(t, echo())
    const targets = [
      { host, port: await ownPort() },
      { host, port },
    ]
    const ctx = await client(t, await proxy(t)).connect(targets)
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from undefined')
  })

  test(`${name}: a second proxy is reached through the first`, async (t) => {
    const { port } = await serve(t, echo())
    const [first, second] = [await proxy(t), await proxy(t)]
    const app = client(t, { host, port: first.port })
    app.useClient(make({ host, port: second.port }), { name: 'second', before: 'connect' })
    const ctx = await app.connect({ host, port })
    ctx.stream.write('hello')
    t.is(await readAll(ctx), 'hello from undefined')
  })

  test(`${name}: a proxy that says nothing is given up after connectTimeout, and on close()`, async (t) => {
    let asked = deferred()
    const silent = createServer((socket) => {
      socket.on('error', () => {})
      t.teardown(() => socket.destroy())
      socket.once('data', () => asked.resolve())
    })
    const at = await listenBare(t, silent)
    const through = client(t, { host, port: at })
    await t.throwsAsync(through.connect({ host, port: 1, connectTimeout: 50 }), {
      code: 'ERR_CIO_CONNECT_TIMEOUT',
      message: `${host}:1 was not connected within 50 ms, by way of the proxy ${host}:${at}`,
    })
    asked = deferred()
    const closed = t.throwsAsync(through.connect({ host, port: 1, connectTimeout: Infinity }), {
      code: 'ERR_CIO_CLOSED',
    })
    await asked.promise
    await through.close()
    await closed
  })

  for (const [what, answer] of [
    ['speaks something else', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
    ['hangs up', ''],
  ] as const) {
    test(`${name}: a proxy that ${what} is told as such`, async (t) => {
      const other = createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => socket.end(answer))
      })
      const through = client(t, { host, port: await listenBare(t, other) })
      await t.throwsAsync(through.connect({ host, port: 1 }), { code: 'ERR_CIO_PROXY' })
    })
  }

  for (const how of ['data', 'readable'] as const) {
    test(`${name}: what the server says at once is not lost (${how})`, async (t) => {
      let asked = 0
      const chatty = createServer((socket) => {
        socket.on('error', () => {})
        t.teardown(() => socket.destroy())
        socket.on('data', () => {
          asked += 1
          // The answers to both questions of SOCKS; HTTP asks once.
          const answer = early('welcome')
          if (name === 'socks5' && asked === 1) return socket.write('\x05\x00')
          return socket.end(Buffer.from(answer, 'latin1'))
        })
      })
      const ctx = await client(t, { host, port: await listenBare(t, chatty) }).connect({
        host,
        port: 1,
      })
      // Later, as a middleware that waits for something else first.
      await new Promise((resolve) => setTimeout(resolve, 20))
      let text = ''
      const { stream } = ctx
      await new Promise<void>((resolve) => {
        stream.on('end', resolve)
        if (how === 'data') stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
        else {
          stream.on('readable', () => {
            for (let chunk; (chunk = stream.read() as Buffer | null) !== null;)
              text += chunk.toString()
          })
        }
      })
      t.is(text, 'welcome')
    })
  }

  for (const options of [
    { host: '' },
    { port: 0 },
    { user: 'alice' },
    { username: 5 as unknown as string },
  ] as Login[]) {
    const [[option, value]] = Object.entries(options) as [[string, unknown]]
    test(`${name}: ${option} of ${JSON.stringify(value)} is refused when it is made`, (t) => {
      t.throws(() => make(options), { code: 'ERR_CIO_OPTION' })
    })
  }
}

import test, { type ExecutionContext } from 'ava'
import Koa from 'koa'
import { once } from 'node:events'
import { Agent, type IncomingMessage, createServer, request } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { createGunzip, createGzip } from 'node:zlib'
import { Client, Pool } from 'undici'
import { Cio, CioError, allowList, contextOf, http, isCioError, layer } from '../../src/index.ts'
import { StackLayer } from '../../src/kit.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred, networks, open, transports } from '../support/transports.ts'

const hello = (_request: unknown, response: { end(text: string): void }): void => {
  response.end('hello')
}

const get = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Waits until a plain socket has received something. */
async function until(socket: Socket, pattern: RegExp): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += String(chunk)))
  while (!pattern.test(text)) await once(socket, 'data')
  return text
}

async function ask(
  agent: Agent,
  port: number,
): Promise<{ text: string; response: IncomingMessage }> {
  const asked = request({ agent, port, host: '127.0.0.1' })
  asked.end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  return { text: await readAll(response), response }
}

function agent(t: ExecutionContext): Agent {
  const made = new Agent({ keepAlive: true })
  t.teardown(() => made.destroy())
  return made
}

for (const transport of transports) {
  test(`over ${transport}, two requests get responses on one connection`, async (t) => {
    const app = new Cio().useConnection(http(hello))
    const client = (await open(t, app, transport)) as Socket
    client.write(get)
    await until(client, /hello$/)
    const last = until(client, /hello$/)
    const end = once(client, 'end')
    client.write(get.replace('Host', 'Connection: close\r\nHost'))
    t.regex(await last, /Connection: close/)
    await end
  })
}

test('fetch gets a response', async (t) => {
  const { port } = await serve(t, new Cio().useConnection(http(hello)))
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })
  t.is(await response.text(), 'hello')
})

test('an http.Agent reuses its connection (keep-alive)', async (t) => {
  let connections = 0
  const app = new Cio().useConnection(http(hello))
  app.on('connection', () => (connections += 1))
  const { port } = await serve(t, app)
  const kept = agent(t)
  for (let index = 0; index < 5; index++) t.is((await ask(kept, port)).text, 'hello')
  t.is(connections, 1)
})

test('pipelined requests get their responses in order', async (t) => {
  const { port } = await serve(
    t,
    new Cio().useConnection(
      http((asked, response) => void setImmediate(() => response.end(asked.url))),
    ),
  )
  const client = new Client(`http://127.0.0.1:${port}`, { pipelining: 10 })
  t.teardown(() => client.destroy())
  const paths = Array.from({ length: 20 }, (_, index) => `/${index}`)
  const answers = await Promise.all(
    paths.map(async (one) => (await client.request({ path: one, method: 'GET' })).body.text()),
  )
  t.deepEqual(answers, paths)
})

test('a Koa application responds, reads bodies and handles its own errors', async (t) => {
  const koa = new Koa()
  koa.silent = true
  koa.use(async (ctx) => {
    if (ctx.path === '/broken') throw new Error('broken')
    ctx.body = `${ctx.method} ${await readAll(ctx.req)}`
  })
  const { port } = await serve(t, new Cio().useConnection(http(koa.callback())))
  const pool = new Pool(`http://127.0.0.1:${port}`)
  t.teardown(() => pool.destroy())
  const posted = await pool.request({ path: '/', method: 'POST', body: 'x'.repeat(100_000) })
  t.is((await posted.body.text()).length, 'POST '.length + 100_000)
  t.is((await pool.request({ path: '/broken', method: 'GET' })).statusCode, 500)
})

test('over mutual TLS, Koa knows the verified peer', async (t) => {
  const koa = new Koa()
  koa.use((ctx) => {
    const certificate = (ctx.req.socket as TLSSocket).getPeerCertificate()
    ctx.body = `${contextOf(ctx.req)?.peer?.name} ${String(certificate.subject.CN)} ${ctx.secure}`
  })
  const app = new Cio().useConnection(allowList(['alice'])).useConnection(http(koa.callback()))
  const { port } = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const client = new Client(`https://localhost:${port}`, {
    connect: { ca: contents('root.crt'), ...loaded('alice'), host: '127.0.0.1' },
  })
  t.teardown(() => client.destroy())
  const { body } = await client.request({ path: '/', method: 'GET' })
  t.is(await body.text(), 'alice alice true')
})

test('over a layer, requests get responses and know their context', async (t) => {
  const app = new Cio()
    .useConnection(layer({ decode: () => createGunzip(), encode: () => createGzip() }))
    .useConnection(http((asked, response) => void response.end(`id ${contextOf(asked)?.id}`)))
  const zipped = new StackLayer(await open(t, app, 'tcp'), {
    decode: [createGunzip()],
    encode: [createGzip()],
  }) as unknown as Socket
  zipped.write(get)
  t.regex(await until(zipped, /id \d+/), /id \d+/)
  zipped.destroy()
})

for (const transport of networks) {
  test(`over ${transport}, bytes that a middleware has read and unshifted are part of the request`, async (t) => {
    const app = new Cio()
      .useConnection(
        async function sniff({ stream }, next) {
          await once(stream, 'readable')
          const bytes = stream.read() as Buffer
          stream.unshift(bytes)
          await next()
        },
        { after: 'secure' },
      )
      .useConnection(http((asked, response) => void response.end(asked.url)))
    const client = (await open(t, app, transport)) as Socket
    client.write('GET /first')
    await new Promise((resolve) => setImmediate(resolve))
    client.write('/second HTTP/1.1\r\nHost: x\r\n\r\n')
    t.regex(await until(client, /second$/), /\/first\/second$/)
  })
}

test('a request of another server has no context', async (t) => {
  t.is(
    contextOf({ socket: await dial(t, await serve(t, new Cio())) } as IncomingMessage),
    undefined,
  )
})

test('a custom server keeps its listeners, and upgrades', async (t) => {
  const server = createServer(hello)
  server.on('upgrade', (_request, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
  })
  const app = new Cio().useConnection(http(server))
  const listening = await serve(t, app)
  const client = await dial(t, listening)
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  await until(client, /\r\n\r\n$/)

  const closed = listening.close()
  client.write('after the upgrade')
  await until(client, /after the upgrade$/)
  client.end()
  t.deepEqual(await closed, { forced: 0 })
})

test('during a drain, idle connections are closed and a response says Connection: close', async (t) => {
  const answer = deferred()
  const asked = deferred()
  const app = new Cio().useConnection(
    http(async (incoming, response) => {
      if (incoming.url === '/slow') {
        asked.resolve()
        await answer.promise
      }
      response.end('hello')
    }),
  )
  const server = await serve(t, app)
  const fresh = await dial(t, server)
  const idle = await dial(t, server)
  idle.write(get)
  await until(idle, /hello$/)
  const busy = await dial(t, server)
  busy.write(get.replace('/', '/slow'))
  await asked.promise

  const closed = server.close()
  await Promise.all([once(idle.resume(), 'end'), once(fresh.resume(), 'end')])
  answer.resolve()
  t.regex(await readAll(busy), /connection: close[^]*hello$/i)
  t.deepEqual(await closed, { forced: 0 })
})

test('a response whose headers were sent before the drain is finished, then its connection closes', async (t) => {
  const answer = deferred()
  const app = new Cio().useConnection(
    http(
      async (_incoming, response) => {
        response.write('first')
        await answer.promise
        response.end('last')
      },
      { keepAliveTimeout: 60_000 },
    ),
  )
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.write(get)
  await until(client, /first/)
  const closed = server.close()
  answer.resolve()
  await Promise.all([until(client, /last/), once(client, 'end')])
  client.end()
  t.deepEqual(await closed, { forced: 0 })
})

for (const [kind, handler] of Object.entries({
  throws: () => {
    throw new CioError('ERR_MINE', 'mine')
  },
  rejects: async () => {
    throw new CioError('ERR_MINE', 'mine')
  },
})) {
  test(`a handler that ${kind} causes a 500 response and an error event`, async (t) => {
    const app = new Cio().useConnection(http(handler))
    const told = once(app, 'error')
    const client = await dial(t, await serve(t, app))
    client.write(get)
    t.regex(await readAll(client), /^HTTP\/1.1 500 /)
    t.true(isCioError(((await told) as [Error])[0], 'ERR_MINE'))
  })
}

test('a handler that rejects after the headers were sent ends the connection', async (t) => {
  const app = new Cio().useConnection(
    http(async (_incoming, response) => {
      response.write('half')
      await new Promise((written) => setImmediate(written))
      throw new Error('late')
    }),
  )
  const told = once(app, 'error')
  const client = await dial(t, await serve(t, app))
  client.write(get)
  await new Promise((gone) => client.resume().once('end', gone).once('close', gone))
  t.is(((await told) as [Error])[0].message, 'late')
})

test('input that is not HTTP gets a 400 response and is reported by remoteError', async (t) => {
  const app = new Cio().useConnection(http(hello))
  app.on('error', (error) => t.fail(error.message))
  const told = once(app, 'remoteError')
  const client = await dial(t, await serve(t, app))
  client.write('\x16\x03\x01 this is no request\r\n\r\n')
  t.regex(await readAll(client), /^HTTP\/1.1 400 /)
  const [error] = (await told) as [Error]
  t.true(isCioError(error, 'ERR_CIO_HTTP'))
  t.regex(error.message, /127\.0\.0\.1:\d+/)
})

test('incomplete headers end the connection after headersTimeout', async (t) => {
  const options = { headersTimeout: 50, requestTimeout: 100, connectionsCheckingInterval: 20 }
  const app = new Cio().useConnection(http(hello, options))
  const told = once(app, 'remoteError')
  const client = await dial(t, await serve(t, app))
  // Node destroys the connection after its response: with unread bytes, on a slow machine, that is
  // a reset.
  client.on('error', () => {})
  let said = ''
  client.on('data', (chunk: Buffer) => (said += String(chunk)))
  const over = new Promise((resolve) => client.once('end', resolve).once('close', resolve))
  client.write('GET / HTTP/1.1\r\nX-Slow: ')
  await over
  t.regex(said, /^HTTP\/1.1 408 /)
  t.true(isCioError(((await told) as [Error])[0], 'ERR_CIO_HTTP'))
})

test('a reset within a request ends only that connection', async (t) => {
  const began = deferred()
  const app = new Cio().useConnection(
    http((incoming, response) => {
      if (incoming.method === 'GET') response.end('hello')
      else began.resolve()
    }),
  )
  app.on('error', (error) => t.fail(error.message))
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf')
  await began.promise
  const closed = once(app, 'close')
  client.resetAndDestroy()
  await closed
  t.is((await ask(agent(t), server.port)).text, 'hello')
})

test('a handler that is neither a function nor an http.Server is rejected', (t) => {
  const code = { code: 'ERR_CIO_OPTION' }
  t.throws(() => http({} as never), code)
  t.throws(() => http(createHttpsServer() as never), code)
  t.throws(() => http(createServer(), { keepAliveTimeout: 1 }), code)
})

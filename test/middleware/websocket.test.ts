import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ClientOptions, WebSocket } from 'ws'
import {
  Cio,
  type JsonContext,
  type Middleware,
  type StreamContext,
  allowList,
  forward,
  isCioError,
  json,
  lines,
} from '../../src/index.ts'
import { chunksOf } from '../../src/kit.ts'
import { requestOf, websocket } from '../../middleware/websocket.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

const shouting = () =>
  new Cio()
    .useConnection(lines())
    .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))

/** A client of the package ws, open; closed with the test. */
async function dialWebSocket(
  t: ExecutionContext,
  { port }: { port: number },
  options: ClientOptions & {
    readonly scheme?: string
    readonly path?: string
    readonly servername?: string
  } = {},
): Promise<WebSocket> {
  const { scheme = 'ws', path: at = '/' } = options
  const client = new WebSocket(`${scheme}://127.0.0.1:${port}${at}`, options)
  t.teardown(() => client.terminate())
  client.on('error', () => {})
  await once(client, 'open')
  return client
}

async function message(client: WebSocket): Promise<string> {
  const [received] = (await once(client, 'message')) as [Buffer]
  return String(received)
}

/** The HTTP status of a refused upgrade. */
async function refused(port: number, options: ClientOptions): Promise<number | undefined> {
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, options)
  client.on('error', () => {})
  const [, response] = (await once(client, 'unexpected-response')) as [
    unknown,
    { statusCode: number },
  ]
  client.terminate()
  return response.statusCode
}

test('each message is a line of a connection, and each line is sent as a text message', async (t) => {
  const server = await serve(t, new Cio().useConnection(websocket(shouting())))
  const client = await dialWebSocket(t, server)
  client.send('one\n')
  t.is(await message(client), 'ONE')
  client.send(Buffer.from('two\n'))
  const [received, isBinary] = (await once(client, 'message')) as [Buffer, boolean]
  t.is(String(received), 'TWO')
  t.false(isBinary)
})

test('bytes are sent as a binary message, and a string of another encoding is bytes', async (t) => {
  const app = new Cio().useConnection(async ({ stream }, next) => {
    stream.write(Buffer.from([0, 255]))
    stream.write('00ff', 'hex')
    await next()
  })
  const client = new WebSocket(
    `ws://127.0.0.1:${(await serve(t, new Cio().useConnection(websocket(app)))).port}`,
  )
  t.teardown(() => client.terminate())
  const messages: [Buffer, boolean][] = []
  client.on('message', (bytes: Buffer, isBinary) => messages.push([bytes, isBinary]))
  while (messages.length < 2) await once(client, 'message')
  t.deepEqual(messages, [
    [Buffer.from([0, 255]), true],
    [Buffer.from([0, 255]), true],
  ])
})

test('on one port, requests reach the handler and WebSockets the app', async (t) => {
  const app = new Cio().useConnection(
    websocket(shouting(), { handler: (_request, response) => void response.end('a page') }),
  )
  const server = await serve(t, app)
  t.is(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), 'a page')
  const client = await dialWebSocket(t, server)
  client.send('one\n')
  t.is(await message(client), 'ONE')
})

test('a server of ones own may be the handler', async (t) => {
  const handler = createServer((_request, response) => void response.end('mine'))
  const server = await serve(t, new Cio().useConnection(websocket(shouting(), { handler })))
  t.is(await (await fetch(`http://127.0.0.1:${server.port}/`)).text(), 'mine')
  const client = await dialWebSocket(t, server)
  client.send('one\n')
  t.is(await message(client), 'ONE')
})

test('without a handler, a request is answered with 426', async (t) => {
  const server = await serve(t, new Cio().useConnection(websocket(shouting())))
  t.is((await fetch(`http://127.0.0.1:${server.port}/`)).status, 426)
})

test('the app may be the same one: later middleware gets the WebSocket connections', async (t) => {
  const app = new Cio()
  app
    .useConnection(websocket(app))
    .useConnection(json())
    .useConnection((ctx) => ctx.messages.each((value) => ctx.messages.send({ echo: value })))
  const client = await dialWebSocket(t, await serve(t, app))
  client.send('{"a":1}\n')
  t.is(await message(client), '{"echo":{"a":1}}')
})

test('over mutual TLS, its connection has the verified peer and the request', async (t) => {
  const inner = new Cio()
    .useConnection(allowList(['alice']))
    .useConnection((ctx) => void ctx.stream.end(`${ctx.peer?.name} ${requestOf(ctx)?.url}`))
  const app = new Cio().useConnection(websocket(inner))
  const server = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const client = await dialWebSocket(t, server, {
    scheme: 'wss',
    path: '/here',
    ca: contents('root.crt'),
    ...loaded('alice'),
    servername: 'localhost',
  })
  const closed = once(client, 'close')
  t.is(await message(client), 'alice /here')
  t.is((await closed)[0], 1000)
})

test('a close by the client ends the input, and then the connection is closed', async (t) => {
  const inner = new Cio()
  const said: string[] = []
  inner.useConnection(async ({ stream }) => {
    said.push(await readAll(chunksOf(stream)))
  })
  const client = await dialWebSocket(t, await serve(t, new Cio().useConnection(websocket(inner))))
  const over = once(inner, 'close')
  client.send('bye')
  client.close()
  await Promise.all([over, once(client, 'close')])
  t.deepEqual(said, ['bye'])
})

test('a client that leaves without a close frame emits remoteError', async (t) => {
  const inner = new Cio().useConnection(async ({ stream }) => readAll(chunksOf(stream)))
  inner.on('error', (error) => t.fail(error.message))
  const told = once(inner, 'remoteError')
  const client = await dialWebSocket(t, await serve(t, new Cio().useConnection(websocket(inner))))
  client.terminate()
  const [error] = (await told) as [Error]
  t.true(isCioError(error, 'ERR_CIO_WEBSOCKET'))
})

test('a message above maxPayload closes with 1009 and emits remoteError', async (t) => {
  const inner = shouting()
  inner.on('error', (error) => t.fail(error.message))
  const told = once(inner, 'remoteError')
  const app = new Cio().useConnection(websocket(inner, { maxPayload: 1000 }))
  const client = await dialWebSocket(t, await serve(t, app))
  const closed = once(client, 'close')
  client.send('x'.repeat(1001))
  t.true(isCioError(((await told) as [Error])[0], 'ERR_CIO_WEBSOCKET'))
  t.is((await closed)[0], 1009)
})

test('an invalid frame emits remoteError', async (t) => {
  const inner = shouting()
  inner.on('error', (error) => t.fail(error.message))
  const told = once(inner, 'remoteError')
  const app = new Cio().useConnection(websocket(inner))
  app.on('error', (error) => t.fail(error.message))
  const client = await dialWebSocket(t, await serve(t, app))
  ;(client as unknown as { _socket: Socket })._socket.write(Buffer.from([0xff, 0xff, 0xff]))
  t.true(isCioError(((await told) as [Error])[0], 'ERR_CIO_WEBSOCKET'))
})

test('a page of another host is refused, unless its origin is listed', async (t) => {
  const own = await serve(t, new Cio().useConnection(websocket(shouting())))
  t.is(await refused(own.port, { origin: 'https://evil.example' }), 403)
  t.is(await refused(own.port, { origin: 'null' }), 403)
  await dialWebSocket(t, own, { origin: `http://127.0.0.1:${own.port}` })
  await dialWebSocket(t, own)

  const origins = ['https://good.example']
  const listed = await serve(t, new Cio().useConnection(websocket(shouting(), { origins })))
  t.is(await refused(listed.port, { origin: `http://127.0.0.1:${listed.port}` }), 403)
  await dialWebSocket(t, listed, { origin: 'https://good.example' })

  const asked = await serve(
    t,
    new Cio().useConnection(websocket(shouting(), { origins: (origin) => /good/.test(origin) })),
  )
  t.is(await refused(asked.port, { origin: 'https://evil.example' }), 403)
  await dialWebSocket(t, asked, { origin: 'https://good.example' })
})

test('a client with another upgrade protocol is refused, and its connection closed', async (t) => {
  const client = await dial(t, await serve(t, new Cio().useConnection(websocket(shouting()))))
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  t.regex(await readAll(client), /^HTTP\/1.1 400 /)
})

test('backpressure reaches a client that does not read', async (t) => {
  const streams: Duplex[] = []
  const inner = new Cio().useConnection(async ({ stream }, next) => {
    streams.push(stream)
    stream.pipe(stream)
    await next()
  })
  const client = await dialWebSocket(t, await serve(t, new Cio().useConnection(websocket(inner))))
  client.pause()
  const chunk = Buffer.alloc(65536)
  for (let index = 0; index < 1000; index++) client.send(chunk)
  while (streams[0]?.writableNeedDrain !== true) await new Promise((done) => setImmediate(done))
  for (let turn = 0; turn < 100; turn++) await new Promise((done) => setImmediate(done))
  t.true(streams[0].writableLength + streams[0].readableLength < 1024 * 1024)
  t.true(client.bufferedAmount > 0)
})

test("a write that crosses the client's close is not a local fault", async (t) => {
  const inner = new Cio().useConnection(async ({ stream }) => {
    for await (const _ of chunksOf(stream)) stream.write('again')
    stream.write('too late')
    await once(stream, 'close')
  })
  inner.on('error', (error) => t.fail(error.message))
  const over = once(inner, 'close')
  const client = await dialWebSocket(t, await serve(t, new Cio().useConnection(websocket(inner))))
  client.close()
  await over
  t.pass()
})

test('draining reaches the handlers of WebSockets, which then close', async (t) => {
  const server = await serve(t, new Cio().useConnection(websocket(shouting())))
  const client = await dialWebSocket(t, server)
  client.send('one\n')
  t.is(await message(client), 'ONE')
  const closed = once(client, 'close')
  t.deepEqual(await server.close(), { forced: 0 })
  await closed
})

test('a WebSocket that is destroyed at the deadline is closed', async (t) => {
  const inner = new Cio().useConnection((_ctx, next) => next())
  const server = await serve(t, new Cio().useConnection(websocket(inner)))
  const client = await dialWebSocket(t, server)
  const closed = [once(client, 'close'), once(inner, 'close')]
  t.deepEqual(await server.close({ timeout: 50 }), { forced: 1 })
  await Promise.all(closed)
})

for (const scheme of ['ws', 'wss']) {
  for (const [what, code, handler] of [
    ['is done', 1000, () => {}],
    ['ends the stream', 1000, ({ stream }, next) => (stream.end(), next())],
    ['threw', 1011, () => Promise.reject(new Error('mine'))],
    ['destroys the connection with an error', 1011, (ctx) => ctx.destroy(new Error('mine'))],
    ['found what was sent wrong', 1008, ({ messages }) => messages.next()],
  ] satisfies [string, number, Middleware<StreamContext & JsonContext>][]) {
    test(`where the handler ${what}, a ${scheme} client sees the close code ${code} (eclipse/jetty.project#1293)`, async (t) => {
      const inner = new Cio().useConnection(json()).useConnection(async (ctx, next) => {
        await once(ctx.stream, 'readable')
        await handler(ctx, next)
      })
      inner.on('error', () => {})
      inner.on('remoteError', () => {})
      const app = new Cio().useConnection(websocket(inner))
      const server = await serve(t, app, scheme === 'wss' ? identity('server') : {})
      const client = await dialWebSocket(t, server, { scheme, rejectUnauthorized: false })
      const closed = once(client, 'close')
      client.send('no JSON\n')
      // Unread data must not turn the close into a reset.
      for (let sent = 0; sent < 50; sent++) client.send(Buffer.alloc(10_000))
      t.is((await closed)[0], code)
    })
  }
}

for (const [what, code, handler] of [
  ['ends the stream', 1000, ({ stream }, next) => (stream.end(), next())],
  ['destroys the stream', 1011, ({ stream }, next) => (stream.destroy(), next())],
  ['destroys the connection', 1001, async (ctx) => ctx.destroy()],
  ['destroys it with an error', 1011, async (ctx) => ctx.destroy(new Error('mine'))],
] satisfies [string, number, Middleware<StreamContext>][]) {
  test(`a first middleware that ${what} at once closes the WebSocket with ${code} (eclipse/jetty.project#1293)`, async (t) => {
    const inner = new Cio().useConnection(handler)
    const errors: string[] = []
    inner.on('error', ({ message }) => errors.push(message))
    const server = await serve(t, new Cio().useConnection(websocket(inner)))
    const client = new WebSocket(`ws://127.0.0.1:${server.port}/`)
    t.teardown(() => client.terminate())
    t.is((await once(client, 'close'))[0], code)
    t.deepEqual(errors, what === 'destroys it with an error' ? ['mine'] : [])
  })
}

test('half of an answer of a target that resets does not look whole to a WebSocket: 1011 (istio/ztunnel#1483)', async (t) => {
  const target = await serve(
    t,
    new Cio().useConnection(async ({ stream, socket }) => {
      await once(stream, 'data')
      socket?.resetAndDestroy()
    }),
  )
  const inner = new Cio().useConnection(forward(target.port))
  const errors: unknown[] = []
  inner.on('error', (error) => errors.push(isCioError(error) && error.code))
  const server = await serve(t, new Cio().useConnection(websocket(inner)))
  const client = await dialWebSocket(t, server)
  const closed = once(client, 'close')
  client.send('a question')
  t.is((await closed)[0], 1011)
  t.deepEqual(errors, ['ERR_CIO_UPSTREAM'])
})

test('a drain closes WebSockets with 1001 (eclipse/jetty.project#1293)', async (t) => {
  for (const inner of [shouting(), new Cio().useConnection((ctx) => once(ctx.draining, 'abort'))]) {
    const server = await serve(t, new Cio().useConnection(websocket(inner)))
    const client = await dialWebSocket(t, server)
    const closed = once(client, 'close')
    t.deepEqual(await server.close(), { forced: 0 })
    t.is((await closed)[0], 1001)
  }
})

test('a close by the client is answered with its own code', async (t) => {
  const server = await serve(t, new Cio().useConnection(websocket(shouting())))
  const client = await dialWebSocket(t, server)
  const closed = once(client, 'close')
  client.close(4_001)
  t.is((await closed)[0], 4_001)
})

test('a client that does not answer a close is disconnected if its handler threw', async (t) => {
  const inner = new Cio().useConnection(() => Promise.reject(new Error('mine')))
  inner.on('error', () => {})
  const app = new Cio().useConnection(websocket(inner))
  app.on('remoteError', () => {})
  const over = once(app, 'close')
  const client = await dial(t, await serve(t, app))
  const upgrade = ['GET / HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket']
  const key = ['Sec-WebSocket-Version: 13', `Sec-WebSocket-Key: ${'A'.repeat(22)}==`]
  client.write([...upgrade, ...key, '', ''].join('\r\n'))
  const received = readAll(client).catch(() => '')
  await over
  t.regex(await received, /^HTTP\/1.1 101 /)
})

test('a default port may stand in the host, in the origin, or in neither', async (t) => {
  const own = await serve(t, new Cio().useConnection(websocket(shouting())))
  const origins = [
    'https://example.com:443',
    'HTTP://Example.org/',
    'https://bücher.example',
    'null',
  ]
  const listed = await serve(t, new Cio().useConnection(websocket(shouting(), { origins })))
  for (const [origin, host] of [
    ['https://example.com', 'example.com:443'],
    ['https://example.com', 'Example.com'],
    ['https://example.com:443', 'example.com'],
    ['http://example.com', 'example.com:80'],
    ['http://[::1]', '[::1]:80'],
    ['https://example.com:8443', 'example.com:8443'],
  ] as const) {
    await dialWebSocket(t, own, { origin, headers: { host } })
  }
  for (const [origin, host] of [
    ['https://example.com', 'example.com:80'],
    ['http://example.com', 'example.com:443'],
    ['https://example.com', 'evil@example.com'],
    ['https://example.com', 'example.com/x'],
    ['https://example.com:8443', 'example.com'],
    ['https://example.com', ''],
  ] as const) {
    t.is(await refused(own.port, { origin, headers: { host } }), 403, `${origin} to ${host}`)
  }
  for (const origin of [
    'https://example.com',
    'http://example.org',
    'https://xn--bcher-kva.example',
    'null',
  ]) {
    await dialWebSocket(t, listed, { origin })
  }
  t.is(await refused(listed.port, { origin: 'http://example.com' }), 403)
})

const pipelined = [
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n',
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
].join('')

test('an upgrade behind a request waits for its response', async (t) => {
  const handler = createServer((_request, response) => setImmediate(() => response.end('first')))
  const app = new Cio().useConnection(websocket(shouting(), { handler }))
  const socket = await dial(t, await serve(t, app))
  socket.write(pipelined)
  let text = ''
  for await (const chunk of socket) {
    text += String(chunk)
    if (text.includes('101 Switching')) break
  }
  t.regex(text, /^HTTP\/1\.1 200[^]*first[^]*HTTP\/1\.1 101/)
})

test('an upgrade behind a response that ends the connection is no fault of the application', async (t) => {
  const app = new Cio().useConnection(websocket(shouting()))
  const errors: unknown[] = []
  app.on('error', (error) => errors.push(error))
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  const socket = await dial(t, server)
  socket.end(`${pipelined}\0\0\0\0`)
  const text = await readAll(socket)
  t.regex(text, /^HTTP\/1\.1 426/)
  t.notRegex(text, /101 Switching/)
  await closed
  t.deepEqual(errors, [])
})

test('options of the wrong kind are refused when it is made', (t) => {
  const code = { code: 'ERR_CIO_OPTION' }
  t.throws(() => websocket({} as never), code)
  t.throws(() => websocket(new Cio(), { maxPayload: 0 }), code)
  t.throws(() => websocket(new Cio(), { origins: 'https://good.example' as never }), code)
  t.throws(() => websocket(new Cio(), { origin: [] } as never), code)
})

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { Cio, httpConnect } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { proxyContract } from '../contracts/proxy.ts'
import { httpProxy } from '../support/proxies.ts'
import { closeAfter, listenBare, readAll, serve } from '../support/serve.ts'
import { openSession } from '../support/tls.ts'

proxyContract({
  name: 'httpConnect',
  make: httpConnect,
  proxy: (t, login) => httpProxy(t, login ? { login } : {}),
  early: (word) => `HTTP/1.1 200 OK\r\n\r\n${word}`,
})

const hello = (): Cio =>
  new Cio().useConnection((ctx) => void ctx.stream.end(`hello ${ctx.peer?.name}`))

test('over TLS to the proxy a plain connection has no peer, and one over TLS has its own', async (t) => {
  const proxy = await httpProxy(t, { tls: true })
  const { port } = await serve(t, hello())
  const { port: secure } = await serve(t, hello(), {
    ...identity('server2'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const tls = { ca: path('root.crt'), servername: 'localhost' }
  const app = new Cio().useClient(httpConnect({ host: proxy.host, port: proxy.port, tls }))
  closeAfter(t, app)

  const plain = await app.connect({ host: '127.0.0.1', port })
  t.is(plain.peer, null)
  t.false(plain.encrypted)
  t.is(await readAll(plain), 'hello undefined')

  const own = { ...identity('alice'), ca: path('root.crt') }
  const ctx = await app.connect({ host: 'localhost', port: secure, ...own })
  t.is(ctx.peer?.name, 'second')
  t.is(await readAll(ctx), 'hello alice')
})

test('a resumed session does not get around the check of the proxy’s name', async (t) => {
  const proxy = await httpProxy(t, { tls: true })
  const session = await openSession(t, proxy)
  const tls = { ca: path('root.crt'), servername: 'elsewhere.test', session }
  const app = new Cio().useClient(httpConnect({ host: proxy.host, port: proxy.port, tls }))
  closeAfter(t, app)
  const error = await t.throwsAsync(app.connect({ host: '127.0.0.1', port: 9, family: 4 }), {
    code: 'ERR_CIO_REJECTED',
  })
  // Node 26 checks the name itself.
  const said = /the HTTP proxy 127\.0\.0\.1:\d+ (was rejected|is not accepted).*elsewhere\.test/
  t.regex(error.message, said)
})

test('a proxy whose certificate is not trusted, or for another name, receives nothing', async (t) => {
  const proxy = await httpProxy(t, { tls: true })
  for (const tls of [true, { ca: path('root.crt'), servername: 'elsewhere.test' }]) {
    const app = new Cio().useClient(
      httpConnect({ host: proxy.host, port: proxy.port, tls, username: 'alice', password: 'x' }),
    )
    await t.throwsAsync(app.connect({ port: 1 }), { code: 'ERR_CIO_REJECTED' })
  }
  t.deepEqual(proxy.asked, [])
})

test('a proxy that does not speak TLS is reported as such', async (t) => {
  const proxy = await httpProxy(t)
  const app = new Cio().useClient(httpConnect({ host: proxy.host, port: proxy.port, tls: true }))
  await t.throwsAsync(app.connect({ port: 1 }), { code: 'ERR_CIO_PROXY' })
})

test('custom headers are sent, and the response of the proxy is quoted', async (t) => {
  let request = ''
  const server = createServer((socket) => {
    socket.on('data', (chunk: Buffer) => {
      request += chunk.toString()
      socket.end('HTTP/1.1 403 \x1b[31mno way\r\n\r\n')
    })
  })
  const port = await listenBare(t, server)
  const app = new Cio().useClient(
    httpConnect({ host: '127.0.0.1', port, headers: { 'x-team': 'blue' } }),
  )
  const error = await t.throwsAsync(app.connect({ host: '::1', port: 25 }), {
    code: 'ERR_CIO_PROXY',
  })
  t.regex(request, /^CONNECT \[::1\]:25 HTTP\/1\.1\r\n/)
  t.regex(request, /\r\nx-team: blue\r\n/)
  t.regex(request, /\r\nhost: \[::1\]:25\r\n/i)
  t.false(error.message.includes('\x1b'))
})

test('a username with a colon is rejected', (t) => {
  t.throws(() => httpConnect({ username: 'a:b' }), { code: 'ERR_CIO_OPTION' })
})

test('the requested host name is in ASCII and without its last dot (golang/go#63117)', async (t) => {
  for (const [host, asked] of [
    ['db.internal.', 'db.internal:1'],
    ['bücher.example', 'xn--bcher-kva.example:1'],
    ['::1', '[::1]:1'],
    ['[::1]', '[::1]:1'],
  ] as const) {
    let request = ''
    const bare = createServer((socket) => {
      socket.on('data', (chunk) => (request += String(chunk)))
      socket.once('data', () => socket.end('HTTP/1.1 502 No\r\n\r\n'))
    })
    const port = await listenBare(t, bare)
    const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port }))
    const error = await t.throwsAsync(app.connect({ host, port: 1 }), { code: 'ERR_CIO_PROXY' })
    t.true(request.startsWith(`CONNECT ${asked} HTTP/1.1\r\n`), request)
    t.true(error.message.includes(`to ${asked}`))
  }
})

test('a proxy at an IPv6 address is written with brackets, however it was given (node-red/node-red#2462)', async (t) => {
  const bare = createServer((socket) => socket.end('HTTP/1.1 502 No\r\n\r\n'))
  bare.listen(0, '::1')
  t.teardown(() => bare.close())
  await once(bare, 'listening')
  const { port } = bare.address() as AddressInfo
  for (const host of ['::1', '[::1]']) {
    const app = new Cio().useClient(httpConnect({ host, port }))
    const error = await t.throwsAsync(app.connect({ host: '::2', port: 9 }), {
      code: 'ERR_CIO_PROXY',
    })
    t.true(error.message.includes(`the HTTP proxy [::1]:${port} did not connect to [::2]:9`))
  }
})

test('unknown options of TLS to the proxy are rejected', (t) => {
  for (const tls of [{ requestCrt: true }, { port: 1 }, { sni: {} }, { isSecure: true }]) {
    t.throws(() => httpConnect({ tls: tls as object }), { code: 'ERR_CIO_OPTION' })
  }
  t.notThrows(() =>
    httpConnect({ tls: { ca: 'ca.crt', servername: 'proxy', minVersion: 'TLSv1.3' } }),
  )
})

/** A proxy by Node's own server that responds with these pieces, each in its own turn. */
function answering(t: ExecutionContext, ...pieces: string[]): Promise<number> {
  return listenBare(
    t,
    createServer((socket) => {
      socket.on('error', () => {})
      const answer = async (): Promise<void> => {
        socket.pause()
        for (const piece of pieces) {
          await new Promise((resolve) => socket.write(piece, resolve))
          await new Promise((resolve) => setImmediate(resolve))
        }
        socket.pipe(socket)
      }
      socket.once('data', () => void answer())
    }),
  )
}

for (const [how, pieces] of [
  ['in one piece', ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nearly ']],
  ['apart', ['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 200 OK\r\n\r\n', 'early ']],
  [
    'with headers, one after the other',
    [
      'HTTP/1.1 102 X\r\nA: b\r\n\r\nHTTP/1.1 103 Y\r\n\r',
      '\nHTTP/1.1 20',
      '0 OK\r\n\r\nea',
      'rly ',
    ],
  ],
  ['byte by byte', 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nearly '.split('')],
] as const) {
  test(`an interim response ${how} is not the final response of the proxy`, async (t) => {
    const port = await answering(t, ...pieces)
    const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port }))
    closeAfter(t, app)
    const ctx = await app.connect({ host: 'target.test', port: 1, connectTimeout: Infinity })
    ctx.stream.end('late')
    t.is(await readAll(ctx), 'early late')
  })
}

test('a refusal after an interim response fails the connection', async (t) => {
  const port = await answering(t, 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 407 No\r\n\r\n')
  const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port }))
  await t.throwsAsync(app.connect({ host: 'target.test', port: 1 }), {
    code: 'ERR_CIO_PROXY_AUTH',
  })
})

test('a proxy that sends interim responses for ever, or ends after one, does not connect', async (t) => {
  for (const pieces of [
    Array.from({ length: 1_000 }, () => 'HTTP/1.1 100 Continue\r\n\r\n'),
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100'],
  ]) {
    const port = await listenBare(
      t,
      createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => socket.end(pieces.join('')))
      }),
    )
    const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port }))
    await t.throwsAsync(app.connect({ host: 'target.test', port: 1 }), { code: 'ERR_CIO_PROXY' })
  }
})

test('101 is a final response, and fails the connection', async (t) => {
  const port = await answering(t, 'HTTP/1.1 101 Switching Protocols\r\n\r\n')
  const app = new Cio().useClient(httpConnect({ host: '127.0.0.1', port }))
  await t.throwsAsync(app.connect({ host: 'target.test', port: 1 }), { code: 'ERR_CIO_PROXY' })
})

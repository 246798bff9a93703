import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Socket, connect as connectNet } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import {
  Cio,
  type CioError,
  type ClientContext,
  type ConnectionContext,
  type Next,
  type Proxied,
  type ProxyProtocolOptions,
  allowList,
  limit,
  lines,
  multiplex,
  proxyHeader,
  proxyProtocol,
  route,
} from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { type Recorded, firstFlight, recordEvents } from '../support/tls.ts'
import { nextEvent, socketPath } from '../support/transports.ts'

const trusted = ['127.0.0.0/8']
const untrusted: readonly string[] = []
const source = { address: '192.0.2.7', port: 40_000 }
const destination = { address: '198.51.100.1', port: 443 }
const v1 = proxyHeader({ source, destination }, { version: 1 })
const v2 = proxyHeader({ source, destination, authority: 'a.test' }, { crc32c: true })

type Came = ConnectionContext & { readonly proxied: Proxied | null }

/** An app that answers with all its input, at its end, and with `ctx.address`. */
function echo(options: ProxyProtocolOptions): { app: Cio; came: Came[]; told: Recorded } {
  const came: Came[] = []
  const app = new Cio()
  app.useConnection(proxyProtocol(options)).useConnection(async (ctx) => {
    came.push(ctx)
    const all = await readAll(ctx)
    ctx.stream.write(`${ctx.address}: ${all}`)
  })
  return { app, came, told: recordEvents(app) }
}

/** Waits until the connection of a server is closed. */
async function over(app: Cio): Promise<void> {
  await nextEvent(app, 'close')
}

for (const [version, header] of [
  [1, v1],
  [2, v2],
] as const) {
  test(`a header of version ${version} names the client, and no byte after it is lost`, async (t) => {
    const { app, came, told } = echo({ trusted })
    const server = await serve(t, app)
    const socket = await dial(t, server)
    socket.write(Buffer.concat([header, Buffer.from('one ')]))
    socket.end('two')
    t.is(await readAll(socket), '192.0.2.7: one two')
    const [ctx] = came
    t.like(ctx?.proxied, { version, command: 'proxy', source, destination })
    t.deepEqual(ctx?.forwardedFor, source)
    t.is(ctx?.address, '192.0.2.7')
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })

  test(`a header of version ${version} and a ClientHello may arrive in one segment`, async (t) => {
    const { app, came } = echo({ trusted })
    const server = await serve(t, app, identity('server'))
    t.is(await readAll(await dialTls(t, server, header)), '192.0.2.7: hello')
    t.true(came[0]?.encrypted)
    t.is(came[0]?.socket?.remoteAddress, '127.0.0.1')
  })
}

/** A TLS client that sends its first flight, and the bytes before it, in one write. */
async function dialTls(
  t: ExecutionContext,
  server: { port: number },
  header: Buffer,
): Promise<Duplex> {
  const socket = await dial(t, server)
  const { secure, hello, goOn } = await firstFlight(t)
  socket.write(Buffer.concat([header, hello]))
  await goOn(socket)
  secure.end('hello')
  return secure
}

test('mutual TLS is verified behind a header as without one', async (t) => {
  const app = new Cio()
    .useConnection(proxyProtocol({ trusted }))
    .useConnection(allowList(['alice']))
    .useConnection((ctx) => void ctx.stream.write(`${ctx.peer?.name} of ${ctx.address}`))
  const options = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const server = await serve(t, app, options)
  const said = { source, destination, ssl: { verify: 0, cn: 'mallory' } }
  for (const [name, answer] of [
    ['alice', 'alice of 192.0.2.7'],
    ['bob', ''],
  ] as const) {
    const raw = await dial(t, server)
    raw.write(proxyHeader(said))
    const socket = connectTls({
      socket: raw,
      ca: contents('root.crt'),
      servername: 'localhost',
      ...loaded(name),
    })
    socket.on('error', () => {})
    t.is(await readAll(socket).catch(() => ''), answer)
  }
})

test('a local connection has the address of the sender', async (t) => {
  const { app, came } = echo({ trusted })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end(Buffer.concat([proxyHeader({ command: 'local' }), Buffer.from('x')]))
  t.is(await readAll(socket), '127.0.0.1: x')
  const { proxied, forwardedFor, remote } = came.pop()!
  t.truthy(proxied)
  t.is(forwardedFor, null)
  t.notRegex(remote, /by way of/)
})

test("a client that the header does not name has no address, and not the sender's", async (t) => {
  const { app, came } = echo({ trusted })
  const server = await serve(t, app)
  for (const header of [
    proxyHeader({}),
    proxyHeader({}, { version: 1 }),
    Buffer.from('PROXY UNKNOWN 192.0.2.7 198.51.100.1 1 2\r\n'),
    proxyHeader({
      source: { address: '/run/client', port: 0 },
      destination: { address: '/run/server', port: 0 },
    }),
  ]) {
    const socket = await dial(t, server)
    socket.end(Buffer.concat([header, Buffer.from('x')]))
    t.is(await readAll(socket), 'null: x')
    const { proxied, forwardedFor, remote } = came.pop()!
    t.truthy(proxied)
    t.is(forwardedFor, 'unknown')
    t.regex(remote, /^an unknown client by way of 127\.0\.0\.1:\d+$/)
  }
})

test('no rule by address matches a client that the header does not name, nor its streams', async (t) => {
  const bounds = limit({ perAddress: 1 })
  const inner = new Cio().useConnection((ctx) => ctx.stream.end(`${ctx.address}`))
  const app = new Cio()
    .useConnection(proxyProtocol({ trusted }))
    .useConnection(bounds)
    .useConnection(
      route([
        {
          when: { address: ['127.0.0.0/8', '0.0.0.0/0', '::/0'] },
          to: (ctx) => ctx.stream.end('in'),
        },
        {
          when: { bytes: 'mux' },
          to: new Cio().useConnection(skip).useConnection(multiplex(inner)),
        },
        { to: (ctx) => ctx.stream.end('out') },
      ]),
    )
  const server = await serve(t, app)
  const unnamed = Buffer.from('PROXY UNKNOWN\r\n')
  for (let index = 0; index < 2; index++) {
    const client = await dial(t, server)
    client.write(Buffer.concat([unnamed, Buffer.from('x')]))
    t.is(String((await once(client, 'data'))[0]), 'out')
  }
  t.is(bounds.counts.addresses, 0)
  const muxed = new Cio().useClient(sendFirst(Buffer.concat([unnamed, Buffer.from('mux')])))
  const client = await muxed
    .useClient(multiplex(new Cio()))
    .connect({ ...local, port: server.port })
  t.teardown(() => muxed.close({ timeout: 0 }))
  t.is(await readAll(await client.mux.open('address')), 'null')
})

const local = { host: '127.0.0.1' }
const sendFirst = (bytes: Buffer) =>
  async function sendFirst(ctx: ClientContext, next: Next): Promise<void> {
    ctx.stream.write(bytes)
    await next()
  }

/** Reads the word of the chosen route. */
async function skip({ stream }: ConnectionContext, next: Next): Promise<void> {
  while (!stream.read('mux'.length)) await once(stream, 'readable')
  await next()
}

test('forward sends no address for an unknown client', async (t) => {
  const upstream = echo({ trusted })
  const behind = await serve(t, upstream.app)
  const app = new Cio().useConnection(proxyProtocol({ trusted })).useConnection(async (ctx) => {
    const client = await dial(t, behind)
    client.write(proxyHeader(ctx))
    client.end('x')
    ctx.stream.end(await readAll(client))
  })
  const socket = await dial(t, await serve(t, app))
  socket.write('PROXY UNKNOWN\r\n')
  t.is(await readAll(socket), 'null: x')
})

test('messages name the client and the sender', async (t) => {
  const app = new Cio()
  app.useConnection(proxyProtocol({ trusted })).useConnection(lines({ maxLength: 4 }))
  app.useConnection(async (ctx) => {
    for await (const line of (ctx as unknown as { messages: AsyncIterable<string> }).messages)
      void line
  })
  const [failed, socket] = await Promise.all([
    nextEvent(app, 'remoteError'),
    serve(t, app).then(async (server) => {
      const client = await dial(t, server)
      client.write(Buffer.concat([v1, Buffer.from('too long\n')]))
      return client
    }),
  ])
  t.true(failed[1].remote.startsWith('192.0.2.7:40000 by way of '))
  socket.destroy()
})

test('the sender is trusted by its own address, whatever its header says', async (t) => {
  const { app, told } = echo({ trusted: ['192.0.2.0/24'] })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const rejected = over(app)
  socket.write(v1)
  await rejected
  t.deepEqual(codes(told), { reject: ['ERR_CIO_REJECTED'], remoteError: [], error: [] })
})

test('an IPv4 sender on an IPv6 socket matches its IPv4 address', async (t) => {
  const { app } = echo({ trusted: ['127.0.0.1'] })
  const server = await serve(t, app, { host: '::' })
  const socket = await dial(t, server)
  socket.end(Buffer.concat([v2, Buffer.from('x')]))
  t.is(await readAll(socket), '192.0.2.7: x')
})

test('a Unix socket is trusted only if the list contains it', async (t) => {
  for (const [list, answer] of [
    [['unix'], '192.0.2.7: x'],
    [['127.0.0.0/8', '::/0', '0.0.0.0/0'], ''],
  ] as const) {
    const { app, told } = echo({ trusted: list })
    const at = socketPath(t)
    closeAfter(t, app)
    await app.listen(at)
    const ended = over(app)
    const socket = connectNet({ path: at, allowHalfOpen: true })
    socket.on('error', () => {})
    socket.end(Buffer.concat([v1, Buffer.from('x')]))
    t.is(await readAll(socket).catch(() => ''), answer)
    await ended
    t.is(told.reject.length, answer === '' ? 1 : 0)
  }
})

test('a list with Unix sockets does not trust a TCP socket', async (t) => {
  const { app, told } = echo({ trusted: ['unix'] })
  const server = await serve(t, app)
  const ended = over(app)
  ;(await dial(t, server)).write(v1)
  await ended
  t.is(told.reject.length, 1)
})

test('a stream without an address is not trusted, unless it has a socket', async (t) => {
  const { app, told } = echo({ trusted: ['unix', '0.0.0.0/0', '::/0'] })
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const ctx = app.handle(near)
  far.write(v1)
  await ctx.closed
  t.is(told.reject.length, 1)

  const server = await serve(t, new Cio())
  const socket = await dial(t, server)
  const [through, other] = duplexPair()
  app.handle(through, { socket })
  other.end(Buffer.concat([v1, Buffer.from('x')]))
  t.is(await readAll(other), '192.0.2.7: x')
})

for (const [version, header] of [
  [1, v1],
  [2, v2],
] as const) {
  test(`an untrusted sender of version ${version} is rejected, however its header is chunked`, async (t) => {
    const { app, came, told } = echo({ trusted: untrusted })
    const server = await serve(t, app)
    for (let cut = 0; cut <= 13; cut++) {
      const socket = await dial(t, server)
      const ended = over(app)
      const rejected = nextEvent(app, 'reject')
      if (cut > 0) {
        socket.write(header.subarray(0, cut))
        if (cut < (version === 1 ? 6 : 12)) await arrived(server, cut)
      }
      socket.write(header.subarray(cut))
      const [error] = await rejected
      t.is(error.code, 'ERR_CIO_REJECTED')
      t.is(await readAll(socket).catch(() => ''), '')
      await ended
      t.is(came.at(-1)?.proxied, null)
      t.is(came.at(-1)?.address, '127.0.0.1')
    }
    t.is(told.reject.length, 14)
    t.deepEqual([told.remoteError, told.error], [[], []])
  })
}

/** Waits until the only connection has received that many bytes, without a timer. */
async function arrived(
  server: { connections: ReadonlySet<ConnectionContext> },
  bytes: number,
): Promise<void> {
  for (;;) {
    const [ctx] = [...server.connections].filter(({ isClosed }) => !isClosed)
    if (ctx && (ctx.socket?.bytesRead ?? 0) >= bytes) return
    await turn()
  }
}

test('an untrusted sender is rejected before the application sees a byte', async (t) => {
  const app = new Cio()
  let seen = ''
  app
    .useConnection(proxyProtocol({ trusted: untrusted }))
    .useConnection(async ({ stream }, next) => {
      stream.on('data', (chunk: Buffer) => (seen += String(chunk)))
      await next()
    })
  app.on('reject', () => {})
  const ended = over(app)
  const socket = await dial(t, await serve(t, app))
  socket.write(v1)
  await ended
  t.is(seen, '')
})

test('the error message of a rejected sender names it, and says what to do', async (t) => {
  const { app, told } = echo({ trusted: untrusted })
  const ended = over(app)
  const socket = await dial(t, await serve(t, app))
  const { localPort } = socket
  socket.write(v1)
  await ended
  t.is(
    told.reject[0]?.message,
    `127.0.0.1:${localPort} was rejected by \`proxyProtocol\`: it sent a PROXY header, and its address is not in \`trusted\``,
  )
})

for (const beginning of ['PROXX TCP4', 'P', 'PROXY', '\r\n\r\n\0\r\nQUIT', '\r\n', '', 'hello']) {
  test(`an untrusted sender of ${JSON.stringify(beginning)} is accepted as itself`, async (t) => {
    const { app, came, told } = echo({ trusted: untrusted })
    const socket = await dial(t, await serve(t, app))
    socket.end(beginning)
    t.is(await readAll(socket), `127.0.0.1: ${beginning}`)
    t.is(came[0]?.proxied, null)
    t.deepEqual(told.reject, [])
  })
}

test('bytes that arrived before the handover of an untrusted stream are checked, and kept', async (t) => {
  for (const [first, answer] of [
    [v1, ''],
    [v2, ''],
    [Buffer.from('hello'), 'null: hello'],
  ] as const) {
    const { app, told } = echo({ trusted: untrusted })
    const [near, far] = duplexPair()
    for (const stream of [near, far]) stream.on('error', () => {})
    far.end(first)
    t.is(near.readableLength, first.length)
    const ctx = app.handle(near)
    t.is(await readAll(far).catch(() => ''), answer)
    await ctx.closed
    t.deepEqual(codes(told).reject, answer === '' ? ['ERR_CIO_REJECTED'] : [])
  }
})

test('nothing waits for an untrusted sender to send', async (t) => {
  const app = new Cio()
  app.useConnection(proxyProtocol({ trusted: untrusted })).useConnection(async (ctx) => {
    ctx.stream.write('220 ready')
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const socket = await dial(t, await serve(t, app))
  t.is(String((await once(socket, 'data'))[0]), '220 ready')
  socket.end('QUIT')
  t.is(await readAll(socket), 'QUIT')
})

test('an untrusted TLS sender is accepted as itself; with a header its handshake fails', async (t) => {
  const { app, told } = echo({ trusted: untrusted })
  const server = await serve(t, app, identity('server'))
  const first = over(app)
  t.is(await readAll(await dialTls(t, server, Buffer.alloc(0))), '127.0.0.1: hello')
  await first
  for (const header of [v1, v2]) {
    const ended = over(app)
    ;(await dial(t, server)).write(header)
    await ended
  }
  t.deepEqual(codes(told), {
    reject: [],
    remoteError: ['ERR_CIO_HANDSHAKE', 'ERR_CIO_HANDSHAKE'],
    error: [],
  })
})

test('with `required`, an untrusted sender is rejected unread', async (t) => {
  const { app, came, told } = echo({ trusted: ['192.0.2.0/24'], required: true })
  const socket = await dial(t, await serve(t, app))
  await readAll(socket).catch(() => '')
  t.deepEqual(codes(told), { reject: ['ERR_CIO_REJECTED'], remoteError: [], error: [] })
  t.is(came.length, 0)
})

test('the header is read before middleware that has no hint, and before limits', (t) => {
  const app = new Cio()
  app.useConnection(() => {}, { name: 'limit', before: 'secure' })
  app.useConnection(() => {}, { name: 'handler' })
  app.useConnection(proxyProtocol({ trusted }))
  t.deepEqual(app.pipelines.connection.names, ['proxyProtocol', 'limit', 'secure', 'handler'])
})

test('options are checked when the middleware is made', (t) => {
  const wrong = [
    {},
    { trusted: '10.0.0.0/8' },
    { trusted: ['10.0.0.0/33'] },
    { trusted: ['load-balancer'] },
    { trusted: [7] },
    { trusted, timeout: -1 },
    { trusted, timeout: '5s' },
    { trusted, maxSize: 15 },
    { trusted, required: 'yes' },
    { trusted, trust: trusted },
  ] as unknown as readonly ProxyProtocolOptions[]
  for (const options of wrong) {
    t.throws(() => proxyProtocol(options), { code: 'ERR_CIO_OPTION' }, JSON.stringify(options))
  }
})

test('closing the server ends a sender without a complete header', async (t) => {
  const { app, told } = echo({ trusted, timeout: Infinity })
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const socket: Socket = await dial(t, server)
  await accepted
  t.deepEqual(await server.close({ timeout: 0 }), { forced: 1 })
  t.deepEqual(codes(told).error, [])
  socket.destroy()
})

function codes({ reject, remoteError, error }: Recorded) {
  const code = (one: Error): string => (one as CioError).code
  return {
    reject: reject.map(code),
    remoteError: remoteError.map(code),
    error: error.map(code),
  }
}

test('the error for what is no header shows how it begins (netty/netty#14559)', async (t) => {
  for (const [sent, shown] of [
    ['GET / HTTP/1.1\r\n\r\n', '"G"'],
    ['\u0016\u0003\u0001', String.raw`"\u0016"`],
  ] as const) {
    const app = new Cio().useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
    const told = nextEvent(app, 'remoteError')
    const socket = await dial(t, await serve(t, app))
    socket.write(sent)
    const [error] = await told
    t.is(error.code, 'ERR_CIO_PROXY_HEADER')
    t.true(error.message.endsWith(`it is none, since it begins with ${shown}`), error.message)
  }
})

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { type Server, Socket, connect as connectNet, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { TLSSocket, connect, createServer as createTlsServer } from 'node:tls'
import { Cio, type CioError, forward } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { ownPort } from '../support/ports.ts'
import { dial, listenBare, serve } from '../support/serve.ts'
import {
  deferred,
  dialOver,
  untilClosed,
  networks,
  open,
  reset,
  socketPath,
  transports,
  writeUnread,
} from '../support/transports.ts'

/** A target that echoes all its input after its end, and counts its connections. */
function echoing(): Server {
  return createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    void whole(socket).then((text) => socket.end(`<${text}>`))
  })
}

async function whole(stream: Duplex): Promise<string> {
  let text = ''
  stream.on('data', (chunk: Buffer) => (text += String(chunk)))
  await once(stream, 'end')
  return text
}

function pair(): ReturnType<typeof duplexPair> {
  const streams = duplexPair()
  for (const stream of streams) stream.on('error', () => {})
  return streams
}

/** The events that an app and its connection emit. */
function told(app: Cio): Promise<[event: string, error: CioError]> {
  return new Promise((resolve) => {
    app.once('remoteError', (error) => resolve(['remoteError', error as CioError]))
    app.on('error', (error) => resolve(['error', error as CioError]))
  })
}

async function target(
  t: ExecutionContext,
  onConnection: (socket: Socket) => void,
): Promise<number> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    onConnection(socket)
  })
  return listenBare(t, server)
}

for (const transport of transports) {
  test(`from ${transport}, a half-close reaches the target and the response comes back`, async (t) => {
    const port = await listenBare(t, echoing())
    const client = await open(
      t,
      new Cio().useConnection(forward({ port, host: '127.0.0.1' })),
      transport,
    )
    client.write('one ')
    client.end('two')
    t.is(await whole(client), '<one two>')
  })
}

test('a half-close of the target reaches the client, which may still send', async (t) => {
  const heard: Promise<string>[] = []
  const port = await target(t, (socket) => {
    socket.end('bye')
    heard.push(whole(socket))
  })
  const client = await dial(t, await serve(t, new Cio().useConnection(forward(port))))
  t.is(await whole(client), 'bye')
  client.end('late')
  t.is(await heard[0], 'late')
})

test('the target may be the path of a Unix socket', async (t) => {
  const at = socketPath(t)
  const server = echoing().listen(at)
  t.teardown(() => server.close())
  await once(server, 'listening')
  const client = await dial(t, await serve(t, new Cio().useConnection(forward(at))))
  client.end('x')
  t.is(await whole(client), '<x>')
})

test('TLS may end at the proxy, and begin at the proxy', async (t) => {
  const upstream = createTlsServer({ ...loaded('server'), allowHalfOpen: true }, (socket) => {
    void whole(socket).then((text) => socket.end(`<${text}>`))
  })
  const port = await listenBare(t, upstream)
  const secured = { port, host: 'localhost', ca: path('root.crt') }
  const plain = await dial(t, await serve(t, new Cio().useConnection(forward(secured))))
  plain.end('plain to TLS')
  t.is(await whole(plain), '<plain to TLS>')

  const both = await open(t, new Cio().useConnection(forward(secured)), 'TLS 1.3')
  both.end('TLS to TLS')
  t.is(await whole(both), '<TLS to TLS>')
})

test('a target whose certificate is not trusted receives nothing', async (t) => {
  const upstream = createTlsServer(loaded('server'), () => t.fail())
  upstream.on('tlsClientError', () => {})
  const port = await listenBare(t, upstream)
  const app = new Cio().useConnection(forward({ port, host: 'localhost', tls: true }))
  const failure = told(app)
  const client = await dial(t, await serve(t, app))
  client.write('secret')
  const [event, error] = await failure
  t.is(event, 'error')
  t.is(error.code, 'ERR_CIO_UPSTREAM')
  t.is((error.cause as CioError).code, 'ERR_CIO_REJECTED')
  await untilClosed(client)
})

test('a function chooses the target by the context, and may be async', async (t) => {
  const port = await listenBare(t, echoing())
  const other = await target(t, (socket) => void socket.end('other'))
  const app = new Cio().useConnection(
    forward(async ({ peer }) => {
      await new Promise((resolve) => setImmediate(resolve))
      return peer?.name === 'alice' ? { port, host: '127.0.0.1' } : other
    }),
  )
  const server = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  })
  const ca = contents('root.crt')
  for (const [own, answer] of [
    [loaded('alice'), '<hello>'],
    [{}, 'other'],
  ] as const) {
    const options = { port: server.port, host: '127.0.0.1', ca, allowHalfOpen: true, ...own }
    const client = connect(options)
    t.teardown(() => client.destroy())
    client.end('hello')
    t.is(await whole(client), answer)
  }
})

test('a function may return a connection: a stream, or a client of an app', async (t) => {
  const [near, far] = pair()
  const piped = await dial(t, await serve(t, new Cio().useConnection(forward(() => near))))
  piped.write('to the stream')
  t.is(String((await once(far, 'data'))[0]), 'to the stream')
  far.end()
  await once(piped.resume(), 'end')
  piped.end()

  const port = await listenBare(t, echoing())
  const upstream = new Cio()
  const app = new Cio().useConnection(forward(() => upstream.connect(port)))
  const client = await dial(t, await serve(t, app))
  client.end('x')
  t.is(await whole(client), '<x>')
})

test('a stream of a function is waited for while it connects (nodejs/node#49860)', async (t) => {
  const port = await listenBare(t, echoing())
  const app = new Cio().useConnection(
    forward(() => connectNet({ port, allowHalfOpen: true }), { header: () => 'head ' }),
  )
  const client = await dial(t, await serve(t, app))
  client.end('x')
  t.is(await whole(client), '<head x>')

  const nowhere = (): Socket => connectNet({ host: '127.0.0.1', port: 1 })
  const never = (): Socket => Object.assign(new Socket(), { connecting: true })
  const overTls = (): Socket => connect({ host: '127.0.0.1', port: 1 })
  for (const target of [nowhere, overTls, never]) {
    const made: Socket[] = []
    const choose = (): Socket => {
      made.push(target())
      return made[0]!
    }
    const dead = new Cio().useConnection(forward(choose, { connectTimeout: 50 }))
    const failed = once(dead, 'error')
    const caller = await dial(t, await serve(t, dead))
    caller.on('error', () => {}).resume()
    const [error] = (await failed) as [Error]
    t.like(error, { code: 'ERR_CIO_UPSTREAM' })
    t.regex(error.message, /cannot be reached/)
    t.true(made[0]!.destroyed)
  }
})

test('the header comes first, before a handshake too', async (t) => {
  const heads: string[] = []
  const secure = createTlsServer({ ...loaded('server'), allowHalfOpen: true }, (socket) => {
    void whole(socket).then((text) => socket.end(`<${text}>`))
  })
  const port = await target(t, (socket) => {
    socket.once('readable', () => {
      heads.push(String(socket.read(6) as Buffer))
      secure.emit('connection', socket)
    })
  })
  const app = new Cio().useConnection(
    forward({ port, host: 'localhost', ca: path('root.crt') }, { header: () => 'PROXY\n' }),
  )
  const client = await dial(t, await serve(t, app))
  client.end('x')
  t.is(await whole(client), '<x>')
  t.deepEqual(heads, ['PROXY\n'])
})

test('the header reaches a stream that a function created', async (t) => {
  const [near, far] = pair()
  const app = new Cio().useConnection(
    forward(() => near, { header: ({ remote }) => `from ${remote}\n` }),
  )
  await dial(t, await serve(t, app))
  t.regex(String((await once(far, 'data'))[0]), /^from 127\.0\.0\.1:\d+\n$/)
})

test('a target that refuses the connection ends the client and is reported by error', async (t) => {
  const app = new Cio().useConnection(forward({ port: await ownPort(), host: '127.0.0.1' }))
  const failure = told(app)
  const client = await dial(t, await serve(t, app))
  await untilClosed(client)
  const [event, error] = await failure
  t.is(event, 'error')
  t.is(error.code, 'ERR_CIO_UPSTREAM')
  t.is((error.cause as NodeJS.ErrnoException).code, 'ECONNREFUSED')
})

test('an attempt to a target that does not respond ends after connectTimeout', async (t) => {
  const silent = { host: 'target.test', port: 9, lookup: () => {} }
  const app = new Cio().useConnection(forward(silent, { connectTimeout: 50 }))
  const failure = told(app)
  await dial(t, await serve(t, app))
  const [, error] = await failure
  t.is(error.code, 'ERR_CIO_UPSTREAM')
  t.is((error.cause as CioError).code, 'ERR_CIO_CONNECT_TIMEOUT')
})

test('a client that is destroyed while the target is looked up ends the attempt', async (t) => {
  const { promise: asked, resolve } = deferred()
  const silent = { host: 'target.test', port: 9, lookup: () => resolve() }
  const app = new Cio().useConnection(forward(silent, { connectTimeout: Infinity }))
  app.on('error', (error) => t.fail(error.message))
  const server = await serve(t, app)
  await dial(t, server)
  await asked
  t.deepEqual(await server.close({ timeout: 0 }), { forced: 1 })
})

test('a reset of the target ends the client and is reported by error', async (t) => {
  const port = await target(t, (socket) => {
    socket.write('x')
    socket.once('data', () => socket.resetAndDestroy())
  })
  const app = new Cio().useConnection(forward(port))
  const failure = told(app)
  const client = await dial(t, await serve(t, app))
  await once(client, 'data')
  client.write('y')
  const [event, error] = await failure
  t.is(event, 'error')
  t.is(error.code, 'ERR_CIO_UPSTREAM')
  await untilClosed(client)
})

test('a reset of the client ends the target and is reported by remoteError', async (t) => {
  const { promise: accepted, resolve } = deferred<Socket>()
  const listening = await target(t, resolve)
  const app = new Cio().useConnection(forward(listening))
  const failure = told(app)
  const client = await dial(t, await serve(t, app))
  client.write('x')
  const socket = await accepted
  socket.write('y')
  await once(client, 'data')
  const left = untilClosed(socket)
  client.resetAndDestroy()
  const [event, error] = await failure
  t.is(event, 'remoteError')
  t.is(error.code, 'ECONNRESET')
  await left
})

test('backpressure of the target stops reading from the client', async (t) => {
  const [near] = pair()
  const client = await open(t, new Cio().useConnection(forward(() => near)), 'memory')
  const written = await writeUnread(client)
  t.true(written < 1024 * 1024, `${written}`)
})

test.serial('over TLS on both sides, Node warns of no leak of listeners', async (t) => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const upstream = createTlsServer({ ...loaded('server'), allowHalfOpen: true }, (socket) => {
    void whole(socket).then((text) => socket.end(`<${text}>`))
  })
  const port = await listenBare(t, upstream)
  const app = new Cio().useConnection(forward({ port, host: 'localhost', ca: path('root.crt') }))
  const client = await open(t, app, 'TLS 1.3')
  client.end('x')
  t.is(await whole(client), '<x>')
  await new Promise((told) => setImmediate(told))
  t.deepEqual(warnings, [])
})

test('megabytes pass both ways at once, unchanged', async (t) => {
  const port = await target(t, (socket) => void socket.pipe(socket))
  const client = await dial(t, await serve(t, new Cio().useConnection(forward(port))))
  const block = Buffer.alloc(1024 * 1024, 'cio')
  for (let index = 0; index < 16; index++) client.write(block)
  client.end()
  let length = 0
  client.on('data', (chunk: Buffer) => (length += chunk.length))
  await once(client, 'end')
  t.is(length, 16 * block.length)
})

test('a client that is destroyed at the deadline destroys its target', async (t) => {
  const { promise: accepted, resolve } = deferred<Socket>()
  const listening = await target(t, resolve)
  const server = await serve(t, new Cio().useConnection(forward(listening)))
  await dial(t, server)
  const left = untilClosed(await accepted)
  t.deepEqual(await server.close({ timeout: 0 }), { forced: 1 })
  await left
})

test('targets and options of the wrong type are rejected', async (t) => {
  const code = { code: 'ERR_CIO_OPTION' }
  t.throws(() => forward(undefined as never), code)
  t.throws(() => forward(''), code)
  t.throws(() => forward(1, { connectTimeout: -1 }), code)
  t.throws(() => forward(1, { header: 'PROXY' as never }), code)
  t.throws(() => forward(1, { timeout: 1 } as never), code)
  const app = new Cio().useConnection(forward((() => undefined) as never))
  const failure = told(app)
  await dial(t, await serve(t, app))
  t.is((await failure)[1].code, 'ERR_CIO_OPTION')
})

/** How a stream ends: the code of its error, or `end` if it looked complete. */
function ending(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let hasEnded = false
    let code: string | undefined
    stream.on('error', (error: NodeJS.ErrnoException) => (code = error.code))
    stream.on('end', () => (hasEnded = true))
    stream.on('close', () => resolve(code ?? (hasEnded ? 'end' : 'close')))
    stream.resume()
  })
}

/** A TLS server that hands over its connections with the socket beneath them. */
function secureTarget(
  t: ExecutionContext,
  onConnection: (socket: Duplex, raw: Socket) => void,
): Promise<number> {
  return target(t, (raw) => {
    const socket = new TLSSocket(raw, { isServer: true, ...loaded('server') })
    socket.on('error', () => {})
    onConnection(socket, raw)
  })
}

for (const transport of networks) {
  for (const inner of ['tcp', 'TLS'] as const) {
    test(`a target that resets over ${inner} after half of its response resets the client over ${transport} (istio/ztunnel#1483)`, async (t) => {
      const half = (socket: Duplex, raw: Socket): void => {
        socket.write('half')
        socket.once('data', () => raw.resetAndDestroy())
      }
      const port =
        inner === 'tcp'
          ? await target(t, (socket) => half(socket, socket))
          : await secureTarget(t, half)
      const to = {
        port,
        host: 'localhost',
        family: 4,
        ...(inner === 'TLS' && { ca: path('root.crt') }),
      }
      const app = new Cio().useConnection(forward(to))
      const failure = told(app)
      const client = await open(t, app, transport)
      await once(client, 'data')
      const over = ending(client)
      client.write('go on')
      t.is(await over, 'ECONNRESET')
      const [event, error] = await failure
      t.is(event, 'error')
      t.is(error.code, 'ERR_CIO_UPSTREAM')
    })
  }
}

test('a client that resets resets the target (envoyproxy/envoy#44148)', async (t) => {
  for (const transport of networks) {
    const { promise: accepted, resolve } = deferred<Socket>()
    const listening = await target(t, resolve)
    const app = new Cio().useConnection(forward(listening))
    app.on('remoteError', () => {})
    const client = await open(t, app, transport)
    client.write('half')
    const socket = await accepted
    socket.write('x')
    await once(client, 'data')
    const over = ending(socket)
    reset(client)
    t.is(await over, 'ECONNRESET', transport)
  }
})

test('a connection that is destroyed at the deadline resets both its sides', async (t) => {
  const { promise: accepted, resolve } = deferred<Socket>()
  const server = await serve(t, new Cio().useConnection(forward(await target(t, resolve))))
  await dial(t, server)
  const over = ending(await accepted)
  await server.close({ timeout: 0 })
  t.is(await over, 'ECONNRESET')
})

test('over Unix sockets, which have no reset, losing one side ends the other', async (t) => {
  const at = socketPath(t)
  const upstream = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.destroy())
  }).listen(at)
  t.teardown(() => upstream.close())
  await once(upstream, 'listening')
  const app = new Cio().useConnection(forward(at))
  app.on('error', () => {})
  app.on('remoteError', () => {})
  const client = await open(t, app, 'unix')
  client.end('x')
  t.true(['end', 'ECONNRESET'].includes(await ending(client)))
})

test('thirty TLS clients are reset right after the handshake, and the process survives', async (t) => {
  // The reset happens in a callback of a TLS socket, on both its sides.
  const port = await secureTarget(t, (socket, raw) => {
    socket.once('data', () => raw.resetAndDestroy())
  })
  const app = new Cio().useConnection(forward({ port, host: 'localhost', ca: path('root.crt') }))
  app.on('error', () => {})
  app.on('remoteError', () => {})
  const server = await serve(t, app, identity('server'))
  const endings = Array.from({ length: 30 }, async () => {
    const client = await dialOver(t, 'TLS 1.3', server)
    client.write('x')
    return ending(client)
  })
  for (const over of await Promise.all(endings)) t.not(over, 'end')
})

test('a target that ends and then closes leaves the client its whole response', async (t) => {
  const answer = 'x'.repeat(4 * 1024 * 1024)
  // Not half-open: it closes when it has ended.
  const upstream = createServer((socket) => socket.on('error', () => {}).end(answer))
  const port = await listenBare(t, upstream)
  const app = new Cio().useConnection(forward(port))
  app.on('error', (error) => t.fail(error.message))
  const client = await dial(t, await serve(t, app))
  t.is((await whole(client)).length, answer.length)
  client.end()
})

test('with a target without autoDestroy, the pipeline ends when both directions have ended', async (t) => {
  const far = new Duplex({
    autoDestroy: false,
    read() {},
    write(chunk: Buffer, _encoding, done) {
      this.push(chunk)
      done()
    },
    final(done) {
      this.push(null)
      done()
    },
  })
  const app = new Cio().useConnection(forward(() => far))
  const over = once(app, 'close')
  const client = await dial(t, await serve(t, app))
  client.end('echo')
  t.is(await whole(client), 'echo')
  await over
})

test('a target that does not read its last bytes is destroyed when the server closes', async (t) => {
  const { promise: accepted, resolve } = deferred<Socket>()
  const listening = await target(t, (socket) => {
    socket.end()
    resolve(socket)
  })
  const server = await serve(t, new Cio().useConnection(forward(listening)))
  const client = await dial(t, server)
  await accepted
  const ended = whole(client)
  client.end(Buffer.alloc(32 * 1024 * 1024))
  await ended
  const closing = await server.close({ timeout: 0 })
  t.deepEqual(closing, { forced: 1 })
})

test.serial(
  'certificates for the target are read and checked once, not for each connection',
  async (t) => {
    const { port } = await serve(
      t,
      new Cio().useConnection(({ stream }, next) => (stream.pipe(stream), next())),
      { ...identity('server'), ca: path('root.crt'), requestCert: true },
    )
    const directory = mkdtempSync(join(tmpdir(), 'cio-pipe-'))
    t.teardown(() => rmSync(directory, { recursive: true, force: true }))
    const files = { ...identity('alice'), ca: path('root.crt') }
    const copies = Object.fromEntries(
      Object.entries(files).map(([name, file]) => {
        const copy = join(directory, name)
        copyFileSync(file, copy)
        return [name, copy]
      }),
    )
    const app = new Cio().useConnection(forward({ port, host: 'localhost', family: 4, ...copies }))
    const server = await serve(t, app)
    for (let connection = 0; connection < 3; connection++) {
      const client = await dial(t, server)
      client.end('x')
      t.is(await whole(client), 'x')
      // From here on there are no files to read.
      rmSync(directory, { recursive: true, force: true })
    }
    const failure = told(app)
    const now = performance.now.bind(performance)
    performance.now = () => now() + 3_600_000
    t.teardown(() => (performance.now = now))
    const late = await dial(t, server)
    late.end('x')
    t.is(await whole(late), 'x')
    const [event, error] = await failure
    t.is(event, 'error')
    t.is(error.code, 'ERR_CIO_CERTIFICATE')
  },
)

test('a signal in the target’s options ends the connection', async (t) => {
  const aborting = new AbortController()
  const port = await target(t, (socket) => socket.write('x'))
  const app = new Cio().useConnection(forward({ port, host: '127.0.0.1', signal: aborting.signal }))
  const failure = told(app)
  const client = await dial(t, await serve(t, app))
  await once(client, 'data')
  aborting.abort(new Error('enough'))
  t.is((await failure)[1].code, 'ERR_CIO_UPSTREAM')
  await untilClosed(client)
})

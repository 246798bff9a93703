import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { constants } from 'node:crypto'
import { once } from 'node:events'
import { type Socket, createServer as createNetServer } from 'node:net'
import {
  type ConnectionOptions,
  type SecureVersion,
  TLSSocket,
  connect as nodeConnect,
  createSecureContext,
  createServer,
} from 'node:tls'
import { inspect } from 'node:util'
import { type ConnectionContext, type ListenOptions, Cio, allowList } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'
import {
  writeGreeting,
  recordEvents,
  openSession,
  connectTls,
  connectByOpenssl,
} from '../support/tls.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
const versions: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3']
const root = { host: '127.0.0.1', ca: path('root.crt') }

/** An app that greets, with all it tells, and a server of it. */
async function open(t: ExecutionContext, options: ListenOptions = {}) {
  const app = new Cio().useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app, { ...identity('server'), ...options })
  return { app, told, server }
}

// Which certificates come in, where no list asks.

for (const version of versions) {
  const client = { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' }

  for (const [what, file] of [
    ['no certificate', undefined],
    ['a self-signed certificate', 'selfSigned'],
    ['a certificate of another CA', 'otherCa'],
    ['an expired certificate', 'expired'],
    ['a certificate for servers', 'serverOnly'],
  ] as const) {
    test(`without a list, ${what} is rejected by rejectUnauthorized, resumed as well (${version})`, async (t) => {
      const options = { ...mutual, ticketKeys: Buffer.alloc(48, 7) }
      const { app, told, server } = await open(t, options)
      const lax = await open(t, { ...options, rejectUnauthorized: false })
      const as = { ...client, ...(file && loaded(file)) }

      const closed = once(app, 'close')
      t.is((await connectTls(t, server, as)).said, '')
      await closed
      const session = await openSession(t, lax.server, as)
      const closedAgain = once(app, 'close')
      t.like(await connectTls(t, server, { ...as, session }), { said: '', resumed: true })
      await closedAgain
      t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }, { code: 'ERR_CIO_REJECTED' }])
      t.deepEqual([...told.remoteError, ...told.error], [])
    })

    test(`with rejectUnauthorized: false, ${what} comes in and is nobody, resumed as well (${version})`, async (t) => {
      const { told, server } = await open(t, { ...mutual, rejectUnauthorized: false })
      const as = { ...client, ...(file && loaded(file)) }
      t.is((await connectTls(t, server, as)).said, 'hello nobody')
      const session = await openSession(t, server, as)
      t.like(await connectTls(t, server, { ...as, session }), {
        said: 'hello nobody',
        resumed: true,
      })
      t.deepEqual(told.reject, [])
    })
  }

  test(`a verified certificate is the peer, resumed as well (${version})`, async (t) => {
    const { server } = await open(t, mutual)
    const as = { ...client, ...loaded('alice') }
    t.is((await connectTls(t, server, as)).said, 'hello alice')
    const session = await openSession(t, server, as)
    t.like(await connectTls(t, server, { ...as, session }), { said: 'hello alice', resumed: true })
  })
}

test('rejectUnauthorized: null rejects, as in Node', async (t) => {
  const rejectUnauthorized = null as unknown as boolean
  const { told, server } = await open(t, { ...mutual, rejectUnauthorized })
  t.is((await connectTls(t, server, loaded('selfSigned'))).said, '')
  t.is(told.reject.length, 1)
})

test('a reason names the address, the chain error and the claim, marked unverified', async (t) => {
  const { told, server } = await open(t, mutual)
  await connectTls(t, server, loaded('selfSigned'))
  t.regex(
    told.reject[0]!.message,
    /^127\.0\.0\.1:\d+ .*DEPTH_ZERO_SELF_SIGNED_CERT.*unverified, is "CN=alice"$/,
  )
})

test('secure tells of a handshake, with the peer', async (t) => {
  const { app, server } = await open(t, mutual)
  const secured = once(app, 'secure')
  await connectTls(t, server, loaded('alice'))
  const [ctx] = (await secured) as [ConnectionContext]
  t.is(ctx.peer?.name, 'alice')
  t.true(ctx.encrypted)
})

test('the socket beneath is a TLS socket, also behind a middleware that awaits before secure', async (t) => {
  const app = new Cio()
    .useConnection(
      async (_ctx, next) => {
        await new Promise(setImmediate)
        return next()
      },
      { name: 'slow', before: 'secure' },
    )
    .useConnection((ctx) => {
      t.true(ctx.socket instanceof TLSSocket)
      ctx.stream.end('hello')
    })
  const server = await serve(t, app, identity('server'))
  t.is((await connectTls(t, server)).said, 'hello')
})

// TLS is on when there is something to prove oneself by.

for (const [wish, options] of Object.entries({
  requestCert: { requestCert: true },
  rejectUnauthorized: { rejectUnauthorized: true },
  ca: { ca: path('root.crt') },
  sni: { sni: {} },
  strictSni: { strictSni: true },
  minVersion: { minVersion: 'TLSv1.3' as const },
  ALPNProtocols: { ALPNProtocols: ['h2'] },
})) {
  test(`listen refuses ${wish} without a certificate`, async (t) => {
    await t.throwsAsync(serve(t, new Cio(), options), {
      code: 'ERR_CIO_CERTIFICATE',
      message: new RegExp(`\`${wish}\` requires TLS`),
    })
  })
}

test('a server without any of it speaks plain text', async (t) => {
  const server = await serve(t, new Cio().useConnection(writeGreeting), { requestCert: false })
  t.is(await readAll(await dial(t, server)), 'hello nobody')
})

test('an SNI callback alone makes a server of TLS', async (t) => {
  const context = createSecureContext(loaded('server2'))
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, {
    SNICallback: (name, answer) =>
      answer(name === 'localhost' ? null : new Error('unknown'), context),
  })
  t.is((await connectTls(t, server)).said, 'hello nobody')
})

test('a server of pre-shared keys needs no certificate', async (t) => {
  const psk = Buffer.from('0123456789abcdef')
  const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, { ...tls, pskCallback: () => psk })
  const checkServerIdentity = (): undefined => undefined
  const pskCallback = () => ({ psk, identity: 'me' })
  t.is(
    (await connectTls(t, server, { ...tls, pskCallback, checkServerIdentity })).said,
    'hello nobody',
  )
})

// Handshakes that fail. The process stays, the handler never runs, one event tells of it.

/** What ends a handshake, and whether the server has said so by a TLS alert. */
async function failed(
  t: ExecutionContext,
  options: ListenOptions,
  hostile: (t: ExecutionContext, server: { port: number }) => Promise<unknown>,
): Promise<string | undefined> {
  let served = 0
  const app = new Cio().useConnection(() => void served++)
  const told = recordEvents(app)
  const server = await serve(t, app, { ...identity('server'), ...options })
  const over = once(app, 'close')
  await hostile(t, server)
  await over
  t.is(served, 0)
  t.is(server.connections.size, 0)
  t.deepEqual([...told.reject, ...told.error], [])
  t.is(told.remoteError.length, 1)
  const [error] = told.remoteError
  t.regex(error!.message, /127\.0\.0\.1:\d+/)
  // It goes on with others.
  const next = once(app, 'close')
  await connectTls(t, server)
  await next
  return (error as { code?: string }).code
}

/** The first bytes that a TLS client sends. */
async function clientHello(t: ExecutionContext): Promise<Buffer> {
  const app = new Cio()
  const hello = new Promise<Buffer>((resolve) => {
    app.useConnection((ctx) => ctx.stream.once('data', resolve) && once(ctx.stream, 'close'))
  })
  const server = await serve(t, app)
  void connectTls(t, server)
  return hello
}

const writes =
  (...chunks: readonly (string | Buffer)[]) =>
  async (t: ExecutionContext, server: { port: number }): Promise<string> => {
    const socket = await dial(t, server)
    for (const chunk of chunks) socket.write(chunk)
    return readAllQuietly(socket)
  }

async function readAllQuietly(socket: Socket): Promise<string> {
  return readAll(socket).catch(() => '')
}

test('a silent client is closed at the deadline of the handshake', async (t) => {
  t.is(await failed(t, { handshakeTimeout: 100 }, writes()), 'ERR_CIO_HANDSHAKE_TIMEOUT')
})

test('a client that stops after one byte is closed at the deadline', async (t) => {
  const hostile = writes(Buffer.from([0x16]))
  t.is(await failed(t, { handshakeTimeout: 100 }, hostile), 'ERR_CIO_HANDSHAKE_TIMEOUT')
})

test('bytes do not put off the deadline of the handshake', async (t) => {
  const hello = await clientHello(t)
  let sent = 0
  const code = await failed(t, { handshakeTimeout: 1_000 }, async (_t, server) => {
    const socket = await dial(t, server)
    // All but the last byte, one by one, for as long as it is let.
    const dribble = setInterval(() => {
      if (sent < hello.length - 1) socket.write(hello.subarray(sent, ++sent))
    }, 10)
    await readAllQuietly(socket)
    clearInterval(dribble)
  })
  t.is(code, 'ERR_CIO_HANDSHAKE_TIMEOUT')
  t.true(sent > 1 && sent < hello.length - 1)
})

test('a hello in pieces of one byte is served', async (t) => {
  const hello = await clientHello(t)
  const { server } = await open(t)
  const socket = await dial(t, server)
  socket.setNoDelay(true)
  for (const byte of hello)
    await new Promise((resolve) => socket.write(Buffer.from([byte]), resolve))
  // The hello of the server: a record of a handshake.
  const [answer] = (await once(socket, 'data')) as [Buffer]
  t.is(answer[0], 0x16)
})

for (const [what, chunks] of Object.entries({
  garbage: [Buffer.alloc(500, 0xa5)],
  'plain HTTP': ['GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  'a record that is too long': [Buffer.from([0x16, 3, 1, 0xff, 0xff]), Buffer.alloc(1_000)],
})) {
  test(`${what} in place of a hello fails the handshake`, async (t) => {
    t.is(await failed(t, {}, writes(...chunks)), 'ERR_CIO_HANDSHAKE')
  })
}

const cases: Readonly<Record<string, [client: ConnectionOptions, server?: ListenOptions]>> = {
  'a client of TLS 1.0': [
    { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
  ],
  'a client without a cipher in common': [
    { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA256' },
    { ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384', maxVersion: 'TLSv1.2' },
  ],
  'a client of unknown protocols (ALPN)': [{ ALPNProtocols: ['x'] }, { ALPNProtocols: ['h2'] }],
  'a client that trusts another CA': [{ ca: contents('other.crt') }],
}
for (const [what, [client, options = {}]] of Object.entries(cases)) {
  const leaves = what.includes('trusts')
  test(`${what} ${leaves ? 'leaves' : 'fails the handshake'}, and the server goes on`, async (t) => {
    const visiting = (_t: ExecutionContext, server: { port: number }) =>
      connectTls(t, server, client)
    if (!leaves) {
      t.is(await failed(t, options, visiting), 'ERR_CIO_HANDSHAKE')
      return
    }
    const { told, server } = await open(t, options)
    t.is((await connectTls(t, server, client)).code, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
    t.deepEqual(told.error, [])
  })
}

test('a peer that leaves in the middle of the handshake is noticed', async (t) => {
  const hello = await clientHello(t)
  const half = hello.subarray(0, hello.length / 2)
  const code = await failed(t, {}, async (_t, server) => (await dial(t, server)).end(half))
  t.is(code, 'ERR_CIO_HANDSHAKE')
})

test('a reset in the middle of the handshake is told by remoteError', async (t) => {
  const hello = await clientHello(t)
  const code = await failed(t, {}, async (_t, server) => {
    const socket = await dial(t, server)
    socket.write(hello)
    await once(socket, 'data')
    socket.resetAndDestroy()
  })
  t.is(code, 'ERR_CIO_HANDSHAKE')
})

const callbacks: Readonly<Record<string, [ListenOptions['SNICallback'], code: string]>> = {
  'that throws': [
    () => {
      throw new Error('no such host')
    },
    'ERR_CIO_HANDSHAKE',
  ],
  'that errs': [(_name, answer) => answer(new Error('no such host')), 'ERR_CIO_HANDSHAKE'],
  'that answers with something else': [
    (_name, answer) => answer(null, {} as ReturnType<typeof createSecureContext>),
    'ERR_CIO_HANDSHAKE',
  ],
  'that never answers': [() => {}, 'ERR_CIO_HANDSHAKE_TIMEOUT'],
}
for (const [what, [callback, expected]] of Object.entries(callbacks)) {
  test(`an SNICallback ${what} fails the handshake, not the process`, async (t) => {
    const app = new Cio().useConnection(writeGreeting)
    const told = recordEvents(app)
    const SNICallback = callback!
    const server = await serve(t, app, {
      ...identity('server'),
      SNICallback,
      // Only one of them has to wait for it.
      handshakeTimeout: expected === 'ERR_CIO_HANDSHAKE' ? 60_000 : 200,
    })
    t.is((await connectTls(t, server)).said, '')
    t.like(told.remoteError, [{ code: expected }])
    t.deepEqual([...told.error, ...told.reject], [])
  })
}

test('an ALPNCallback that throws fails the handshake, not the process', async (t) => {
  const ALPNCallback = (): string => {
    throw new Error('thrown')
  }
  const { told, server } = await open(t, { ALPNCallback })
  t.is((await connectTls(t, server, { ALPNProtocols: ['x'] })).said, '')
  t.like(told.remoteError, [{ code: 'ERR_CIO_HANDSHAKE' }])
})

test('renegotiation is refused, so that nobody changes who they are', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const told = recordEvents(app)
  const server = await serve(t, app, mutual)
  const args = ['s_client', '-connect', `127.0.0.1:${server.port}`, '-tls1_2']
  const files = ['-key', path('alice.key'), '-cert', path('alice.crt'), '-CAfile', path('root.crt')]
  const child = spawn('openssl', [...args, ...files])
  t.teardown(() => child.kill())
  child.stdin.on('error', () => {})
  const secured = once(app, 'secure')
  const closed = new Promise((resolve) => app.once('close', resolve))
  const text = readAll(child.stderr)
  child.stdout.resume()
  await secured
  child.stdin.write('R\n')
  t.regex(await text, /no renegotiation/)
  await closed
  t.deepEqual([...told.reject, ...told.error], [])
})

for (const version of ['-tls1_2', '-tls1_3']) {
  test(`a handler that writes and returns at once closes cleanly (${version})`, async (t) => {
    const { app, told, server } = await open(t)
    const over = once(app, 'close')
    t.is(await connectByOpenssl(t, server, version), 'hello nobody')
    await over
    // OpenSSL answers an end without a close_notify by an alert.
    t.deepEqual([...told.remoteError, ...told.error], [])
  })
}

test('a handler that ends the stream itself, right after the handshake, closes cleanly', async (t) => {
  const app = new Cio().useConnection((ctx) => void ctx.stream.end('hello nobody'))
  const told = recordEvents(app)
  const server = await serve(t, app, identity('server'))
  const over = once(app, 'close')
  t.is(await connectByOpenssl(t, server, '-tls1_3'), 'hello nobody')
  await over
  t.deepEqual([...told.remoteError, ...told.error], [])
})

// Closing while handshakes are under way.

for (const timeout of [0, 5_000]) {
  test(`close({ timeout: ${timeout} }) ends silent clients, and does not tell that they left`, async (t) => {
    const { app, told, server } = await open(t)
    const accepted = once(app, 'connection')
    const socket = await dial(t, server)
    await accepted
    await server.close({ timeout })
    await readAllQuietly(socket)
    t.deepEqual([...told.error, ...told.reject], [])
    for (const error of told.remoteError) t.like(error, { code: 'ERR_CIO_DRAIN_TIMEOUT' })
  })
}

// The client's side.

/** A server of Node's that greets and stays. */
async function bare(t: ExecutionContext, name = 'server'): Promise<number> {
  const server = createServer(loaded(name), (socket) => {
    socket.on('error', () => {})
    socket.resume()
    socket.write('hello')
  })
  server.on('tlsClientError', () => {})
  return listenBare(t, server)
}

function client(t: ExecutionContext): Cio {
  const app = new Cio()
  closeAfter(t, app)
  return app
}

test('the host is the name that a client asks for and checks', async (t) => {
  const port = await bare(t)
  const app = client(t)
  const ctx = await app.connect({ port, host: 'localhost', ca: path('root.crt'), family: 4 })
  t.is((ctx.socket as TLSSocket & { servername: string }).servername, 'localhost')
})

test('a client reaches a server by its address, where the certificate has it', async (t) => {
  const app = client(t)
  t.is((await app.connect({ ...root, port: await bare(t) })).peer?.name, 'localhost')
  const nameOnly = await bare(t, 'serverNameOnly')
  await t.throwsAsync(app.connect({ ...root, port: nameOnly }), { code: 'ERR_CIO_REJECTED' })
})

test('servername overrides the host', async (t) => {
  const port = await bare(t, 'server2')
  const ctx = await client(t).connect({ ...root, port, servername: 'a.example.test' })
  t.is(ctx.peer?.name, 'second')
})

test('a common name is no host name where there are alternative names', async (t) => {
  const app = client(t)
  const options = { ...root, port: await bare(t, 'server2'), servername: 'second' }
  const error = await t.throwsAsync(app.connect(options), { code: 'ERR_CIO_REJECTED' })
  t.regex(error.message, /not for `second`; the names it claims are "DNS:localhost/)
})

test('a certificate with its name as a common name alone is accepted for that host', async (t) => {
  const port = await bare(t, 'serverNameOnly')
  t.is(
    (await client(t).connect({ ...root, port, servername: 'localhost' })).peer?.name,
    'localhost',
  )
})

test('a check of the identity that throws turns the server away, and the process stays', async (t) => {
  const app = client(t)
  const told = recordEvents(app)
  const checkServerIdentity = (): undefined => {
    throw new Error('no host of ours')
  }
  const options = { ...root, port: await bare(t), checkServerIdentity }
  await t.throwsAsync(app.connect(options), {
    code: 'ERR_CIO_REJECTED',
    message: /no host of ours/,
  })
  t.is(told.reject.length, 1)
})

for (const maxVersion of versions) {
  /** A session of one's own server, for a servername; laxly, since it may be the wrong one. */
  const resumable = async (t: ExecutionContext, servername: string) => {
    const app = new Cio().useConnection(async (ctx) => {
      ctx.stream.write('hello')
      for await (const _ of ctx);
    })
    const server = await serve(t, app, identity('server'))
    const options = { ...root, port: server.port, servername, maxVersion }
    const session = await openSession(t, server, {
      servername,
      maxVersion,
      rejectUnauthorized: false,
    })
    return { ...options, session }
  }

  test(`a resumed server is the same peer (${maxVersion})`, async (t) => {
    const ctx = await client(t).connect(await resumable(t, 'localhost'))
    t.true((ctx.socket as TLSSocket).isSessionReused())
    t.is(ctx.peer?.name, 'localhost')
    t.deepEqual(ctx.peer?.names.dns, ['localhost'])
  })

  test(`a resumed session does not get around the check of the name (${maxVersion})`, async (t) => {
    const options = await resumable(t, 'wrong.test')
    await t.throwsAsync(client(t).connect(options), { code: 'ERR_CIO_REJECTED' })
    const ctx = await client(t).connect({ ...options, rejectUnauthorized: false })
    t.is(ctx.peer, null)
  })
}

test('a client takes no intermediate for its server, whoever has asked Node before', async (t) => {
  const app = client(t).useClient((ctx, next) => {
    ;(ctx.socket as TLSSocket).getPeerX509Certificate()
    return next()
  })
  const ctx = await app.connect({ ...root, port: await bare(t, 'serverViaInterChain') })
  t.is(ctx.peer?.name, 'localhost')
})

test('to ask for the peer takes nothing away from Node', async (t) => {
  const ctx = await client(t).connect({ ...root, port: await bare(t, 'serverViaInterChain') })
  t.is(ctx.peer?.name, 'localhost')
  t.is((ctx.socket as TLSSocket).getPeerX509Certificate()?.subject, 'CN=localhost')
})

test('a client that finds no TLS fails its handshake', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('220 hello\r\n')),
  )
  await t.throwsAsync(client(t).connect({ ...root, port: server.port }), {
    code: 'ERR_CIO_HANDSHAKE',
  })
})

test('a client whose server hangs up in the handshake fails', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end()),
  )
  await t.throwsAsync(client(t).connect({ ...root, port: server.port }), {
    code: 'ERR_CIO_HANDSHAKE',
  })
})

test('a client whose server is gone before the handshake does not wait for it', async (t) => {
  const port = await listenBare(
    t,
    createNetServer((socket) => socket.once('data', () => socket.resetAndDestroy())),
  )
  const app = client(t).useClient(
    async ({ stream }, next) => {
      stream.write('x')
      await new Promise((resolve) => stream.on('close', resolve))
      await next()
    },
    { after: 'connect', before: 'secure' },
  )
  const error = await t.throwsAsync(app.connect({ ...root, port, handshakeTimeout: Infinity }), {
    code: 'ERR_CIO_HANDSHAKE',
    message: new RegExp(`127\\.0\\.0\\.1:${port}`),
  })
  t.like(error.cause, { code: 'ECONNRESET' })
})

test('a client whose server is silent gives up at the deadline of the handshake', async (t) => {
  const app = new Cio().useConnection((_ctx, next) => next())
  const server = await serve(t, app)
  await t.throwsAsync(client(t).connect({ ...root, port: server.port, handshakeTimeout: 100 }), {
    code: 'ERR_CIO_HANDSHAKE_TIMEOUT',
    message: /127\.0\.0\.1:\d+ was not done within 100 ms/,
  })
})

test('a client that is aborted in its handshake rejects with the reason', async (t) => {
  const app = new Cio().useConnection((_ctx, next) => next())
  const server = await serve(t, app)
  const accepted = once(app, 'connection')
  const controller = new AbortController()
  const connecting = client(t).connect({ ...root, port: server.port, signal: controller.signal })
  await accepted
  controller.abort(new Error('no more'))
  await t.throwsAsync(connecting, { message: 'no more' })
})

for (const option of ['listen', 'connect'] as const) {
  test(`${option} refuses a handshakeTimeout that is no duration`, async (t) => {
    const server = await serve(t, new Cio())
    const options = { ...root, port: server.port, handshakeTimeout: -1 }
    const run =
      option === 'listen'
        ? serve(t, new Cio(), { handshakeTimeout: -1 })
        : client(t).connect(options)
    await t.throwsAsync(run, { code: 'ERR_CIO_OPTION' })
  })
}

test('the protocol that was agreed on by ALPN is ctx.alpnProtocol, at both ends', async (t) => {
  const seen: (string | null)[] = []
  const app = new Cio().useConnection((ctx) => {
    seen.push(ctx.alpnProtocol)
    ctx.stream.end()
  })
  const server = await serve(t, app, { ...identity('server'), ALPNProtocols: ['mqtt', 'chat'] })
  const options = { ...root, port: server.port }
  const chat = await client(t).connect({ ...options, ALPNProtocols: ['chat'] })
  t.is(chat.alpnProtocol, 'chat')
  const none = await client(t).connect(options)
  t.is(none.alpnProtocol, null)
  const plain = await serve(t, app)
  const bareClient = await client(t).connect({ host: '127.0.0.1', port: plain.port })
  t.is(bareClient.alpnProtocol, null)
  await Promise.all([server.close(), plain.close()])
  t.deepEqual(seen, ['chat', null, null])
})

// Pre-shared keys

for (const [what, key] of [
  ['a text', 'the secret of both'],
  ['too long', Buffer.from('the secret of both'.padEnd(600))],
] as const) {
  test(`no error shows a pre-shared key that is ${what}`, async (t) => {
    const options = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
    const given = key as Buffer
    const good = Buffer.alloc(16)
    const asked = { ...options, checkServerIdentity: () => undefined }
    const app = new Cio()
    closeAfter(t, app)
    const failed = nextEvent(app, 'remoteError')
    const server = await serve(t, app, { ...options, pskCallback: () => given })
    const errors: unknown[] = []
    const callback = () => ({ psk: good, identity: 'me' })
    const tried = app.connect({ port: server.port, ...asked, pskCallback: callback })
    errors.push(await t.throwsAsync(tried), (await failed)[0])
    const other = await serve(t, new Cio(), { ...options, pskCallback: () => good })
    const wrong = () => ({ psk: given, identity: 'me' })
    errors.push(
      await t.throwsAsync(app.connect({ port: other.port, ...asked, pskCallback: wrong })),
    )
    const [shown, hex] = [inspect(errors, { depth: 9 }), Buffer.from('the secret').toString('hex')]
    t.regex(shown, /expected `pskCallback` to return a key/)
    t.false(shown.includes('the secret') || shown.replaceAll(' ', '').includes(hex), shown)
  })
}

const psk = Buffer.from('a secret that both sides have')
const byKey = {
  pskCallback: () => ({ psk, identity: 'alice' }),
  ciphers: 'PSK',
  checkServerIdentity: () => undefined,
}

test('a pre-shared key is a credential: a server with nothing else serves TLS', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const app = new Cio().useConnection(writeGreeting)
    const server = await serve(t, app, { pskCallback: () => psk, ciphers: 'PSK', maxVersion })
    t.not(server.tls, null)
    t.is((await connectTls(t, server, { ...byKey, ca: [] })).said, 'hello nobody')
  }
})

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`where a certificate is asked for, a pre-shared key is none (${maxVersion})`, async (t) => {
    const options = { ...identity('server'), ca: path('root.crt'), requestCert: true, maxVersion }
    const both = { ...options, pskCallback: () => psk, ciphers: 'PSK:HIGH' }
    const app = new Cio().useConnection(writeGreeting)
    const told = recordEvents(app)
    const server = await serve(t, app, both)
    t.is((await connectTls(t, server, byKey)).said, '')
    t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')

    // Both are let in where a certificate need not be, and lists refuse the one without an identity.
    const open = await serve(t, new Cio().useConnection(writeGreeting), {
      ...both,
      rejectUnauthorized: false,
    })
    t.is((await connectTls(t, open, byKey)).said, 'hello nobody')
    const listed = new Cio().useConnection(allowList(/./)).useConnection(writeGreeting)
    const strict = await serve(t, listed, { ...both, rejectUnauthorized: false })
    t.is((await connectTls(t, strict, byKey)).said, '')
    t.is((await connectTls(t, strict, loaded('alice'))).said, 'hello alice')
  })
}

// What Node tells of a handshake

test('keylog and OCSPResponse of a client are heard from its first byte on, as with Node’s own', async (t) => {
  const app = new Cio()
  const options = { ...identity('server'), host: '127.0.0.1' }
  const server = await serve(t, app, options)
  server.tls!.on('OCSPRequest', (_certificate, _issuer, done) => done(null, Buffer.from('stapled')))
  const target = {
    port: server.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: contents('root.crt'),
    requestOCSP: true,
  }
  const listen = (socket: TLSSocket): { lines: string[]; stapled: Promise<unknown[]> } => {
    const lines: string[] = []
    socket.on('keylog', (line: Buffer) => lines.push(String(line).split(' ')[0]!))
    return { lines, stapled: once(socket, 'OCSPResponse') }
  }
  const bare = nodeConnect(target)
  t.teardown(() => bare.destroy())
  const expected = listen(bare)
  await once(bare, 'secureConnect')

  const clients = new Cio()
  closeAfter(t, clients)
  let heard: ReturnType<typeof listen> | undefined
  clients.on('handshake', (socket, ctx) => {
    t.is(ctx.app, clients)
    heard = listen(socket)
  })
  const client = await clients.connect(target)
  t.true(expected.lines.length > 0)
  t.deepEqual(heard?.lines, expected.lines)
  t.deepEqual(await heard?.stapled, await expected.stapled)
  t.true(client.encrypted)
})

test('keylog, newSession and OCSPRequest of a server are heard at ctx.tls', async (t) => {
  const events: string[] = []
  const app = new Cio().useServer(
    async (ctx, next) => {
      t.is(ctx.server?.listening, true)
      for (const event of ['keylog', 'newSession', 'OCSPRequest'] as const) {
        ctx.tls!.on(event, (...details: unknown[]) => {
          events.push(event)
          const done = details.at(-1)
          if (typeof done === 'function') (done as (error: null) => void)(null)
        })
      }
      await next()
    },
    { after: 'listen' },
  )
  // With tickets no session is left to a TLS 1.2 server.
  const secureOptions = constants.SSL_OP_NO_TICKET
  const server = await serve(t, app.useConnection(writeGreeting), {
    ...identity('server'),
    secureOptions,
  })
  await openSession(t, server, { requestOCSP: true, maxVersion: 'TLSv1.2' } as ConnectionOptions)
  t.deepEqual([...new Set(events)].toSorted(), ['OCSPRequest', 'keylog', 'newSession'])
})

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Socket, connect as connectNet } from 'node:net'
import { type ConnectionOptions, type TLSSocket, connect } from 'node:tls'
import {
  type ConnectionContext,
  type Route,
  type RouteConditions,
  type RouteOptions,
  Cio,
  allowList,
  limit,
  lines,
  forward,
  proxyProtocol,
  route,
} from '../../src/index.ts'
import { contents, identity } from '../support/certificates.ts'
import { ofBrowser, ofOpenssl } from '../support/client-hello.ts'
import { growth } from '../support/cost.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { inLongForm, many } from '../support/long.ts'
import { programsOf, serveProgram } from '../support/page.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { firstFlight, recordEvents } from '../support/tls.ts'
import {
  type Transport,
  deferred,
  nextEvent,
  open,
  tooMuch,
  writeUnread,
} from '../support/transports.ts'

/** Sends its name and what it reads. */
const named = (name: string) =>
  async function named(ctx: ConnectionContext): Promise<void> {
    ctx.stream.write(`${name}: `)
    for await (const chunk of ctx) ctx.stream.write(chunk)
  }

const patient: RouteOptions = { timeout: Infinity }
const routing = (routes: readonly Route[], options = patient): Cio<object> =>
  new Cio().useConnection(route(routes, options))

/** The answer of a server to a client that sends this and ends. */
async function say(t: ExecutionContext, server: { port: number }, text: string): Promise<string> {
  const client = await dial(t, server)
  client.end(text)
  return readAll(client).catch((error: NodeJS.ErrnoException) => error.code ?? '')
}

async function secure(
  t: ExecutionContext,
  server: { port: number },
  options: ConnectionOptions = {},
): Promise<TLSSocket> {
  const ca = contents('root.crt')
  const { port } = server
  const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ...options })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  return socket
}

async function saySecurely(
  t: ExecutionContext,
  server: { port: number },
  text: string,
  options?: ConnectionOptions,
): Promise<string> {
  const socket = await secure(t, server, options)
  socket.end(text)
  return readAll(socket)
}

const byBytes: readonly Route[] = [
  { when: { http: true }, to: named('http') },
  { when: { bytes: /^SSH-\d/ }, to: named('ssh') },
  { when: { bytes: Uint8Array.of(5, 1) }, to: named('socks') },
  { when: { bytes: 'HELLO' }, to: named('hello') },
  // Sticky: only at the beginning.
  { when: { bytes: /MAIL/y }, to: named('mail') },
  { to: named('other') },
]

const inputs: readonly (readonly [input: string, taken: string])[] = [
  ['GET / HTTP/1.1\r\n\r\n', 'http'],
  [`GET /${'long'.repeat(1_000)} HTTP/1.1\r\n\r\n`, 'http'],
  ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'http'],
  ['GET /\r\n', 'other'],
  ['EHLO example.com\r\n', 'other'],
  ['SSH-2.0-OpenSSH\r\n', 'ssh'],
  ['SSH-x\r\n', 'other'],
  ['SSH-\r\nSSH-2', 'other'],
  ['\x05\x01\0', 'socks'],
  ['\x05\x02\0', 'other'],
  ['HELLO', 'hello'],
  ['HELL', 'other'],
  ['MAIL FROM\r\n', 'mail'],
  ['XMAIL\r\n', 'other'],
  ['', 'other'],
]

for (const [input, taken] of inputs) {
  test(`${JSON.stringify(input.slice(0, 24))} takes the route of ${taken}, whole`, async (t) => {
    t.is(await say(t, await serve(t, routing(byBytes)), input), `${taken}: ${input}`)
  })
}

test('the route is the same for one byte at a time', async (t) => {
  const server = await serve(t, routing(byBytes))
  await Promise.all(
    inputs.map(async ([input, taken]) => {
      if (input.length > 100) return
      const client = await dial(t, server)
      client.setNoDelay(true)
      const answer = readAll(client)
      for (const byte of input) {
        await new Promise((written) => client.write(byte, written))
        await new Promise(setImmediate)
      }
      client.end()
      t.is(await answer, `${taken}: ${input}`)
    }),
  )
})

test('plaintext and TLS clients reach one app on one port', async (t) => {
  const app = new Cio()
    .useConnection(
      route([
        { when: { tls: true }, to: 'next' },
        { to: 'next', skipTls: true },
      ]),
    )
    .useConnection(async (ctx) => {
      ctx.stream.write(`${ctx.encrypted} ${ctx.peer?.name ?? 'nobody'} `)
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
  const server = await serve(t, app, { ...identity('server'), ca: contents('root.crt') })
  t.is(await say(t, server, 'hi'), 'false nobody hi')
  const alice = { key: contents('alice.key'), cert: contents('alice.crt') }
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    t.is(await saySecurely(t, server, 'hi', { ...alice, maxVersion }), 'true alice hi')
  }
})

test('a list rejects a client without TLS', async (t) => {
  const app = new Cio()
    .useConnection(
      route([
        { when: { tls: true }, to: 'next' },
        { to: 'next', skipTls: true },
      ]),
    )
    .useConnection(allowList(['alice']))
    .useConnection(named('in'))
  const told = recordEvents(app)
  const server = await serve(t, app, { ...identity('server'), ca: contents('root.crt') })
  await say(t, server, 'hi')
  t.like(told.reject[0], { code: 'ERR_CIO_REJECTED' })
})

test('without `skipTls`, a plaintext client does not get past a server with TLS', async (t) => {
  const other = new Cio().useConnection(named('other'))
  for (const to of ['next', other] as const) {
    const app = routing([{ when: { sni: 'nobody' }, to: named('nobody') }, { to }])
    app.useConnection(named('in'))
    const told = recordEvents(app)
    const server = await serve(t, app, identity('server'))
    const answer = await say(t, server, 'GET / HTTP/1.1\r\n\r\n')
    t.notRegex(answer, /in|other/)
    t.like(told.remoteError[0], { code: 'ERR_CIO_HANDSHAKE' })
  }
})

test('TLS passes through unchanged, by SNI, and ends at the chosen server', async (t) => {
  const behind = await serve(t, new Cio().useConnection(named('behind')), identity('server'))
  const app = routing([
    { when: { sni: ['other.test', 'LOCALHOST'] }, to: forward(behind.port) },
    { when: { sni: '*.test' }, to: 'next' },
  ])
  app.useConnection(named('here'))
  const server = await serve(t, app, identity('server'))
  t.is(await saySecurely(t, server, 'hi', { servername: 'localhost' }), 'behind: hi')
  const here = { servername: 'one.test', checkServerIdentity: () => undefined }
  t.is(await saySecurely(t, server, 'hi', here), 'here: hi')
  const told = recordEvents(app)
  for (const servername of ['two.one.test', '']) {
    await t.throwsAsync(secure(t, server, { ...here, servername }))
  }
  t.deepEqual(
    told.remoteError.map((error) => (error as { code?: string }).code),
    ['ERR_CIO_NO_ROUTE', 'ERR_CIO_NO_ROUTE'],
  )
})

test('a ClientHello in one-byte segments passes through', async (t) => {
  const behind = await serve(t, new Cio().useConnection(named('behind')), identity('server'))
  const server = await serve(t, routing([{ when: { sni: 'localhost' }, to: forward(behind.port) }]))
  // A slow relay.
  const relay = new Cio().useConnection(async (ctx, next) => {
    const upstream = await dial(t, server)
    upstream.setNoDelay(true).pipe(ctx.stream)
    let slow = true
    ctx.stream.on('data', (chunk: Buffer) => {
      for (const byte of slow ? chunk : []) upstream.write(Uint8Array.of(byte))
      if (!slow) upstream.write(chunk)
      slow = false
    })
    ctx.stream.on('end', () => upstream.end())
    await next()
  })
  t.is(await saySecurely(t, await serve(t, relay), 'hi'), 'behind: hi')
})

test('the ALPN protocols of a client choose the route, and middleware can read them', async (t) => {
  const hellos: unknown[] = []
  const app = new Cio()
    .useConnection(route([{ when: { alpn: ['mqtt', 'h2'] }, to: 'next' }]))
    .useConnection((ctx) => void hellos.push(ctx.clientHello))
  const server = await serve(t, app, { ...identity('server'), ALPNProtocols: ['h2'] })
  await saySecurely(t, server, '', { ALPNProtocols: ['h2', 'http/1.1'] })
  t.deepEqual(hellos, [{ servername: 'localhost', alpn: ['h2', 'http/1.1'] }])
  await t.throwsAsync(secure(t, server, { ALPNProtocols: ['http/1.1'] }))
  await t.throwsAsync(secure(t, server))
})

test('after `secure` it routes by the result of the handshake', async (t) => {
  const app = new Cio().useConnection(
    route([
      { when: { tls: true, alpn: 'h2', sni: 'localhost' }, to: named('h2') },
      { when: { bytes: 'HELLO' }, to: named('hello') },
    ]),
    { before: [], after: 'secure' },
  )
  const server = await serve(t, app, { ...identity('server'), ALPNProtocols: ['h2'] })
  t.is(await saySecurely(t, server, 'hi', { ALPNProtocols: ['h2'] }), 'h2: hi')
  t.is(await saySecurely(t, server, 'HELLO'), 'hello: HELLO')
})

test('another app runs its own pipeline, on the same context, with TLS of the listening server', async (t) => {
  const other = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    for await (const line of ctx.messages) {
      await ctx.messages.send(`${line} ${ctx.encrypted} ${ctx.server?.port === server.port}`)
    }
  })
  const app = routing([{ to: other }])
  const [secured, closed] = [nextEvent(app, 'secure'), nextEvent(app, 'close')]
  const server = await serve(t, app, identity('server'))
  t.is(await saySecurely(t, server, 'hi\n'), 'hi true true\n')
  await secured
  await closed
  t.is(server.connections.size, 0)
})

test('several middleware handle a connection to its end, in their order', async (t) => {
  const app = routing([
    {
      to: [
        async function first(ctx, next) {
          ctx.stream.write('first ')
          await next()
        },
        named('second'),
      ],
    },
  ])
  app.useConnection(() => t.fail('it went on'))
  t.is(await say(t, await serve(t, app), 'hi'), 'first second: hi')
})

test('a server that speaks first does not wait if no bytes are needed', async (t) => {
  const routes: Route[] = [
    { when: { address: ['10.0.0.0/8'], bytes: 'x' }, to: named('never') },
    { when: ({ address }) => address === '127.0.0.1', to: named('greeting') },
    { when: { http: true }, to: named('http') },
  ]
  const server = await serve(t, routing(routes, { timeout: Infinity }))
  const client = await dial(t, server)
  t.is(String((await once(client, 'data'))[0]), 'greeting: ')
})

test('a client that sends nothing in time takes the route that needs no bytes, and stays connected', async (t) => {
  const routes: Route[] = [{ when: { http: true }, to: named('http') }, { to: named('greeting') }]
  const server = await serve(t, routing(routes, { timeout: 30 }))
  const client = await dial(t, server)
  t.is(String((await once(client, 'data'))[0]), 'greeting: ')
  await new Promise((resolve) => setTimeout(resolve, 100))
  client.write('still here')
  t.is(String((await once(client, 'data'))[0]), 'still here')
})

test('a client without a route is rejected, with a remote fault', async (t) => {
  const app = routing([{ when: { tls: true }, to: 'next' }])
  const told = recordEvents(app)
  const server = await serve(t, app)
  await say(t, server, 'hi')
  t.like(told.remoteError[0], { code: 'ERR_CIO_NO_ROUTE' })
  t.regex(told.remoteError[0]!.message, /127\.0\.0\.1.*2 bytes/)
})

test('no more than `maxSize` bytes are inspected', async (t) => {
  const routes: Route[] = [{ when: { bytes: /never/ }, to: named('never') }, { to: named('other') }]
  const server = await serve(t, routing(routes, { maxSize: 64, timeout: Infinity }))
  const client = await dial(t, server)
  client.write('x'.repeat(64))
  t.true(String((await once(client, 'data'))[0]).startsWith('other: '))
})

test('a function that throws is a local fault, and only true matches', async (t) => {
  const routes = [
    { when: (() => 'yes') as unknown as () => boolean, to: named('never') },
    {
      when: async () => {
        await new Promise(setImmediate)
        throw new Error('out of order')
      },
      to: named('never'),
    },
  ]
  const app = routing(routes)
  const told = recordEvents(app)
  await say(t, await serve(t, app), 'hi')
  t.is(told.error[0]?.message, 'out of order')
})

test('a reset while it inspects is not a local fault', async (t) => {
  const app = routing(byBytes)
  const told = recordEvents(app)
  const server = await serve(t, app)
  for (const beginning of ['', 'HEL']) {
    const [client, closed] = [await dial(t, server), once(app, 'close')]
    if (beginning) await new Promise((written) => client.write(beginning, written))
    client.resetAndDestroy()
    await closed
  }
  t.deepEqual(told.error, [])
})

test('the address of the client counts, not that of its balancer', async (t) => {
  const app = new Cio()
    .useConnection(
      route([{ when: { address: ['192.0.2.0/24'] }, to: named('client') }, { to: named('other') }]),
    )
    .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
  const server = await serve(t, app)
  t.is(await say(t, server, 'PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhi'), 'client: hi')
  t.is(await say(t, server, 'PROXY TCP4 198.51.100.1 192.0.2.2 1 2\r\nhi'), 'other: hi')
})

test('behind a PROXY header, with TLS in the same segment, SNI is found', async (t) => {
  const app = new Cio()
    .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
    .useConnection(route([{ when: { sni: 'localhost' }, to: 'next' }]))
    .useConnection(named('in'))
  const server = await serve(t, app, identity('server'))
  const raw = await dial(t, server)
  raw.cork()
  raw.write('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n')
  const client = connect({ socket: raw, servername: 'localhost', ca: contents('root.crt') })
  raw.uncork()
  await once(client, 'secureConnect')
  client.end('hi')
  t.is(await readAll(client), 'in: hi')
})

test('a connection that passes through without a handshake frees its handshake slot', async (t) => {
  const app = new Cio()
    .useConnection(limit({ handshakes: 1 }))
    .useConnection(route([{ when: { bytes: 'HELLO' }, to: named('hello') }, { to: 'next' }]))
    .useConnection(named('in'))
  const server = await serve(t, app, identity('server'))
  const staying: Socket[] = []
  for (let index = 0; index < 3; index++) {
    const client = await dial(t, server)
    client.write('HELLO')
    await once(client, 'data')
    staying.push(client)
  }
  t.is(await saySecurely(t, server, 'hi'), 'in: hi')
  t.true(staying.every(({ destroyed }) => !destroyed))
})

test('an unanswered greeting is not cut off by a close', async (t) => {
  const app = routing([{ to: 'next', skipTls: true }])
  app.useConnection(async ({ stream, draining }) => {
    stream.write('220 hello\n')
    await new Promise((resolve) => draining.addEventListener('abort', resolve))
    stream.write('421 bye\n')
  })
  const server = await serve(t, app, identity('server'))
  const client = connectNet(server.port, '127.0.0.1')
  t.teardown(() => client.destroy())
  t.is(String((await once(client, 'data'))[0]), '220 hello\n')
  const closed = server.close()
  t.is(await readAll(client), '421 bye\n')
  t.deepEqual(await closed, { forced: 0 })
})

test('an invalid route throws when it is made', (t) => {
  const to = 'next'
  const wrong: unknown[] = [
    'next',
    [null],
    [{ when: {} }],
    [{ to: 'secure' }],
    [{ to: [] }],
    [{ to: [7] }],
    [{ to, when: 'tls' }],
    [{ to, when: { tls: 'yes' } }],
    [{ to, when: { sni: '' } }],
    [{ to, when: { sni: 'a b' } }],
    [{ to, when: { alpn: [7] } }],
    [{ to, when: { bytes: '' } }],
    [{ to, when: { bytes: 7 } }],
    [{ to, when: { address: '10.0.0.0/8' } }],
    [{ to, when: { host: 'a' } }],
    [{ to, skipTls: 1 }],
    [{ to, tls: true }],
  ]
  for (const routes of wrong) {
    t.throws(() => route(routes as Route[]), { code: 'ERR_CIO_OPTION' }, JSON.stringify(routes))
  }
  for (const options of [{ timeout: -1 }, { maxSize: 0 }, { size: 1 }] as object[]) {
    t.throws(() => route([], options), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => route([{ to, when: { sni: 'a b' } }]), { message: /`sni`.*a b/ })
})

const hellos = { openssl: ofOpenssl, browser: ofBrowser }

for (const [client, hello] of Object.entries(hellos)) {
  test(`a post-quantum ClientHello takes its route, split at every byte (${client})`, async (t) => {
    const app = routing([
      { when: { sni: 'other.example.com' }, to: named('other') },
      { when: { alpn: 'h2', sni: 'www.example.com' }, to: counting },
    ])
    t.teardown(() => app.close({ timeout: 0 }))
    for (let cut = 1; cut < hello.length; cut += many(1, 7)) {
      const [near, far] = duplexPair()
      app.handle(far)
      near.write(hello.subarray(0, cut))
      if (cut % 2) await new Promise(setImmediate)
      near.end(hello.subarray(cut))
      t.is(await readAll(near), String(hello.length), `cut at ${cut}`)
    }
  })
}

async function counting(ctx: ConnectionContext): Promise<void> {
  let length = 0
  for await (const chunk of ctx) length += chunk.length
  ctx.stream.end(String(length))
}

test('a handshake in two segments completes behind `route` and `limit`', async (t) => {
  const bounds = limit({ handshakes: 1 })
  const app = new Cio()
    .useConnection(bounds)
    .useConnection(route([{ when: { sni: 'localhost' }, to: 'next' }]))
    .useConnection(named('here'))
  const server = await serve(t, app, identity('server'))
  const { length } = (await firstFlight(t)).hello
  for (let cut = 1; cut < length; cut += Math.ceil(length / 20)) {
    const { secure, hello, goOn } = await firstFlight(t)
    const raw = await dial(t, server)
    raw.setNoDelay(true)
    raw.write(hello.subarray(0, cut))
    await new Promise(setImmediate)
    raw.write(hello.subarray(cut))
    await goOn(raw)
    secure.end('hi')
    t.is(await readAll(secure), 'here: hi')
  }
  t.is(bounds.counts.refused.handshakes, 0)
  t.is(bounds.counts.handshakes, 0)
})

const floods: Record<string, { readonly when: RouteConditions; readonly bytes: Buffer }> = {
  'fragments of a byte': {
    when: { sni: 'a.test', alpn: 'h2' },
    bytes: Buffer.concat(
      Array.from({ length: 10_000 }, (_, index) => {
        return Buffer.from([0x16, 3, 1, 0, 1, [1, 0xff, 0xff, 0xff][index] ?? 0])
      }),
    ),
  },
  'an expression': { when: { bytes: /^a+b/ }, bytes: Buffer.alloc(60_000, 'a') },
  'a long path': { when: { http: true }, bytes: Buffer.from(`GET /${'x'.repeat(60_000)}`) },
  'a long beginning': {
    when: { bytes: Buffer.alloc(60_000, 'a') },
    bytes: Buffer.alloc(59_999, 'a'),
  },
}

inLongForm(() => {
  for (const [what, { when, bytes }] of Object.entries(floods)) {
    test.serial(`${what}, byte by byte, has linear cost`, async (t) => {
      const app = routing(
        [
          { when: { bytes: 'b' }, to: named('never') },
          { when, to: counting },
        ],
        {
          maxSize: 1_000_000,
          timeout: Infinity,
        },
      )
      app.on('remoteError', () => {})
      t.teardown(() => app.close({ timeout: 0 }))
      const work = async (size: number): Promise<void> => {
        const [near, far] = duplexPair()
        const { closed } = app.handle(far)
        near.on('error', () => {}).resume()
        for (let at = 0; at < size; at++) {
          near.write(bytes.subarray(at, at + 1))
          await new Promise(setImmediate)
        }
        near.end()
        await closed
      }
      await work(1_000)
      t.true((await growth(work, 1_500, 8)) < 20)
    })
  }
})

test('an expression is tested again when the line has ended or another part has arrived', async (t) => {
  const server = await serve(
    t,
    routing([{ when: { bytes: /x$/ }, to: named('x') }], { timeout: Infinity }),
  )
  const client = await dial(t, server)
  client.setNoDelay(true)
  // Asked for before it can come: the line may match while it is still being sent.
  const answered = once(client, 'data') as Promise<[Buffer]>
  for (const byte of `${'a'.repeat(300)}x\n`) {
    client.write(byte)
    await new Promise(setImmediate)
  }
  t.is(String((await answered)[0]).slice(0, 3), 'x: ')
})

const ofWholeLines: readonly (readonly [expression: RegExp, input: string, taken: boolean])[] = [
  [/^GET$/, 'GET\n', true],
  [/^GET$/, 'GET\r\n', true],
  [/^GET$/, 'GET', true],
  [/^GET$/, 'GET\0', true],
  [/^GET[^]/, 'GET\r\n', false],
  [/^GET[^]/, 'GET\r\r\n', true],
  [/^GET$/, 'GET / HTTP/1.1\r\n', false],
  [/^GET$/m, 'GET / HTTP/1.1\r\n', false],
  [/^GET(?! \/secret)/, 'GET /secret HTTP/1.1\r\n', false],
  [/^GET(?! \/secret)/, 'GET /open HTTP/1.1\r\n', true],
  [/^(?=.{3}\n?$)GET/, 'GETTING\n', false],
  [/^GET\b/, 'GETTING\n', false],
  [/^GET\b/, 'GET /\n', true],
  [/^GE\B/, 'GE T\n', false],
  [/^(GET|POST$)/, 'POST /\n', false],
  [/^\$[$]/, '$$\n', true],
  [/x$/, `${'x'.repeat(3_000)}\n`, false],
  [/^x/, `${'x'.repeat(3_000)}\n`, true],
]

for (const [expression, input, taken] of ofWholeLines) {
  const shown = `${String(expression)} ${taken ? 'takes' : 'leaves'} ${JSON.stringify(input.slice(0, 24))}`
  test(`${shown}, wherever it is cut`, async (t) => {
    const app = routing([{ when: { bytes: expression }, to: named('it') }, { to: named('other') }])
    const bytes = Buffer.from(input)
    for (let cut = 0; cut <= Math.min(bytes.length, 20); cut++) {
      const [near, far] = duplexPair()
      app.handle(far)
      const answer = readAll(near)
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
        near.write(piece)
        await new Promise(setImmediate)
      }
      near.end()
      t.is(await answer, `${taken ? 'it' : 'other'}: ${input}`)
    }
    await app.close({ timeout: 0 })
  })
}

test('an expression with an end does not match a line that goes on after the timeout', async (t) => {
  const app = routing([{ when: { bytes: /^GET$/ }, to: named('it') }, { to: named('other') }], {
    timeout: 50,
  })
  const [near, far] = duplexPair()
  app.handle(far)
  near.write('GET')
  const [first] = (await once(near, 'data')) as [Buffer]
  near.end(' /')
  t.is(String(first) + (await readAll(near)), 'other: GET /')
  await app.close({ timeout: 0 })
})

test('a sticky expression matches only at the beginning, each time', async (t) => {
  const routes: Route[] = [
    { when: { bytes: /HELLO/y }, to: named('hello') },
    { when: { bytes: /HELLO/g }, to: named('later') },
    { to: named('other') },
  ]
  const server = await serve(t, routing(routes))
  for (let index = 0; index < 2; index++) {
    t.is(await say(t, server, 'HELLO\n'), 'hello: HELLO\n')
    t.is(await say(t, server, 'NO HELLO\n'), 'later: NO HELLO\n')
  }
})

test('after TLS, another app makes no second handshake, and each event is emitted once', async (t) => {
  const inner = new Cio().useConnection(named('inner'))
  const outer = routing([
    { when: { alpn: 'x' }, to: named('x') },
    { to: inner, skipTls: true },
  ])
  const app = new Cio().useConnection(
    route([
      { when: { alpn: 'h2' }, to: outer },
      { when: { alpn: 'mw' }, to: [allowList(['alice']), named('list')] },
      { to: 'next', skipTls: true },
    ]),
    { before: [], after: 'secure' },
  )
  app.useConnection(named('next'))
  const events: string[] = []
  for (const event of ['secure', 'plaintext', 'remoteError', 'error'] as const) {
    app.on(event, () => events.push(event))
  }
  const mutual = { ...identity('server'), ca: contents('root.crt'), ALPNProtocols: ['h2', 'mw'] }
  const server = await serve(t, app, mutual)
  const alice = { key: contents('alice.key'), cert: contents('alice.crt') }
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const options = { ...alice, maxVersion }
    t.is(await saySecurely(t, server, 'hi', { ...options, ALPNProtocols: ['h2'] }), 'inner: hi')
    t.is(await saySecurely(t, server, 'hi', { ...options, ALPNProtocols: ['mw'] }), 'list: hi')
    t.is(await saySecurely(t, server, 'hi', options), 'next: hi')
  }
  t.deepEqual(
    events,
    Array.from({ length: 6 }, () => 'secure'),
  )
})

/** Node servers that send their name, in place of the servers on the page. */
async function upstream(t: ExecutionContext, name: string, secured = false): Promise<string> {
  const app = new Cio().useConnection(named(name))
  return String((await serve(t, app, secured ? identity('server') : {})).port)
}

const anyName = { checkServerIdentity: () => undefined }
const [first = '', behindTls = '', both = '', byName = '', behindProxy = '', ...more] = programsOf(
  'docs/middleware/route.md',
)

test.serial('every program of the page answers its clients: the first', async (t) => {
  t.deepEqual(more, [], 'one that no client is written for')
  const server = await serveProgram(t, first, {
    '10.0.0.0/8': '127.0.0.2/32',
    'forward(8443)': `forward(${await upstream(t, 'tls', true)})`,
    'forward(8080)': `forward(${await upstream(t, 'http')})`,
    'forward(22)': `forward(${await upstream(t, 'ssh')})`,
  })
  const admin = connectNet({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.2' })
  t.is(await readAll(admin), 'hello admin\n')
  const options = { ...anyName, servername: 'shop.example.com' }
  t.is(await saySecurely(t, server, 'hi', options), 'tls: hi')
  t.is(await say(t, server, 'GET / HTTP/1.1\r\n\r\n'), 'http: GET / HTTP/1.1\r\n\r\n')
  t.is(await say(t, server, 'SSH-2.0-x\r\n'), 'ssh: SSH-2.0-x\r\n')
})

test.serial('every program of the page answers its clients: behind TLS', async (t) => {
  const server = await serveProgram(t, behindTls)
  t.is(await saySecurely(t, server, '', { ALPNProtocols: ['h2'] }), 'two\n')
  t.is(await saySecurely(t, server, '', { ALPNProtocols: ['http/1.1'] }), 'one\n')
  t.is(await saySecurely(t, server, ''), 'one\n')
})

test.serial('every program of the page answers its clients: with TLS and without', async (t) => {
  const server = await serveProgram(t, both)
  t.is(await saySecurely(t, server, ''), 'nobody listens in\n')
  t.is(await say(t, server, 'hi\n'), 'anybody may listen in\n')
})

test.serial('every program of the page answers its clients: by name', async (t) => {
  const shop = await upstream(t, 'shop', true)
  const rest = await upstream(t, 'rest', true)
  const server = await serveProgram(t, byName, {
    "host: '10.0.0.7', port: 443": `host: '127.0.0.1', port: ${shop}`,
    "host: '10.0.0.8', port: 443": `host: '127.0.0.1', port: ${rest}`,
  })
  for (const [servername, answer] of [
    ['shop.example.com', 'shop: hi'],
    ['www.example.com', 'rest: hi'],
    ['elsewhere.test', 'who is that?\n'],
  ] as const) {
    t.is(await saySecurely(t, server, 'hi', { ...anyName, servername }), answer)
  }
})

test.serial('every program of the page answers its clients: by name, behind TLS', async (t) => {
  const server = await serveProgram(t, behindProxy, {
    "host: '10.0.0.7', port: 8080": `host: '127.0.0.1', port: ${await upstream(t, 'shop')}`,
    "host: '10.0.0.8', port: 8080": `host: '127.0.0.1', port: ${await upstream(t, 'rest')}`,
  })
  for (const [servername, answer] of [
    ['shop.example.com', 'shop: hi'],
    ['www.example.com', 'rest: hi'],
  ] as const) {
    t.is(await saySecurely(t, server, 'hi', { ...anyName, servername }), answer)
  }
})

for (const transport of ['memory', 'tcp', 'unix'] satisfies Transport[]) {
  test(`it reads no more than its bound while \`when\` asks elsewhere (${transport})`, async (t) => {
    const [asked, answer] = [deferred(), deferred()]
    const app = routing([
      { when: { sni: 'shop.example' }, to: 'next' },
      {
        when: async () => {
          asked.resolve()
          await answer.promise
          return true
        },
        to: (ctx) => ctx.destroy(),
      },
    ])
    const closed = once(app, 'close')
    const client = await open(t, app, transport)
    client.write('no ClientHello')
    await asked.promise
    const taken = await writeUnread(client)
    t.true(taken < tooMuch / 2, `${taken} bytes`)
    answer.resolve()
    await closed
  })
}

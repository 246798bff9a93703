import test from 'ava'
import fc from 'fast-check'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import { parseHeader } from '../../middleware/proxy-protocol/header-reader.ts'
import {
  Cio,
  type ConnectionContext,
  type ProxyHeader,
  type Proxied,
  forward,
  proxyHeader,
  proxyProtocol,
  sendProxyProtocol,
} from '../../src/index.ts'
import { canonicalAddress } from '../../src/kit.ts'
import { identity, path } from '../support/certificates.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'
import { deferred, nextEvent, open, socketPath } from '../support/transports.ts'

const source = { address: '192.0.2.7', port: 40_000 }
const destination = { address: '198.51.100.1', port: 443 }

function parse(bytes: Buffer): Proxied {
  const parsed = parseHeader(bytes, Infinity)
  if (typeof parsed === 'number' || parsed.length !== bytes.length) {
    throw new Error(`not one header: ${bytes.toString('hex')}`)
  }
  return parsed.proxied
}

const anyPort = fc.nat(65_535)
const endpoint = (address: fc.Arbitrary<string>) => fc.record({ address, port: anyPort })
const anyPath = fc
  .stringMatching(/^[a-z./-]{0,100}$/)
  .map((text) => ({ address: `/${text}`, port: 0 }))
const anyEnds = fc.oneof(
  fc.record({ source: endpoint(fc.ipV4()), destination: endpoint(fc.ipV4()) }),
  fc.record({ source: endpoint(fc.ipV6()), destination: endpoint(fc.ipV6()) }),
  fc.record({ source: endpoint(fc.ipV4()), destination: endpoint(fc.ipV6()) }),
  fc.record({ source: anyPath, destination: anyPath }),
)
const anyText = fc
  .string({ unit: 'grapheme', maxLength: 80 })
  .filter((text) => !text.includes('\0'))
const anyBytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((all) => Buffer.from(all))
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: null })
const anyHeader = fc
  .record({
    protocol: fc.constantFrom('stream' as const, 'datagram' as const),
    alpn: optional(anyText),
    authority: optional(anyText),
    uniqueId: optional(anyBytes(128)),
    netns: optional(anyText),
    ssl: optional(
      fc.record({
        client: fc.record({
          ssl: fc.constant(true),
          certConn: fc.constant(true),
          certSess: fc.boolean(),
        }),
        verify: fc.constant(0),
        version: optional(anyText),
        cn: optional(anyText),
        cipher: optional(anyText),
        sigAlg: optional(anyText),
        keyAlg: optional(anyText),
      }),
    ),
    tlvs: fc.array(fc.record({ type: fc.integer({ min: 0xe0, max: 0xff }), value: anyBytes(50) }), {
      maxLength: 4,
    }),
  })
  .chain((said) => anyEnds.map((ends): ProxyHeader => ({ ...said, ...ends })))

test('the parser reads the content that a version 2 header was given', (t) => {
  fc.assert(
    fc.property(anyHeader, fc.boolean(), (header, crc32c) => {
      const said = parse(proxyHeader(header, { crc32c }))
      const ends = [header.source!, header.destination!].map(({ address, port }) => {
        return { address: canonicalAddress(address), port }
      })
      t.deepEqual([said.source, said.destination], ends)
      t.is(said.crc32c, crc32c)
      const { alpn, authority, uniqueId, netns, protocol, ssl, tlvs = [] } = header
      t.like(said, { version: 2, command: 'proxy', alpn, authority, uniqueId, netns, protocol })
      // Without the prototypes that fast-check omits.
      if (ssl) t.like(said.ssl, { ...ssl, client: { ...ssl.client } })
      else t.is(said.ssl, null)
      const own = said.tlvs.filter(({ type }) => type >= 0xe0)
      t.deepEqual(own, [...tlvs])
    }),
    { seed: 2, numRuns: 500 },
  )
})

test('the parser reads the content that a version 1 header was given', (t) => {
  fc.assert(
    fc.property(anyEnds, (ends) => {
      const bytes = proxyHeader(ends, { version: 1 })
      t.true(bytes.length <= 107)
      const said = parse(bytes)
      const isPath = ends.source.address.startsWith('/')
      for (const end of ['source', 'destination'] as const) {
        const { address, port } = ends[end]
        t.deepEqual(said[end], isPath ? null : { address: canonicalAddress(address), port })
      }
    }),
    { seed: 3, numRuns: 500 },
  )
})

test('a header of version 1 is a line of text', (t) => {
  t.is(
    String(proxyHeader({ source, destination }, { version: 1 })),
    'PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n',
  )
  const mixed = { source, destination: { address: '::1', port: 443 } }
  t.is(String(proxyHeader(mixed, { version: 1 })), 'PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 443\r\n')
})

test('a header without both endpoints, for UDP or for the sender itself is UNKNOWN in version 1', (t) => {
  for (const header of [
    {},
    { source },
    { source, destination, command: 'local' },
    { source, destination, protocol: 'datagram' },
  ] as const) {
    t.is(String(proxyHeader(header, { version: 1 })), 'PROXY UNKNOWN\r\n')
  }
})

test('a version 2 header has the bytes of the specification', (t) => {
  t.is(
    proxyHeader({ source, destination }).toString('hex'),
    '0d0a0d0a000d0a515549540a2111000cc0000207c63364019c4001bb',
  )
  t.is(
    proxyHeader({ command: 'local', source, destination }).toString('hex'),
    '0d0a0d0a000d0a515549540a20000000',
  )
  t.is(proxyHeader({}).toString('hex'), '0d0a0d0a000d0a515549540a21000000')
})

for (const [what, header] of Object.entries({
  'an address that is a name': { source: { address: 'localhost', port: 1 }, destination },
  'a port above 65535': { source: { address: '192.0.2.7', port: 65_536 }, destination },
  'a path beside an address': { source: { address: '/run/x', port: 0 }, destination },
  'a path of 109 bytes': {
    source: { address: `/${'x'.repeat(108)}`, port: 0 },
    destination: { address: '/run/x', port: 0 },
  },
  'a unique ID of 129 bytes': { source, destination, uniqueId: Buffer.alloc(129) },
  'an authority with a NUL': { source, destination, authority: 'a\0b' },
  'a type of 256': { source, destination, tlvs: [{ type: 256, value: Buffer.alloc(1) }] },
  '64 KiB of values': { source, destination, tlvs: [{ type: 0xe0, value: Buffer.alloc(65_530) }] },
  'a value of 70000 bytes': {
    source,
    destination,
    tlvs: [{ type: 0xe0, value: Buffer.alloc(70_000) }],
  },
  'an unknown command': { command: 'push' as 'proxy', source, destination },
  'an unknown protocol': { protocol: 'quic' as 'stream', source, destination },
})) {
  test(`${what} is refused`, (t) => {
    t.throws(() => proxyHeader(header), { code: 'ERR_CIO_OPTION' })
  })
}

test('options are checked when the middleware is made', (t) => {
  const wrong = [
    { version: 3 },
    { crc32c: 'yes' },
    { header: 7 },
    { header: null },
    { source },
  ] as unknown as readonly { version: 1 }[]
  for (const options of wrong) {
    t.throws(() => sendProxyProtocol(options), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => proxyHeader(null as unknown as ProxyHeader), { code: 'ERR_CIO_OPTION' })
  t.throws(() => proxyHeader({}, { version: 3 as 2 }), {
    message: /^proxyHeader: expected `version` to be 1 or 2, got 3/,
  })
})

/** An app that trusts this host, and sends the client's address. */
function told(): { app: Cio; came: Promise<ConnectionContext & { proxied: Proxied | null }> } {
  const { promise: came, resolve } = deferred<ConnectionContext & { proxied: Proxied | null }>()
  const app = new Cio()
  app.useConnection(proxyProtocol({ trusted: ['127.0.0.1'] })).useConnection((ctx) => {
    resolve(ctx)
    ctx.stream.write(`hello ${ctx.address}`)
  })
  return { app, came }
}

for (const version of [1, 2] as const) {
  test(`a version ${version} header names the client, before TLS too`, async (t) => {
    for (const tls of [{}, identity('server')]) {
      const { app, came } = told()
      const { port } = await serve(t, app, tls)
      const client = new Cio().useClient(
        sendProxyProtocol({ version, header: { source, destination } }),
      )
      t.teardown(() => client.close({ timeout: 0 }))
      const secure = 'key' in tls ? { ca: path('root.crt'), host: 'localhost', family: 4 } : {}
      const connected = await client.connect({ host: '127.0.0.1', port, ...secure })
      t.is(await readAll(connected), 'hello 192.0.2.7')
      const { proxied, encrypted, socket } = await came
      t.like(proxied, { version, source, destination })
      t.is(encrypted, 'key' in tls)
      t.is(socket?.remoteAddress, '127.0.0.1')
    }
  })
}

test('a client without a header option sends its own endpoints', async (t) => {
  const { app, came } = told()
  const { port } = await serve(t, app)
  const client = new Cio().useClient(sendProxyProtocol())
  t.teardown(() => client.close({ timeout: 0 }))
  const { socket } = await client.connect({ host: '127.0.0.1', port })
  t.like((await came).proxied, {
    source: { address: '127.0.0.1', port: socket?.localPort },
    destination: { address: '127.0.0.1', port },
  })
})

test('a function makes the header of each connection', async (t) => {
  const { app, came } = told()
  const { port } = await serve(t, app)
  const header = ({ options }: { options: { port?: number | undefined } }): ProxyHeader => {
    return { source, destination: { address: '192.0.2.1', port: options.port ?? 0 } }
  }
  const client = new Cio().useClient(sendProxyProtocol({ header }))
  t.teardown(() => client.close({ timeout: 0 }))
  await client.connect({ host: '127.0.0.1', port })
  t.is((await came).proxied?.destination?.port, port)
})

test('a header that cannot be encoded fails the connection', async (t) => {
  const port = await listenBare(t, createServer())
  const header = { source, destination: { address: 'nowhere', port: 0 } }
  const client = new Cio().useClient(sendProxyProtocol({ header }))
  await t.throwsAsync(client.connect({ host: '127.0.0.1', port }), { code: 'ERR_CIO_OPTION' })
})

test("forward relays the client's address and its TLS details", async (t) => {
  const { app, came } = told()
  const { port } = await serve(t, app)
  const proxy = new Cio().useConnection(
    forward({ host: '127.0.0.1', port }, { header: (ctx) => proxyHeader(ctx, { crc32c: true }) }),
  )
  const listening = await serve(t, proxy, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const client = new Cio()
  t.teardown(() => client.close({ timeout: 0 }))
  const { socket } = await client.connect({
    port: listening.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: path('root.crt'),
    ...identity('alice'),
  })
  const { proxied } = await came
  t.like(proxied, {
    source: { address: '127.0.0.1', port: socket?.localPort },
    destination: { address: '127.0.0.1', port: listening.port },
    authority: 'localhost',
    alpn: null,
    crc32c: true,
  })
  t.like(proxied?.ssl, {
    client: { ssl: true, certConn: true, certSess: true },
    verify: 0,
    version: 'TLSv1.3',
    cn: 'alice',
  })
})

test('forward does not relay the name of an unverified certificate', async (t) => {
  const { app, came } = told()
  const { port } = await serve(t, app)
  const proxy = new Cio().useConnection(
    forward({ host: '127.0.0.1', port }, { header: (ctx) => proxyHeader(ctx) }),
  )
  const client = await open(t, proxy, 'TLS 1.3')
  client.write('x')
  const { proxied } = await came
  t.like(proxied?.ssl, {
    client: { ssl: true, certConn: false, certSess: false },
    verify: 1,
    claimedCn: null,
  })
})

test("a second proxy relays the first one's header", async (t) => {
  const { app, came } = told()
  const { port } = await serve(t, app)
  const middle = new Cio()
    .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
    .useConnection(forward({ host: '127.0.0.1', port }, { header: (ctx) => proxyHeader(ctx) }))
  const socket = await dial(t, await serve(t, middle))
  const said = { source, destination, authority: 'a.test', uniqueId: Buffer.from('7') }
  socket.write(proxyHeader({ ...said, tlvs: [{ type: 0xe0, value: Buffer.from('own') }] }))
  const { proxied } = await came
  t.like(proxied, said)
  t.deepEqual(proxied?.tlvs.at(-1), { type: 0xe0, value: Buffer.from('own') })
})

test('for a Unix socket, a header has no addresses', async (t) => {
  const at = socketPath(t)
  const app = new Cio()
  const connection = nextEvent(app, 'connection')
  await app.listen(at)
  closeAfter(t, app)
  const client = new Cio()
  t.teardown(() => client.close({ timeout: 0 }))
  await client.connect(at)
  const [ctx] = await connection
  t.is(String(proxyHeader(ctx, { version: 1 })), 'PROXY UNKNOWN\r\n')
  t.like(parse(proxyHeader(ctx)), { command: 'proxy', family: null })
})

test('the header goes out at once, and first', async (t) => {
  const first = deferred<Buffer>()
  const port = await listenBare(
    t,
    createServer((socket: Socket) => {
      t.teardown(() => socket.destroy())
      void once(socket, 'data').then(([chunk]) => first.resolve(chunk as Buffer))
    }),
  )
  const client = new Cio().useClient(sendProxyProtocol({ header: { source, destination } }))
  t.teardown(() => client.close({ timeout: 0 }))
  void client.connect({ host: '127.0.0.1', port, tls: true }).catch(() => {})
  const bytes = await first.promise
  t.deepEqual(bytes.subarray(0, 28), proxyHeader({ source, destination }))
})

import test from 'ava'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import {
  Cio,
  type ConnectionContext,
  type Proxied,
  proxyProtocol,
  sendProxyProtocol,
} from '../../../src/index.ts'
import { contents, identity, loaded, path } from '../../support/certificates.ts'
import { haproxy } from '../../support/haproxy.ts'
import { dial, readAll, serve } from '../../support/serve.ts'
import { type Recorded, recordEvents } from '../../support/tls.ts'
import { deferred, nextEvent } from '../../support/transports.ts'

type Came = ConnectionContext & { readonly proxied: Proxied | null }

/** Answers all that came, at its end, with the address that counts. */
function echo(trusted: readonly string[]): { app: Cio; came: Came[]; told: Recorded } {
  const came: Came[] = []
  const app = new Cio()
  app.useConnection(proxyProtocol({ trusted })).useConnection(async (ctx) => {
    came.push(ctx)
    // Read while the connection is there.
    void ctx.peer
    const all = await readAll(ctx)
    const { forwardedFor } = ctx
    ctx.stream.write(`${forwardedFor === 'unknown' ? forwardedFor : forwardedFor?.port}: ${all}`)
  })
  return { app, came, told: recordEvents(app) }
}

const loopback = ['127.0.0.1']
// Node's declarations do not know that a TLS socket may be half-open.
const tls = { allowHalfOpen: true, ca: contents('root.crt'), servername: 'localhost' }

for (const [server, version, checked] of [
  ['send-proxy', 1, false],
  ['send-proxy-v2', 2, false],
  ['send-proxy-v2 proxy-v2-options crc32c,unique-id', 2, true],
] as const) {
  test(`HAProxy with ${server} says who the client is`, async (t) => {
    const { app, came, told } = echo(loopback)
    const { port } = await serve(t, app)
    const balancer = await haproxy(t, { server, to: port })
    const client = await dial(t, balancer)
    const { localPort } = client
    client.end('hello')
    t.is(await readAll(client), `${localPort}: hello`)
    t.like(came[0]?.proxied, {
      version,
      command: 'proxy',
      family: 'IPv4',
      protocol: 'stream',
      source: { address: '127.0.0.1', port: localPort },
      destination: { address: '127.0.0.1', port: balancer.port },
      crc32c: checked,
    })
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })

  test(`TLS passes through HAProxy with ${server}, and ends here`, async (t) => {
    const { app, came, told } = echo(loopback)
    const options = { ...identity('server'), ca: path('root.crt'), requestCert: true }
    const { port } = await serve(t, app, options)
    const balancer = await haproxy(t, { server, to: port })
    const client = connectTls({
      ...tls,
      ...loaded('alice'),
      port: balancer.port,
      host: '127.0.0.1',
    })
    t.teardown(() => client.destroy())
    await once(client, 'secureConnect')
    const { localPort } = client
    client.end('hello')
    t.is(await readAll(client), `${localPort}: hello`)
    t.true(came[0]?.encrypted)
    t.is(came[0]?.peer?.name, 'alice')
    t.is(came[0]?.proxied?.ssl, null)
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })
}

for (const [name, cn] of [
  ['alice', 'alice'],
  ['nobody', null],
] as const) {
  test(`HAProxy that ends TLS says by which, and that the client is ${name}`, async (t) => {
    const { app, came } = echo(loopback)
    const { port } = await serve(t, app)
    const balancer = await haproxy(t, {
      bind: `ssl crt {pem} ca-file ${path('root.crt')} verify optional alpn h2`,
      server:
        'send-proxy-v2 proxy-v2-options ssl,ssl-cipher,cert-cn,cert-sig,cert-key,authority,crc32c',
      to: port,
    })
    const client = connectTls({
      ...tls,
      ...(cn !== null && loaded(cn)),
      port: balancer.port,
      host: '127.0.0.1',
      ALPNProtocols: ['h2'],
    })
    t.teardown(() => client.destroy())
    await once(client, 'secureConnect')
    const { localPort } = client
    const cipher = client.getCipher().name
    client.end('hello')
    t.is(await readAll(client), `${localPort}: hello`)
    const [ctx] = came
    t.like(ctx?.proxied, { authority: 'localhost', alpn: 'h2', crc32c: true })
    const given = cn !== null
    t.like(ctx?.proxied?.ssl, {
      client: { ssl: true, certConn: given, certSess: given },
      verify: 0,
      version: 'TLSv1.3',
      cipher,
      cn,
      claimedCn: cn,
    })
    t.is(ctx?.peer, null)
    t.false(ctx?.encrypted)
  })
}

for (const server of ['send-proxy', 'send-proxy-v2']) {
  for (const over of ['TCP', 'TLS'] as const) {
    test(`HAProxy with ${server} over ${over} is rejected where nothing is trusted`, async (t) => {
      const { app, told } = echo([])
      const { port } = await serve(t, app, over === 'TLS' ? identity('server') : {})
      const balancer = await haproxy(t, { server, to: port })
      const closed = nextEvent(app, 'close')
      const client = await dial(t, balancer)
      client.write('hello')
      t.is(await readAll(client).catch(() => ''), '')
      await closed
      const event = over === 'TLS' ? told.remoteError : told.reject
      const code = over === 'TLS' ? 'ERR_CIO_HANDSHAKE' : 'ERR_CIO_REJECTED'
      t.is((event[0] as NodeJS.ErrnoException).code, code)
      t.is(told.remoteError.length + told.reject.length, 1)
    })
  }
}

test('HAProxy without send-proxy is rejected where it is trusted', async (t) => {
  const { app, told } = echo(loopback)
  const { port } = await serve(t, app)
  const balancer = await haproxy(t, { to: port })
  const closed = nextEvent(app, 'close')
  const client = await dial(t, balancer)
  client.write('hello')
  t.is(await readAll(client).catch(() => ''), '')
  await closed
  t.is((told.remoteError[0] as NodeJS.ErrnoException).code, 'ERR_CIO_PROXY_HEADER')
})

test('the health checks of HAProxy are local connections', async (t) => {
  const { promise: checked, resolve } = deferred<Came>()
  const app = new Cio()
  app.useConnection(proxyProtocol({ trusted: loopback })).useConnection(async (ctx, next) => {
    resolve(ctx)
    ctx.stream.write('ready')
    await next()
  })
  const { port } = await serve(t, app)
  // One that waits for an answer: those that do not may have gone before they are accepted.
  const lines = [
    'option tcp-check',
    'tcp-check connect send-proxy',
    'tcp-check expect string ready',
  ]
  await haproxy(t, { server: 'send-proxy-v2 check inter 1s', lines, to: port })
  const { proxied, forwardedFor, address } = await checked
  t.like(proxied, { command: 'local', source: null })
  t.is(forwardedFor, null)
  t.is(address, '127.0.0.1')
})

for (const version of [1, 2] as const) {
  test(`HAProxy accepts the headers of version ${version} that a client sends`, async (t) => {
    const { app, came } = echo(loopback)
    const { port } = await serve(t, app)
    const balancer = await haproxy(t, {
      bind: 'accept-proxy',
      server: 'send-proxy-v2 proxy-v2-options authority,unique-id',
      to: port,
    })
    for (const [source, destination] of [
      [
        { address: '192.0.2.7', port: 40_000 },
        { address: '198.51.100.1', port: 443 },
      ],
      [
        { address: '2001:db8::7', port: 1 },
        { address: '2001:db8::1', port: 65_535 },
      ],
    ] as const) {
      const header = { source, destination, authority: 'a.test', uniqueId: Buffer.from('7') }
      const client = new Cio().useClient(
        sendProxyProtocol({ version, header, ...(version === 2 && { crc32c: true }) }),
      )
      t.teardown(() => client.close({ timeout: 0 }))
      const ctx = await client.connect({ host: '127.0.0.1', port: balancer.port })
      ctx.stream.end('hello')
      t.is(await readAll(ctx), `${source.port}: hello`)
      t.like(came.pop()?.proxied, {
        source,
        destination,
        authority: version === 2 ? 'a.test' : null,
      })
    }
  })
}

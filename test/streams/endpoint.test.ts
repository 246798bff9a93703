import test from 'ava'
import { once } from 'node:events'
import { type ConnectionContext, Cio } from '../../src/index.ts'
import { formatEndpoint, localEndpoint, networkOf } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, serve } from '../support/serve.ts'
import { open } from '../support/transports.ts'

test('the address that counts is the socket’s, in canonical form', async (t) => {
  const app = new Cio()
  const connected = once(app, 'connection')
  const server = await serve(t, app, { host: '::' })
  const client = await dial(t, server)
  const [ctx] = (await connected) as [ConnectionContext]
  t.is(ctx.address, '127.0.0.1')
  t.is(ctx.forwardedFor, null)
  t.is(ctx.remote, `127.0.0.1:${client.localPort}`)
  t.deepEqual(localEndpoint(ctx.socket), { address: '127.0.0.1', port: server.port })
})

test('the address that counts is the origin’s where there is one; messages name both', async (t) => {
  const app = new Cio()
  const connected = once(app, 'connection')
  const client = await dial(t, await serve(t, app))
  const [ctx] = (await connected) as [ConnectionContext]
  ctx.forwardedFor = { address: '2001:db8::1', port: 7 }
  t.is(ctx.address, '2001:db8::1')
  t.is(ctx.remote, `[2001:db8::1]:7 by way of 127.0.0.1:${client.localPort}`)
  t.is(ctx.socket?.remoteAddress, '127.0.0.1')
})

for (const [transport, name] of [
  ['unix', 'a local socket'],
  ['memory', 'a stream'],
] as const) {
  test(`over ${transport} there is no address that counts`, async (t) => {
    const app = new Cio()
    const connected = once(app, 'connection')
    await open(t, app, transport)
    const [ctx] = (await connected) as [ConnectionContext]
    t.is(ctx.address, null)
    t.is(ctx.remote, name)
  })
}

test('a peer that closed before its address was read is not taken for one of this host', async (t) => {
  const app = new Cio()
  const closed = once(app, 'close')
  ;(await dial(t, await serve(t, app))).destroy()
  const [ctx] = (await closed) as [ConnectionContext]
  t.is(ctx.remote, 'an address that is no longer known')
})

test('an origin over a stream is named with it', (t) => {
  const ctx = new Cio().handle(duplexPair()[0])
  t.teardown(() => ctx.close({ timeout: 0 }))
  ctx.forwardedFor = { address: '192.0.2.1', port: 7 }
  t.is(ctx.remote, '192.0.2.1:7 by way of a stream')
})

test('an IPv6 address is written in brackets', (t) => {
  t.is(formatEndpoint({ address: '::1', port: 80 }), '[::1]:80')
  t.is(formatEndpoint({ address: '192.0.2.1', port: 80 }), '192.0.2.1:80')
})

for (const [address, network] of [
  ['192.0.2.77', '192.0.2.0/24'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:0:0:1::', '2001:0:0:1::/64'],
  ['2001:db8::1:0:0:5', '2001:db8::/64'],
  ['fe80::1', 'fe80::/64'],
  ['::1', '::/64'],
  ['::1.2.3.4', '::/64'],
  ['192.0.2.0/24', '192.0.2.0/24'],
  ['2001:db8::/64', '2001:db8::/64'],
  ['/run/app.sock', '/run/app.sock'],
  ['/run/a:b.sock', '/run/a:b.sock'],
] as const) {
  test(`the network of ${address} is ${network}`, (t) => {
    t.is(networkOf(address), network)
  })
}

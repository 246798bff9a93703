import test from 'ava'
import { once } from 'node:events'
import { type Socket, connect, createServer } from 'node:net'
import { type ConnectionContext, Cio } from '../../src/index.ts'
import { canonicalAddress, keepRemote } from '../../src/kit.ts'
import { readRemote } from '../../src/streams/socket-handle.ts'
import { keptRemote } from '../../src/streams/kept-remote.ts'
import { dial, serve } from '../support/serve.ts'
import { open } from '../support/transports.ts'

/** An app that keeps the address of each connection as it begins. */
function keeping(): Cio {
  const app = new Cio().on('remoteError', () => {})
  app.observe({ begin: (ctx) => keepRemote(ctx as ConnectionContext) })
  return app
}

for (const host of ['127.0.0.1', '::1', '::']) {
  test(`the address of a connection to ${host} is there after its end, a reset included`, async (t) => {
    const app = keeping()
    const accepting = once(app, 'connection')
    const closed = once(app, 'close')
    const server = await serve(t, app, { host })
    const client = connect({ port: server.port, host: host === '::' ? '127.0.0.1' : host })
    t.teardown(() => client.destroy())
    await once(client, 'connect')
    const { localPort } = client
    await accepting
    const [accepted] = server.connections
    const { address, remote } = accepted!
    client.resetAndDestroy()
    const [ctx] = (await closed) as [ConnectionContext]
    t.is(ctx, accepted!)
    t.is(ctx.address, address)
    t.is(ctx.remote, remote)
    t.is(ctx.address, host === '::1' ? '::1' : '127.0.0.1')
    t.true(ctx.remote.endsWith(`:${localPort}`))
  })
}

const some = {
  IPv4: ['0.0.0.0', '1.2.3.4', '127.0.0.1', '128.0.0.1', '255.254.253.252'],
  IPv6: [
    '::',
    '::1',
    '::102:304',
    '2001:db8::1',
    '2001:db8:0:1:1:1:1:1',
    '2001:db8:1234:5678:9abc:def0:1234:5678',
    '1::',
    'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ],
}

test('each number of an address is kept, of IPv6 too', (t) => {
  for (const address of [...some.IPv4, ...some.IPv6].map(canonicalAddress)) {
    const socket = { remoteAddress: address, remotePort: 65_535 } as Socket
    const ctx = { kind: 'connection', socket } as const
    keepRemote(ctx)
    t.deepEqual(keptRemote(ctx), { address, port: 65_535 })
  }
})

test('an address of IPv6 takes no text while the connection is open', (t) => {
  const socket = { remoteAddress: '2001:db8::1', remotePort: 1 } as Socket
  const ctx = { kind: 'connection', socket } as const
  keepRemote(ctx)
  const kept = Object.getOwnPropertySymbols(ctx).map((key) => typeof Reflect.get(ctx, key))
  t.deepEqual(kept, ['bigint', 'number'])
})

for (const [said, address] of [
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['fe80::1%lo', 'fe80::1'],
] as const) {
  test(`${said} is kept as ${address}`, (t) => {
    const socket = { remoteAddress: said, remotePort: 1 } as Socket
    const ctx = { kind: 'connection', socket } as const
    keepRemote(ctx)
    t.is(keptRemote(ctx)?.address, address)
  })
}

test('over a Unix socket there is nothing to keep', async (t) => {
  const app = keeping()
  const connected = once(app, 'connection')
  await open(t, app, 'unix')
  const [ctx] = (await connected) as [ConnectionContext]
  t.is(keptRemote(ctx), null)
  t.is(ctx.address, null)
  t.is(ctx.remote, 'a local socket')
})

test('what is kept leaves no object at the socket', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const accepted = once(server, 'connection')
  const { port } = server.address() as { port: number }
  const client = await dial(t, { port })
  const [socket] = (await accepted) as [Socket]
  const before = Object.getOwnPropertyNames(socket)
  t.deepEqual(
    { ...readRemote(socket) },
    { address: '127.0.0.1', port: client.localPort, family: 'IPv4' },
  )
  t.deepEqual(Object.getOwnPropertyNames(socket), before)
})

import test from 'ava'
import { once } from 'node:events'
import { connect as connectNet } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { Cio, type ConnectOptions } from '../../src/index.ts'
import { askedHost, askedName, withoutBrackets } from '../../src/kit.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, listenBare, serve } from '../support/serve.ts'
import { socketPath } from '../support/transports.ts'

for (const [host, asked] of [
  [undefined, 'localhost'],
  ['', 'localhost'],
  ['db.internal', 'db.internal'],
  ['db.internal.', 'db.internal'],
  ['DB.Internal', 'db.internal'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['bücher.example.', 'xn--bcher-kva.example'],
  ['_service.internal', '_service.internal'],
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['[::1]', '::1'],
  ['[127.0.0.1]', '127.0.0.1'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['[db]', '[db]'],
  ['not a name', 'not a name'],
] as const) {
  test(`${host ?? 'no host'} is asked for as ${asked}`, (t) => {
    t.is(askedHost(host), asked)
  })
}

test('brackets are taken from addresses alone', (t) => {
  t.is(withoutBrackets('[::1]'), '::1')
  t.is(withoutBrackets('[fe80::1%eth0]'), 'fe80::1%eth0')
  t.is(withoutBrackets('[127.0.0.1]'), '127.0.0.1')
  for (const other of ['::1', '[localhost]', '[127.0.0]', '[', ''])
    t.is(withoutBrackets(other), other)
})

test('an address is no name for SNI, and is checked all the same', (t) => {
  for (const host of ['127.0.0.1', '[127.0.0.1]', '::1', '[::1]']) {
    t.deepEqual(askedName({ host }), { host: withoutBrackets(host), servername: undefined })
  }
  const address = { host: 'localhost', servername: '127.0.0.1' }
  t.deepEqual(askedName(address), { host: '127.0.0.1', servername: undefined })
})

test('an empty servername sends none, and the host is checked', (t) => {
  t.deepEqual(askedName({ host: 'a.test.', servername: '' }), {
    host: 'a.test',
    servername: undefined,
  })
})

/** Wherever a host leads to, it is this machine. */
const lookup: NonNullable<ConnectOptions['lookup']> = (_host, { all }, done) => {
  if (all) done(null, [{ address: '127.0.0.1', family: 4 }])
  else done(null, '127.0.0.1', 4)
}

for (const [what, options, expected] of [
  ['no host', {}, 'localhost'],
  ['a host with the dot of the root (golang/go#63117)', { host: 'db.internal.' }, 'db.internal'],
  ['an internationalised name', { host: 'BÜCHER.example' }, 'xn--bcher-kva.example'],
  ['a servername with the dot of the root', { servername: 'db.internal.' }, 'db.internal'],
  ['an address', { host: '127.0.0.1' }, false],
  ['an address in brackets', { host: '[::1]' }, false],
  ['an address as servername', { servername: '127.0.0.1' }, false],
  ['an empty servername', { host: 'db.internal', servername: '' }, false],
] as const) {
  test(`SNI of ${what} is ${expected === false ? 'absent' : expected}`, async (t) => {
    const bare = createServer(loaded('server'))
    const port = await listenBare(t, bare)
    const secure = once(bare, 'secureConnection')
    const app = new Cio()
    closeAfter(t, app)
    await app.connect({
      ...options,
      port,
      tls: true,
      rejectUnauthorized: false,
      createConnection: () => connectNet(port, '127.0.0.1'),
    })
    const [socket] = (await secure) as [TLSSocket & { servername: string | false }]
    t.is(socket.servername, expected)
  })
}

test('a client that says no host reaches a server that is strict about names (golang/go#63117)', async (t) => {
  const ca = path('root.crt')
  const options = { strictSni: true, sni: { localhost: identity('server') } }
  const server = await serve(t, new Cio(), options)
  const { port } = server
  const app = new Cio()
  closeAfter(t, app)
  for (const target of [{ port }, { port, host: 'localhost.' }, { port, host: 'LOCALHOST' }]) {
    const client = await app.connect({ ...target, ca, lookup })
    t.is(client.peer?.names.dns[0], 'localhost')
  }
})

test('over a Unix socket the name is localhost as well', async (t) => {
  const where = socketPath(t)
  const app = new Cio()
  closeAfter(t, app)
  await app.listen({ path: where, strictSni: true, sni: { localhost: identity('server') } })
  const client = await app.connect({ path: where, ca: contents('root.crt') })
  t.true(client.encrypted)
})

test('a resumed session is checked against the same name', async (t) => {
  const server = await serve(t, new Cio(), identity('server'))
  const ca = path('root.crt')
  const app = new Cio()
  closeAfter(t, app)
  const tls12 = {
    port: server.port,
    host: 'localhost.',
    ca,
    lookup,
    maxVersion: 'TLSv1.2',
  } as const
  const first = await app.connect(tls12)
  const session = (first.socket as TLSSocket).getSession()!
  await first.close()
  const again = await app.connect({ ...tls12, session })
  t.true((again.socket as TLSSocket).isSessionReused())
})

test('brackets are no part of a host, going in (node-red/node-red#2462)', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('hi')),
    { host: '[::1]' },
  )
  t.like(server.address, { address: '::1' })
  const app = new Cio()
  closeAfter(t, app)
  const { port } = server
  for (const target of [{ host: '[::1]', port }, [{ host: '[::1]', port }]]) {
    const client = await app.connect(target)
    t.is(client.remote, `[::1]:${port}`)
  }
})

test('and messages have them once (node-red/node-red#2462)', async (t) => {
  const port = 9
  for (const host of ['::1', '[::1]']) {
    const createConnection = (): never => {
      throw new Error('mine')
    }
    const targets = [
      { host, port },
      { host, port },
    ]
    const error = await t.throwsAsync(new Cio().connect({ targets, createConnection }))
    t.regex(error.message, /(?<!\[)\[::1\]:9 /)
  }
})

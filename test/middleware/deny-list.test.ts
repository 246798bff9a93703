import test from 'ava'
import { type ListenOptions, type PeerSelector, Cio, allowList, denyList } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import {
  writeGreeting,
  recordEvents,
  mayBringTls,
  openSession,
  connectTls,
} from '../support/tls.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }

function deny(who: PeerSelector): Cio {
  return new Cio().useConnection(denyList(who)).useConnection(writeGreeting)
}

test('a client on the list is rejected, resumed as well, and others are admitted', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const denied = new Set<string | null>()
    const app = deny((peer) => denied.has(peer.name))
    const told = recordEvents(app)
    const server = await serve(t, app, mutual)
    const mallory = { ...loaded('mallory'), maxVersion }
    const session = await openSession(t, server, mallory)
    denied.add('mallory')
    t.like(await connectTls(t, server, mallory), { said: '', resumed: false })
    t.like(await connectTls(t, server, { ...mallory, session }), { said: '', resumed: true })
    t.is((await connectTls(t, server, { ...loaded('alice'), maxVersion })).said, 'hello alice')
    t.is(told.reject.length, 2)
    t.regex(told.reject[0]!.message, /\("mallory"\) was rejected by `denyList`: it is on the list/)
  }
})

test('an empty list admits every client with a verified identity', async (t) => {
  const server = await serve(t, deny([]), { ...mutual, rejectUnauthorized: false })
  t.is((await connectTls(t, server, loaded('mallory'))).said, 'hello mallory')
  t.is((await connectTls(t, server, loaded('selfSigned'))).said, '')
})

for (const [what, file] of [
  ['no certificate', undefined],
  ['a self-signed certificate', 'selfSigned'],
  ['a certificate of another CA', 'otherCa'],
  ['an expired certificate', 'expired'],
  ['two common names', 'twoNames'],
  ['two common names in one set', 'multiValued'],
  ['a NUL in the common name', 'nulUtf8'],
  ['a NUL in a DNS name', 'nulDns'],
  ['a common name of bits', 'bitString'],
  ['an organization of bits', 'bitStringUnit'],
  ['a common name that is a sequence', 'sequenceName'],
  ['a common name in pieces', 'constructedName'],
  ['an address of five bytes', 'oddAddress'],
  ['an address of no bytes', 'noAddress'],
  ['alternative names without a name', 'noNames'],
] as const) {
  test(`a client without a usable identity is rejected: ${what}`, async (t) => {
    for (const rejectUnauthorized of [true, false]) {
      const app = deny(['nobody in particular'])
      const told = recordEvents(app)
      const server = await serve(t, app, { ...mutual, rejectUnauthorized })
      t.is((await connectTls(t, server, file && loaded(file))).said, '')
      t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
    }
  })
}

test('without TLS, every client is rejected', async (t) => {
  const app = new Cio()
    .useConnection(mayBringTls)
    .useConnection(denyList([]))
    .useConnection(writeGreeting)
  const server = await serve(t, app)
  t.is(await readAll(await dial(t, server)), '')
})

test('a certificate without a common name is admitted, unless a rule matches its other fields', async (t) => {
  const options: ListenOptions = mutual
  const server = await serve(t, deny(['mallory']), options)
  t.is((await connectTls(t, server, loaded('sanOnly'))).said, 'hello nobody')
  const other = await serve(t, deny({ dns: 'ALICE' }), options)
  t.is((await connectTls(t, other, loaded('sanOnly'))).said, '')
})

test('deny wins over allow, in either order', async (t) => {
  const orders = [
    new Cio().useConnection(allowList(/./)).useConnection(denyList({ dns: 'bob' })),
    new Cio().useConnection(denyList({ dns: 'bob' })).useConnection(allowList(/./)),
  ]
  for (const app of orders) {
    const told = recordEvents(app)
    const server = await serve(t, app.useConnection(writeGreeting), mutual)
    t.is((await connectTls(t, server, loaded('bob'))).said, '')
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
    t.is(told.reject.length, 1)
  }
})

test('a client rejects a server that is on its list', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((_ctx, next) => next()),
    identity('server2'),
  )
  const connect = async (who: PeerSelector): Promise<string | null | undefined> => {
    const app = new Cio().useClient(denyList(who))
    closeAfter(t, app)
    const options = { port: server.port, host: '127.0.0.1', ca: contents('root.crt') }
    return (await app.connect(options)).peer?.name
  }
  t.is(await connect(['first']), 'second')
  await t.throwsAsync(connect(['second']), { code: 'ERR_CIO_REJECTED' })
  await t.throwsAsync(connect({ dns: '*.example.test' }), { code: 'ERR_CIO_REJECTED' })
})

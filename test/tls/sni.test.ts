import test, { type ExecutionContext } from 'ava'
import { constants } from 'node:crypto'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import {
  type CertsOptions,
  type ListenOptions,
  type ServerContext,
  Cio,
  certs,
} from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles, connectWith, presented } from '../support/live-files.ts'
import { readAll, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'

const lax = { rejectUnauthorized: false }
const second = identity('server2')

async function open(t: ExecutionContext, options: ListenOptions) {
  const app = new Cio().useConnection(writeGreeting)
  return { app, told: recordEvents(app), server: await serve(t, app, options) }
}

for (const [servername, name] of [
  ['a.example.test', 'second'],
  ['A.Example.TEST', 'second'],
  ['b.wild.test', 'second'],
  ['wild.test', 'localhost'],
  ['c.b.wild.test', 'localhost'],
  ['exact.wild.test', 'localhost'],
  ['other.test', 'localhost'],
  ['xn--mnchen-3ya.test', 'second'],
] as const) {
  test(`who asks for ${servername} is shown the certificate of ${name}`, async (t) => {
    const { server } = await open(t, {
      ...identity('server'),
      sni: {
        'a.example.test': second,
        '*.wild.test.': second,
        'exact.wild.test': identity('serverRsa'),
        'münchen.test': second,
      },
    })
    t.is(await presented(t, server, { servername, ...lax }), name)
  })
}

test('who asks for no name is shown the certificate of the server', async (t) => {
  const { server } = await open(t, { ...identity('server'), sni: { 'a.test': second } })
  t.is(await presented(t, server, { servername: '', ...lax }), 'localhost')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`with strictSni, another name and none are refused before a certificate is shown (${version})`, async (t) => {
    const options = { ...identity('server'), sni: { 'a.test': second }, strictSni: true }
    const { told, server, app } = await open(t, options)
    const client = { ...lax, maxVersion: version }
    t.is((await connectTls(t, server, { ...client, servername: 'a.test' })).said, 'hello nobody')
    for (const servername of ['b.test', '']) {
      const over = nextEvent(app, 'close')
      t.is((await connectTls(t, server, { ...client, servername })).said, '')
      await over
    }
    t.is(told.remoteError.length, 2)
    for (const error of told.remoteError) t.like(error, { code: 'ERR_CIO_HANDSHAKE' })
    t.regex(told.remoteError[0]!.message, /"b.test", which is no name in `sni`/)
    t.deepEqual(told.error, [])
  })

  test(`a name with a CA of its own lets in whom that CA has certified, and nobody else (${version})`, async (t) => {
    const { server } = await open(t, {
      ...identity('server'),
      ca: path('root.crt'),
      requestCert: true,
      sni: { 'a.test': { ...second, ca: path('other.crt') }, 'b.test': second },
    })
    const meet = async (servername: string, name: string) =>
      (await connectTls(t, server, { ...lax, maxVersion: version, servername, ...loaded(name) }))
        .said
    t.is(await meet('a.test', 'otherCa'), 'hello alice')
    t.is(await meet('a.test', 'alice'), '')
    t.is(await meet('b.test', 'alice'), 'hello alice')
    t.is(await meet('b.test', 'otherCa'), '')
    t.is(await meet('localhost', 'alice'), 'hello alice')
  })

  test(`a CA of a name alone asks for certificates, unless it is told not to (${version})`, async (t) => {
    const sni = { 'a.test': { ...second, ca: path('other.crt') } }
    const { server } = await open(t, { ...identity('server'), sni })
    const client = { ...lax, maxVersion: version, servername: 'a.test' }
    t.is((await connectTls(t, server, client)).said, '')
    t.is((await connectTls(t, server, { ...client, ...loaded('otherCa') })).said, 'hello alice')
    const lenient = await open(t, { ...identity('server'), sni, requestCert: false })
    t.is((await connectTls(t, lenient.server, client)).said, 'hello nobody')
  })

  // OpenSSL resumes a session under any name, and Node calls its certificate authorized.
  test(`a session of one name does not resume under the CA of another (${version})`, async (t) => {
    const { server } = await open(t, {
      ...identity('server'),
      ca: path('root.crt'),
      requestCert: true,
      ticketKeys: Buffer.alloc(48, 7),
      sni: { 'a.test': { ...second, ca: path('other.crt') } },
    })
    for (const [from, to] of [
      ['localhost', 'a.test'],
      ['a.test', 'localhost'],
    ] as const) {
      const as = loaded(from === 'localhost' ? 'alice' : 'otherCa')
      const client = { ...lax, maxVersion: version, ...as }
      const socket = await connectWith(t, server, { ...client, servername: from })
      let session: Buffer | undefined = socket.getSession()
      socket.on('session', (given: Buffer) => (session = given))
      t.is(await readAll(socket), 'hello alice')
      const { said, resumed } = await connectTls(t, server, {
        ...client,
        servername: to,
        ...(session && { session }),
      })
      t.deepEqual([said, resumed], ['', false])
    }
  })

  test(`an SNICallback of one's own, with certificates asked for, resumes nothing (${version})`, async (t) => {
    const { server } = await open(t, {
      ...identity('server'),
      ca: path('root.crt'),
      requestCert: true,
      SNICallback: (_name, done) => done(null),
    })
    const client = { ...lax, maxVersion: version, ...loaded('alice') }
    const socket = await connectWith(t, server, client)
    let session: Buffer | undefined = socket.getSession()
    socket.on('session', (given: Buffer) => (session = given))
    await readAll(socket)
    const { resumed } = await connectTls(t, server, { ...client, ...(session && { session }) })
    t.false(resumed)
  })

  test(`where all names trust the same, sessions resume (${version})`, async (t) => {
    const { server } = await open(t, { ...identity('server'), sni: { 'a.test': second } })
    const client = { ...lax, maxVersion: version, servername: 'a.test' }
    const session = await openSession(t, server, client)
    t.true((await connectTls(t, server, { ...client, session })).resumed)
  })
}

/** Stores sessions by id, as an application does for several processes. */
function storeSessions(server: ServerContext): Map<string, Buffer> {
  const store = new Map<string, Buffer>()
  server.tls!.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    store.set(id.toString('hex'), session)
    done()
  })
  server.tls!.on('resumeSession', (id: Buffer, done) => {
    done(null, store.get(id.toString('hex')) ?? null)
  })
  return store
}

const byId = { ...lax, maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET } as const

async function sessionOf(t: ExecutionContext, server: ServerContext, options: ConnectionOptions) {
  const socket = await connectWith(t, server, options)
  const session = socket.getSession()!
  return { session, said: await readAll(socket) }
}

test('a session that the application has stored does not resume under the CA of another name', async (t) => {
  const { server } = await open(t, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
    sni: { 'a.test': { ...second, ca: path('other.crt') } },
  })
  storeSessions(server)
  for (const [from, to, name] of [
    ['localhost', 'a.test', 'alice'],
    ['a.test', 'localhost', 'otherCa'],
  ] as const) {
    const client = { ...byId, ...loaded(name) }
    const { said, session } = await sessionOf(t, server, { ...client, servername: from })
    t.is(said, 'hello alice')
    const again = await connectTls(t, server, { ...client, servername: to, session })
    t.deepEqual([again.said, again.resumed], ['', false])
  }
})

test('a session that the application has stored does not outlive the list of its name', async (t) => {
  const files = new LiveFiles(t)
  files.put('crl', 'empty.crl')
  const { server } = await open(t, {
    ...identity('server'),
    ca: path('root.crt'),
    crl: path('empty.crl'),
    requestCert: true,
    sni: { 'a.test': { ...second, crl: files.crl } },
  })
  const store = storeSessions(server)
  const client = { ...byId, ...loaded('revoked'), servername: 'a.test' }
  const { said, session } = await sessionOf(t, server, client)
  t.is(said, 'hello alice')
  t.is(store.size, 1)
  t.true((await connectTls(t, server, { ...client, session })).resumed)
  files.put('crl', 'revoked.crl')
  await server.reload()
  const again = await connectTls(t, server, { ...client, session })
  t.deepEqual([again.said, again.resumed], ['', false])
  files.put('crl', 'empty.crl')
  await server.reload()
  t.is((await connectTls(t, server, { ...client, session })).said, 'hello alice')
})

test('a list of a name revokes under that name', async (t) => {
  const { server } = await open(t, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
    sni: { 'a.test': { ...second, crl: path('revoked.crl') } },
  })
  const client = { ...lax, ...loaded('revoked') }
  t.is((await connectTls(t, server, { ...client, servername: 'a.test' })).said, '')
  t.is((await connectTls(t, server, client)).said, 'hello alice')
})

test('names are reloaded, and judged by their own CA', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  files.put('ca', 'root.crt')
  const { key, cert, ca } = files
  const app = new Cio().useConnection(async (ctx) => {
    writeGreeting(ctx)
    for await (const _ of ctx);
  })
  const server = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
    revoked: 'destroy',
    sni: { 'a.test': { key, cert, ca } },
  })
  const client = { ...lax, ...loaded('alice') }
  const named = await connectWith(t, server, { ...client, servername: 'a.test' })
  const other = await connectWith(t, server, client)
  await Promise.all(
    [named, other].map((socket) => new Promise((done) => socket.once('data', done))),
  )
  files.inPlace('server2')
  files.put('ca', 'other.crt')
  const over = nextEvent(app, 'close')
  await server.reload()
  await over
  t.deepEqual(
    [...server.connections].map(
      ({ socket }) => (socket as TLSSocket & { servername: string }).servername,
    ),
    ['localhost'],
  )
  const as = { ...lax, ...loaded('otherCa'), servername: 'a.test' }
  t.is(await presented(t, server, as), 'second')
})

for (const [what, sni] of [
  ['a wildcard inside', { 'a.*.test': second }],
  ['no name', { '': second }],
  ['an address with a port', { 'a.test:443': second }],
  ['the same name twice', { 'a.test': second, 'A.test.': second }],
  ['an unknown option', { 'a.test': { ...second, watch: true } }],
] as const) {
  test(`sni with ${what} is refused when certs is made`, (t) => {
    t.throws(() => certs({ sni: sni as CertsOptions['sni'] & object }), { code: 'ERR_CIO_OPTION' })
  })
}

test('a file of a name that is broken fails before anything listens', async (t) => {
  const sni = { 'a.test': { ...second, cert: path('garbage.pem') } }
  await t.throwsAsync(open(t, { ...identity('server'), sni }), { code: 'ERR_CIO_CERTIFICATE' })
  t.truthy(contents('garbage.pem'))
})

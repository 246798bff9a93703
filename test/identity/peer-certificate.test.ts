/** What a session that is resumed brings along: a certificate, and its date. */

import test from 'ava'
import { once } from 'node:events'
import { type TLSSocket, connect, createServer } from 'node:tls'
import { Cio } from '../../src/index.ts'
import { presentedCertificate, presentedIssuers } from '../../src/identity/peer-certificate.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, listenBare, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'

const day = 24 * 60 * 60 * 1_000
const { now } = Date

/** Lets the clock of this process, as JavaScript has it, be so many days ahead. */
function daysAhead(days: number): void {
  Object.assign(Date, { now: () => now() + days * day })
}
test.afterEach.always(() => daysAhead(0))

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const rejectUnauthorized of [true, false]) {
    const what = rejectUnauthorized ? 'is refused' : 'is nobody, with rejectUnauthorized: false'
    test.serial(
      `a session whose certificate has expired meanwhile ${what} (${version})`,
      async (t) => {
        const app = new Cio().useConnection(writeGreeting)
        const told = recordEvents(app)
        const options = { ...identity('server'), ca: path('root.crt'), requestCert: true }
        const server = await serve(t, app, { ...options, rejectUnauthorized })
        const alice = { ...loaded('alice'), maxVersion: version }
        const session = await openSession(t, server, alice)
        t.like(await connectTls(t, server, { ...alice, session }), {
          said: 'hello alice',
          resumed: true,
        })

        daysAhead(11)
        const { said, resumed } = await connectTls(t, server, { ...alice, session })
        t.true(resumed)
        t.is(said, rejectUnauthorized ? '' : 'hello nobody')
        t.is(told.reject.length, rejectUnauthorized ? 1 : 0)
        if (rejectUnauthorized) t.regex(told.reject[0]!.message, /CERT_HAS_EXPIRED/)
      },
    )

    test.serial(
      `a server whose certificate has expired meanwhile ${what} (${version})`,
      async (t) => {
        const server = createServer({ ...loaded('server'), maxVersion: version }, (socket) =>
          socket.on('error', () => {}).end('hello'),
        )
        const port = await listenBare(t, server)
        const session = await openSession(t, { port })
        const app = new Cio()
        closeAfter(t, app)
        const ca = path('root.crt')
        const options = { host: 'localhost', family: 4, port, ca, session, maxVersion: version }
        const before = await app.connect(options)
        t.true((before.socket as TLSSocket).isSessionReused())
        t.is(before.peer?.name, 'localhost')

        daysAhead(11)
        const connecting = app.connect({ ...options, rejectUnauthorized })
        if (rejectUnauthorized) {
          const error = await t.throwsAsync(connecting, { code: 'ERR_CIO_REJECTED' })
          t.like(error.cause, { code: 'CERT_HAS_EXPIRED' })
        } else t.is((await connecting).peer, null)
      },
    )
  }
}

test('the certificate and its issuers are read without taking them from Node', async (t) => {
  const server = createServer({ ...loaded('server'), requestCert: true, rejectUnauthorized: false })
  const port = await listenBare(t, server)
  const client = connect({ port, ...loaded('viaSubChain'), rejectUnauthorized: false })
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket]
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  for (let times = 0; times < 3; times++) {
    t.deepEqual(
      presentedIssuers(socket).map(({ subject }) => subject),
      ['CN=sub', 'CN=inter0'],
    )
    t.is(presentedCertificate(socket), presentedCertificate(socket))
  }
  t.is(socket.getPeerX509Certificate()?.issuerCertificate?.subject, 'CN=sub')
  t.true(contents('viaSub.crt').length > 0)
})

test('a socket that is gone has no certificate that was not read before', async (t) => {
  const port = await listenBare(t, createServer(loaded('server')))
  const socket = connect({ port, rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  socket.destroy()
  t.is(presentedCertificate(socket), undefined)
  t.deepEqual(presentedIssuers(socket), [])
})

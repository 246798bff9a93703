/** A session that is resumed brings one certificate along, and not those of its issuers. */

import test from 'ava'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type SecureVersion, type TLSSocket, createServer } from 'node:tls'
import { Cio, certificateExpiry } from '../../src/index.ts'
import { TrustStore } from '../../src/tls/trust-store.ts'
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

// Node 24.21.0 itself takes the issuers out of the session of each client that it verifies
// (docs/decisions/0016-a-call-that-leaks.md), so no code can read them there.
const nodeTakesIssuers = process.versions.node.startsWith('24.')

interface Chain {
  readonly key: Buffer
  /** The certificate alone. */
  readonly leaf: Buffer
  readonly issuer: Buffer
  /** The same issuer, valid for longer. */
  readonly renewed: Buffer
  /** The certificate and its issuer. */
  readonly cert: Buffer
}

const chains = new Map<string, Chain>()

/** A certificate of `localhost` that outlives its issuer: 20 days, and as many as given. */
function chainOf(days: number, usage: string): Chain {
  const key = `${usage}, ${days} days`
  const chain = chains.get(key) ?? makeChain(days, usage)
  chains.set(key, chain)
  return chain
}

function makeChain(days: number, usage: string): Chain {
  const cwd = mkdtempSync(join(tmpdir(), 'cio-issuer-'))
  const openssl = (line: string): void =>
    void execFileSync('openssl', line.split(' '), { cwd, stdio: ['ignore', 'ignore', 'pipe'] })
  const sign = (name: string, by: string, lasts: number, to = name): void => {
    const made = `-days ${lasts} -extfile ${name}.ext -out ${to}.crt`
    openssl(`x509 -req -in ${name}.csr -CA ${by}.crt -CAkey ${by}.key -CAcreateserial ${made}`)
  }
  const ask = (name: string, extensions: string): void => {
    openssl(`ecparam -name prime256v1 -genkey -noout -out ${name}.key`)
    openssl(`req -new -key ${name}.key -subj /CN=${name} -out ${name}.csr`)
    writeFileSync(join(cwd, `${name}.ext`), extensions)
  }
  for (const file of ['root.crt', 'root.key']) {
    writeFileSync(join(cwd, file), readFileSync(path(file)))
  }
  ask('brief', 'basicConstraints=critical,CA:true\nkeyUsage=keyCertSign')
  sign('brief', 'root', days)
  sign('brief', 'root', 20, 'renewed')
  ask('localhost', `subjectAltName=DNS:localhost\nextendedKeyUsage=${usage}`)
  sign('localhost', 'brief', 20)
  const key = readFileSync(join(cwd, 'localhost.key'))
  const [leaf, issuer, renewed] = ['localhost', 'brief', 'renewed'].map((name) =>
    readFileSync(join(cwd, `${name}.crt`)),
  ) as [Buffer, Buffer, Buffer]
  rmSync(cwd, { recursive: true })
  return { key, leaf, issuer, renewed, cert: Buffer.concat([leaf, issuer]) }
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as SecureVersion[]) {
  for (const [where, isSent] of [
    ['that the client sends', true],
    ['in `ca`', false],
  ] as const) {
    for (const rejectUnauthorized of [true, false]) {
      const what = rejectUnauthorized ? 'is refused' : 'is nobody, with rejectUnauthorized: false'
      if (isSent && nodeTakesIssuers) continue
      test.serial(
        `a session whose issuer ${where} has expired meanwhile ${what} (${maxVersion})`,
        async (t) => {
          const { key, leaf, issuer, cert } = chainOf(2, 'clientAuth')
          const ca = isSent ? contents('root.crt') : [contents('root.crt'), issuer]
          const app = new Cio().useConnection(writeGreeting)
          const told = recordEvents(app)
          const ticketKeys = Buffer.alloc(48, 7)
          const options = {
            ...loaded('server'),
            ca,
            requestCert: true,
            rejectUnauthorized,
            ticketKeys,
          }
          const server = await serve(t, app, options)
          const as = { key, cert: isSent ? cert : leaf, maxVersion }
          const session = await openSession(t, server, as)

          daysAhead(1)
          const before = await connectTls(t, server, { ...as, session })
          t.like(before, { said: 'hello localhost', resumed: true })
          await server.reload()
          daysAhead(3)
          const { said, resumed } = await connectTls(t, server, { ...as, session })
          t.true(resumed)
          t.is(said, rejectUnauthorized ? '' : 'hello nobody')
          t.is(told.reject.length, rejectUnauthorized ? 1 : 0)
          if (rejectUnauthorized) t.regex(told.reject[0]!.message, /CERT_HAS_EXPIRED/)
        },
      )
    }
  }

  for (const rejectUnauthorized of [true, false]) {
    const what = rejectUnauthorized ? 'is refused' : 'is nobody, with rejectUnauthorized: false'
    test.serial(
      `a server whose issuer has expired meanwhile ${what} (${maxVersion})`,
      async (t) => {
        const { key, cert } = chainOf(2, 'serverAuth')
        const server = createServer({ key, cert, maxVersion }, (socket) =>
          socket.on('error', () => {}).end('hello'),
        )
        const port = await listenBare(t, server)
        const app = new Cio()
        closeAfter(t, app)
        const options = {
          host: 'localhost',
          family: 4 as const,
          port,
          ca: path('root.crt'),
          maxVersion,
        }
        const session = await new Promise<Buffer>((resolve, reject) => {
          app.once('handshake', (socket) => socket.once('session', resolve))
          app.connect(options).catch(reject)
        })
        const before = await app.connect({ ...options, session })
        t.true((before.socket as TLSSocket).isSessionReused())
        t.is(before.peer?.name, 'localhost')

        daysAhead(3)
        const connecting = app.connect({ ...options, session, rejectUnauthorized })
        if (rejectUnauthorized) {
          const error = await t.throwsAsync(connecting, { code: 'ERR_CIO_REJECTED' })
          t.like(error.cause, { code: 'CERT_HAS_EXPIRED' })
        } else t.is((await connecting).peer, null)
      },
    )
  }
}

for (const isSent of [true, false]) {
  if (isSent && nodeTakesIssuers) continue
  const where = isSent ? 'that the client sends' : 'in `ca`'
  test.serial(`certificateExpiry counts an issuer ${where} that expires first`, async (t) => {
    const { key, leaf, issuer, cert } = chainOf(9, 'clientAuth')
    const ca = isSent ? contents('root.crt') : [contents('root.crt'), issuer]
    const options = { ...loaded('server'), ca, requestCert: true, ticketKeys: Buffer.alloc(48, 7) }
    const as = { key, cert: isSent ? cert : leaf }
    const lasting = (margin: number) => {
      const app = new Cio()
        .useConnection(certificateExpiry({ margin }))
        .useConnection(writeGreeting)
      return { told: recordEvents(app), server: serve(t, app, options) }
    }
    // The issuer has 9 days, and its certificate 20.
    const within = lasting(8 * day)
    const session = await openSession(t, await within.server, as)
    t.is((await connectTls(t, await within.server, as)).said, 'hello localhost')
    t.deepEqual(within.told.remoteError, [])

    const beyond = lasting(10 * day)
    const server = await beyond.server
    // In full, and resumed: a session has the dates of the issuer only by what this process has noted.
    t.is((await connectTls(t, server, as)).said, '')
    t.like(await connectTls(t, server, { ...as, session }), { said: '', resumed: true })
    t.is(beyond.told.remoteError.length, 2)
    for (const error of beyond.told.remoteError) {
      t.like(error, { code: 'ERR_CIO_EXPIRED', fault: 'remote' })
      t.regex(error.message, /^an issuer of the certificate of .* is valid until/)
    }
  })

  test.serial(`a client counts an issuer of the server ${where} that expires first`, async (t) => {
    const { key, leaf, issuer, cert } = chainOf(9, 'serverAuth')
    const ca = isSent ? contents('root.crt') : [contents('root.crt'), issuer]
    const server = await serve(t, new Cio(), { key, cert: isSent ? cert : leaf })
    const app = new Cio().useClient(certificateExpiry({ margin: 10 * day }))
    const dialed = app.connect({ port: server.port, host: 'localhost', ca })
    await t.throwsAsync(dialed, { code: 'ERR_CIO_EXPIRED', message: /^an issuer of/ })
  })
}

test.serial('a session whose issuer was renewed meanwhile is resumed', async (t) => {
  const { key, leaf, renewed, cert } = chainOf(2, 'clientAuth')
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const session = await openSession(t, server, { key, cert })
  t.like(await connectTls(t, server, { key, cert: Buffer.concat([leaf, renewed]) }), {
    said: 'hello localhost',
  })
  daysAhead(3)
  t.like(await connectTls(t, server, { key, cert, session }), {
    said: 'hello localhost',
    resumed: true,
  })
})

test.serial('a trust store that has accepted a certificate looks at the dates again', (t) => {
  const { leaf, issuer } = chainOf(2, 'clientAuth')
  const trust = new TrustStore({ ca: [contents('root.crt'), issuer] })
  const certificate = new X509Certificate(leaf)
  t.is(trust.refuses(certificate), undefined)
  daysAhead(1)
  t.is(trust.refuses(certificate), undefined)
  daysAhead(3)
  t.regex(trust.refuses(certificate) ?? 'accepted', /has expired, or depends on one that has/)
})

import test, { type ExecutionContext } from 'ava'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectNet } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, type SecureVersion, createServer } from 'node:tls'
import {
  type ClientContext,
  type ConnectOptions,
  type ListenOptions,
  Cio,
  allowList,
} from '../../src/index.ts'
import { identity, loaded, path } from '../support/certificates.ts'
import { many } from '../support/long.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'
import {
  type Recorded,
  type TlsSession,
  writeGreeting,
  recordEvents,
  mayBringTls,
  openSession,
  connectTls,
  connectByOpenssl,
} from '../support/tls.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }

/** Connects to its own server, and waits until the server side has closed too. */
async function meet(
  t: ExecutionContext,
  app: Cio,
  server: { port: number },
  options: ConnectionOptions,
): Promise<TlsSession> {
  const over = once(app, 'close')
  const result = await connectTls(t, server, options)
  await over
  return result
}

interface Row {
  /** The presented certificate, as the subject of the title. */
  readonly what: string
  /** The base name of its files; without it, the client presents no certificate. */
  readonly file?: string
  /** The greeting for an admitted client. */
  readonly said?: string
  readonly options?: ListenOptions
}

const admitted: readonly Row[] = [
  { what: 'the right certificate', file: 'alice' },
  { what: 'a certificate with its intermediate', file: 'viaInterChain' },
  { what: 'a certificate without any extended usage', file: 'noEku' },
  { what: 'a common name in a BMPString', file: 'bmp' },
  {
    what: 'a certificate that is not on the revocation list',
    file: 'alice',
    options: { crl: path('revoked.crl') },
  },
]

const refused: readonly Row[] = [
  { what: 'no certificate' },
  { what: 'a certificate for servers', file: 'serverOnly' },
  { what: 'a certificate for signing code', file: 'codeSigning' },
  { what: 'a certificate whose key may only sign certificates', file: 'certSign' },
  { what: 'a certificate of another CA', file: 'otherCa' },
  { what: 'a certificate of a CA with the same name', file: 'viaFakeRoot' },
  { what: 'a self-signed certificate with an allowed name', file: 'selfSigned' },
  { what: 'an expired certificate', file: 'expired' },
  { what: 'a certificate that is not yet valid', file: 'future' },
  { what: 'a certificate without its intermediate', file: 'viaInter' },
  { what: 'a chain through a certificate that is no CA', file: 'viaNotCaChain' },
  { what: 'a chain that is longer than a CA allows', file: 'viaSubChain' },
  { what: 'a chain outside the name constraints of a CA', file: 'viaConstrainedChain' },
  { what: 'a certificate signed with SHA-1', file: 'sha1' },
  { what: 'a certificate with two common names', file: 'twoNames' },
  { what: 'a certificate with two common names, the other first', file: 'twoNamesReversed' },
  { what: 'a certificate with two common names in one set', file: 'multiValued' },
  { what: 'an allowed name with a space after it', file: 'space' },
  { what: 'an allowed name in upper case', file: 'upperCase' },
  { what: 'a name with an umlaut', file: 'unicode' },
  { what: 'a certificate without a common name', file: 'noName' },
  { what: 'an allowed name that is only a DNS name', file: 'sanOnly' },
  { what: 'a URI that looks like an allowed DNS name', file: 'sanInjection' },
  { what: 'an allowed name that is only within other kinds of name', file: 'otherNames' },
  { what: 'a name with an allowed name behind a line feed', file: 'lineFeed' },
  { what: 'an allowed name before a NUL in a UTF8String', file: 'nulUtf8' },
  { what: 'an allowed name before a NUL in a BMPString', file: 'nulBmp' },
  { what: 'an allowed name before a NUL in a T61String', file: 'nulT61' },
  { what: 'an allowed name with a NUL in the unit', file: 'nulUnit' },
  { what: 'an allowed name with a NUL in a DNS name', file: 'nulDns' },
  { what: 'an allowed name beside one of bits', file: 'bitString' },
  { what: 'an allowed name beside an organization of bits', file: 'bitStringUnit' },
  { what: 'a name that is a sequence', file: 'sequenceName' },
  { what: 'an allowed name in pieces', file: 'constructedName' },
  { what: 'an allowed name beside an address that is none', file: 'oddAddress' },
  { what: 'an allowed name at the start of 4 KiB', file: 'longName' },
  { what: 'another name of the right CA', file: 'mallory' },
  { what: 'a revoked certificate', file: 'revoked', options: { crl: path('revoked.crl') } },
  {
    what: 'a certificate under a revocation list that has expired',
    file: 'alice',
    options: { crl: path('expired.crl') },
  },
  {
    what: 'a chain with an intermediate that has no revocation list',
    file: 'viaInterChain',
    options: { crl: path('empty.crl') },
  },
]

const versions: readonly SecureVersion[] = ['TLSv1.2', 'TLSv1.3']

for (const version of versions) {
  for (const rejectUnauthorized of many([true, false], [version === 'TLSv1.3'])) {
    const conditions = `${version}, rejectUnauthorized: ${rejectUnauthorized}`
    for (const { what, file, options } of admitted) {
      test(`${what} is admitted, resumed as well (${conditions})`, async (t) => {
        const { full, resumed, told } = await meetTwice(
          t,
          file,
          { ...options, rejectUnauthorized },
          version,
        )
        t.deepEqual(full, { said: 'hello alice', resumed: false, code: undefined })
        t.deepEqual(resumed, { said: 'hello alice', resumed: true, code: undefined })
        t.deepEqual(told, { reject: [], remoteError: [], error: [] })
      })
    }
    // Each with one version, in the short form.
    const some = refused.filter((_, at) => at % 2 === versions.indexOf(version))
    for (const { what, file, options } of many(refused, some)) {
      test(`${what} is rejected, resumed as well (${conditions})`, async (t) => {
        const { full, resumed, told } = await meetTwice(
          t,
          file,
          { ...options, rejectUnauthorized },
          version,
        )
        t.is(full.said, '')
        t.is(resumed.said, '')
        // Otherwise the second connection would prove nothing about resumed sessions.
        t.true(resumed.resumed)
        t.deepEqual(
          told.reject.map((error) => (error as { code?: string }).code),
          ['ERR_CIO_REJECTED', 'ERR_CIO_REJECTED'],
        )
        for (const { message } of told.reject) t.regex(message, /^127\.0\.0\.1:\d+ .*rejected by/)
        t.deepEqual([...told.remoteError, ...told.error], [])
      })
    }
  }
}

/**
 * One connection with a full handshake and one that resumes its session; the tickets come from a
 * server that admits every client.
 */
async function meetTwice(
  t: ExecutionContext,
  file: string | undefined,
  options: ListenOptions,
  version: SecureVersion,
): Promise<{ full: TlsSession; resumed: TlsSession; told: Recorded }> {
  const ticketKeys = randomBytes(48)
  const app = new Cio().useConnection(allowList(['alice'])).useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app, { ...mutual, ...options, ticketKeys })
  const open = await serve(t, new Cio().useConnection(writeGreeting), {
    ...mutual,
    ...options,
    ticketKeys,
    rejectUnauthorized: false,
  })

  const client = {
    ...(file && loaded(file)),
    minVersion: version,
    maxVersion: version,
    // Otherwise the client cannot load its SHA-1 certificate.
    ciphers: 'DEFAULT@SECLEVEL=0',
  }
  const full = await meet(t, app, server, client)
  const session = await openSession(t, open, client)
  const resumed = await meet(t, app, server, { ...client, session })
  t.is(server.connections.size, 0)
  return { full, resumed, told }
}

test('a common name of 64 KiB fails its handshake, and the server goes on', async (t) => {
  const app = new Cio().useConnection(allowList(['alice'])).useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app, mutual)
  t.is((await meet(t, app, server, loaded('hugeName'))).said, '')
  t.is(told.reject.length + told.remoteError.length, 1)
  t.is((await meet(t, app, server, loaded('alice'))).said, 'hello alice')
  t.deepEqual(told.error, [])
})

test('a client that is removed from the list is rejected when it resumes its session', async (t) => {
  const allowed = new Set(['alice'])
  const app = new Cio()
    .useConnection(allowList((peer) => allowed.has(peer.name ?? '')))
    .useConnection(writeGreeting)
  const server = await serve(t, app, mutual)
  const session = await openSession(t, server, loaded('alice'))
  t.like(await meet(t, app, server, { ...loaded('alice'), session }), {
    said: 'hello alice',
    resumed: true,
  })
  allowed.clear()
  t.like(await meet(t, app, server, { ...loaded('alice'), session }), { said: '', resumed: true })
})

for (const version of versions) {
  for (const [what, change] of [
    ['a revocation list', { crl: path('revoked.crl') }],
    ['another CA in place of its own', { ca: path('other.crt') }],
  ] as const) {
    test(`a server that has ${what} does not accept a ticket, with the same ticket keys (${version})`, async (t) => {
      const ticketKeys = randomBytes(48)
      const client = { ...loaded('revoked'), maxVersion: version }
      const before = await serve(t, new Cio().useConnection(writeGreeting), {
        ...mutual,
        ticketKeys,
      })
      const session = await openSession(t, before, client)

      const app = new Cio().useConnection(allowList(['alice'])).useConnection(writeGreeting)
      const told = recordEvents(app)
      const after = await serve(t, app, { ...mutual, ...change, ticketKeys })
      t.like(await meet(t, app, after, { ...client, session }), { said: '', resumed: false })
      t.is(told.reject.length, 1)
    })
  }
}

test('the reason names the address, the chain error and the claimed subject, marked unverified', async (t) => {
  const app = new Cio().useConnection(allowList(['alice']))
  const told = recordEvents(app)
  const server = await serve(t, app, { ...mutual, rejectUnauthorized: false })
  await meet(t, app, server, loaded('selfSigned'))
  const [error] = told.reject
  t.regex(
    error!.message,
    /^127\.0\.0\.1:\d+ was rejected by `allowList`: .*DEPTH_ZERO_SELF_SIGNED_CERT.*unverified, is "CN=alice"$/,
  )
})

test('the name that a peer claims is escaped and shortened in the reason', async (t) => {
  const app = new Cio().useConnection(allowList(['alice']))
  const told = recordEvents(app)
  const server = await serve(t, app, mutual)
  await meet(t, app, server, loaded('lineFeed'))
  await meet(t, app, server, loaded('longName'))
  t.true(told.reject[0]!.message.includes(String.raw`("mallory\nalice\u001b[2J") was rejected`))
  t.true(told.reject[1]!.message.length < 200)
})

test('an empty list admits no client', async (t) => {
  const app = new Cio().useConnection(allowList([])).useConnection(writeGreeting)
  const server = await serve(t, app, mutual)
  t.is((await meet(t, app, server, loaded('alice'))).said, '')
})

test('a server that requests no certificate admits no client', async (t) => {
  const app = new Cio()
    .useConnection(mayBringTls)
    .useConnection(allowList(['alice']))
    .useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app, { ...mutual, requestCert: false })
  t.is((await meet(t, app, server, loaded('alice'))).said, '')
  t.is(told.reject.length, 1)
})

test('a server without TLS admits no client', async (t) => {
  const app = new Cio()
    .useConnection(mayBringTls)
    .useConnection(allowList(/./))
    .useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app)
  const over = once(app, 'close')
  t.is(await readAll(await dial(t, server)), '')
  await over
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
})

test('a Unix socket admits no client', async (t) => {
  const app = new Cio()
    .useConnection(mayBringTls)
    .useConnection(allowList(/./))
    .useConnection(writeGreeting)
  const told = recordEvents(app)
  const where = join(tmpdir(), `cio-allow-list-${process.pid}.sock`)
  closeAfter(t, app)
  await app.listen(where)
  const over = once(app, 'close')
  const client = connectNet(where)
  t.is(await readAll(client), '')
  await over
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
})

for (const version of ['-tls1_2', '-tls1_3']) {
  test(`openssl s_client ${version} is admitted as alice, and not as others`, async (t) => {
    const app = new Cio().useConnection(allowList(['alice'])).useConnection(writeGreeting)
    const told = recordEvents(app)
    const server = await serve(t, app, mutual)
    const as = (name: string): Promise<string> =>
      connectByOpenssl(
        t,
        server,
        version,
        '-key',
        path(`${name}.key`),
        '-cert',
        path(`${name}.crt`),
      )
    const over = once(app, 'close')
    t.is(await as('alice'), 'hello alice')
    await over
    for (const name of ['selfSigned', 'twoNames', 'nulUtf8', 'mallory', 'expired'])
      t.is(await as(name), '')
    t.is(await connectByOpenssl(t, server, version), '')
    t.is(told.reject.length, 6)
    t.deepEqual([...told.remoteError, ...told.error], [])
  })
}

// On a client, the list checks the server.

async function bareServer(t: ExecutionContext, name: string): Promise<number> {
  const server = createServer(loaded(name), (socket) => {
    socket.on('error', () => {})
    socket.resume()
    socket.write('hello')
  })
  server.on('tlsClientError', () => {})
  return listenBare(t, server)
}

async function connectTo(
  t: ExecutionContext,
  app: Cio,
  port: number,
  options: ConnectOptions = {},
): Promise<ClientContext> {
  closeAfter(t, app)
  // As long as a busy machine takes.
  const patient = { connectTimeout: Infinity, handshakeTimeout: Infinity }
  return app.connect({ port, host: '127.0.0.1', ca: path('root.crt'), ...patient, ...options })
}

test('a client admits a server by its name', async (t) => {
  const port = await bareServer(t, 'server')
  const client = await connectTo(t, new Cio().useClient(allowList(['localhost'])), port)
  t.is(client.peer?.name, 'localhost')
  t.deepEqual(client.peer?.names.dns, ['localhost'])
})

test('a client rejects a server with another name, even if its host name is correct', async (t) => {
  const port = await bareServer(t, 'server')
  const app = new Cio().useClient(allowList(['second']))
  const told = recordEvents(app)
  await t.throwsAsync(connectTo(t, app, port), { code: 'ERR_CIO_REJECTED' })
  t.is(told.reject.length, 1)
})

for (const [what, file, options] of [
  ['for another host', 'server', { servername: 'example.org' }],
  ['of another CA', 'serverOther', {}],
  ['for clients', 'serverForClients', {}],
  ['that has expired', 'serverExpired', {}],
  ['that is not yet valid', 'serverFuture', {}],
] as const) {
  test(`a client rejects a server with a certificate ${what}`, async (t) => {
    const port = await bareServer(t, file)
    const app = new Cio()
    const told = recordEvents(app)
    await t.throwsAsync(connectTo(t, app, port, options), { code: 'ERR_CIO_REJECTED' })
    t.is(told.reject.length, 1)
  })

  test(`with rejectUnauthorized: false, a client has no peer for a certificate ${what}, and its list rejects it`, async (t) => {
    const port = await bareServer(t, file)
    const lax = { ...options, rejectUnauthorized: false }
    t.is((await connectTo(t, new Cio(), port, lax)).peer, null)
    const strict = new Cio().useClient(allowList(/./))
    await t.throwsAsync(connectTo(t, strict, port, lax), { code: 'ERR_CIO_REJECTED' })
  })
}

test('a server without a common name is admitted by its DNS name', async (t) => {
  const port = await bareServer(t, 'serverNoName')
  const client = await connectTo(t, new Cio().useClient(allowList({ dns: 'localhost' })), port)
  t.is(client.peer?.name, null)
  const byName = new Cio().useClient(allowList(['localhost']))
  await t.throwsAsync(connectTo(t, byName, port), { code: 'ERR_CIO_REJECTED' })
})

test('a client without TLS admits no server', async (t) => {
  const server = await serve(t, new Cio())
  const app = new Cio().useClient(mayBringTls).useClient(allowList(/./))
  await t.throwsAsync(app.connect({ port: server.port, host: '127.0.0.1' }), {
    code: 'ERR_CIO_REJECTED',
  })
})

test('an unknown option is rejected when the list is created', (t) => {
  t.throws(() => allowList(['alice'], { rejectClient: () => {} } as object), {
    code: 'ERR_CIO_OPTION',
    message: /allowList: `rejectClient`/,
  })
})

for (const [what, who] of [
  ['nothing', undefined],
  ['null', null],
  ['a number', 7],
  ['an array in an array', [['alice']]],
  ['a null in an array', ['alice', null]],
] as const) {
  test(`a list of ${what} is rejected when it is created`, (t) => {
    t.throws(() => allowList(who as unknown as string[]), { code: 'ERR_CIO_OPTION' })
  })
}

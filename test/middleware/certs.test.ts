import test from 'ava'
import { execFile } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { createServer } from 'node:net'
import { relative } from 'node:path'
import { TLSSocket, createServer as createTlsServer } from 'node:tls'
import { pathToFileURL } from 'node:url'
import { inspect, promisify } from 'node:util'
import { type CertsOptions, type ListenOptions, Cio, certs, loadCerts } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { forgeList } from '../support/forge.ts'
import { closeAfter, listenBare, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, connectTls } from '../support/tls.ts'
import { wordsOf } from '../support/typescript.ts'

const secret = 'correct-horse'
const pem = (file: string): string => contents(file).toString()

// Valid material.

const ways: Readonly<Record<string, CertsOptions>> = {
  paths: identity('server'),
  'paths relative to the working directory': {
    key: relative('.', path('server.key')),
    cert: relative('.', path('server.crt')),
  },
  'file: URLs': { key: pathToFileURL(path('server.key')), cert: pathToFileURL(path('server.crt')) },
  'file: URLs as text': {
    key: pathToFileURL(path('server.key')).href,
    cert: pathToFileURL(path('server.crt')).href,
  },
  Buffers: loaded('server'),
  'PEM text': { key: pem('server.key'), cert: pem('server.crt') },
  'arrays of these': { key: [path('server.key')], cert: [pem('server.crt')] },
  'the aliases of cio 0.5': {
    private: path('server.key'),
    public: path('server.crt'),
    root: path('root.crt'),
  },
  'a locked key and its passphrase': {
    key: path('serverLocked.key'),
    cert: path('server.crt'),
    passphrase: secret,
  },
  'a locked key with a passphrase of its own': {
    key: { pem: path('serverLocked.key'), passphrase: secret },
    cert: path('server.crt'),
  },
  'a key that is locked in the old way': {
    key: path('serverRsaLocked.key'),
    cert: path('serverRsa.crt'),
    passphrase: secret,
  },
  'an RSA key': identity('serverRsa'),
  'an Ed25519 key': identity('serverEd25519'),
  'a PKCS#12 file with a passphrase': { pfx: path('server.p12'), passphrase: secret },
  'a PKCS#12 file with a passphrase of its own': {
    pfx: [{ buf: path('server.p12'), passphrase: secret }],
  },
  'a PKCS#12 file as a Buffer': { pfx: contents('serverRsa.p12'), passphrase: '' },
  'a PKCS#12 file of an Ed25519 key': { pfx: path('serverEd25519.p12'), passphrase: '' },
  'a certificate with its intermediate': identity('serverViaInterChain'),
  'pairs of several kinds of key': {
    key: [path('server.key'), path('serverRsa.key')],
    cert: [path('server.crt'), path('serverRsa.crt')],
  },
  'pairs in different orders': {
    key: [path('serverRsa.key'), path('server.key')],
    cert: [path('server.crt'), path('serverRsa.crt')],
  },
  'Diffie-Hellman parameters': { ...identity('server'), dhparam: path('dh.pem') },
  'automatic Diffie-Hellman parameters': { ...identity('server'), dhparam: 'auto' },
  'several CAs': { ...identity('server'), ca: [path('root.crt'), contents('other.crt')] },
}
for (const [what, options] of Object.entries(ways)) {
  test(`a server accepts ${what}, by certs() and by listen()`, async (t) => {
    // A CA alone would request a certificate from the client.
    const requestCert = false
    const registered = new Cio().useServer(certs(options)).useConnection(writeGreeting)
    t.is((await connectTls(t, await serve(t, registered, { requestCert }))).said, 'hello nobody')
    const direct = new Cio().useConnection(writeGreeting)
    t.is(
      (await connectTls(t, await serve(t, direct, { ...options, requestCert }))).said,
      'hello nobody',
    )
  })
}

test('a server with several types of key presents a certificate that the client can verify', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, ways['pairs of several kinds of key'])
  for (const ciphers of ['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256']) {
    t.is((await connectTls(t, server, { ciphers, maxVersion: 'TLSv1.2' })).said, 'hello nobody')
  }
})

const clientWays: Readonly<Record<string, CertsOptions>> = {
  paths: { ...identity('alice'), ca: path('root.crt') },
  'aliases and Buffers': {
    private: contents('alice.key'),
    public: contents('alice.crt'),
    root: contents('root.crt'),
  },
}
for (const [what, options] of Object.entries(clientWays)) {
  test(`a client accepts ${what}, by certs() and by connect()`, async (t) => {
    const greeter = new Cio().useConnection(writeGreeting)
    const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
    const { port } = await serve(t, greeter, mutual)
    for (const [app, given] of [
      [new Cio().useClient(certs(options)), {}],
      [new Cio(), options],
    ] as const) {
      closeAfter(t, app)
      let said = ''
      app.useClient(async (ctx, next) => {
        ctx.stream.on('data', (chunk: Buffer) => (said += chunk.toString()))
        await next()
      })
      const client = await app.connect({ port, host: '127.0.0.1', ...given })
      await client.closed
      t.is(said, 'hello alice')
    }
  })
}

test('options of listen() take precedence over options of certs()', async (t) => {
  const app = new Cio().useServer(certs(identity('serverOther'))).useConnection(writeGreeting)
  t.is((await connectTls(t, await serve(t, app, identity('server')))).said, 'hello nobody')
})

test('ctx.options has the contents of the files under Node’s names', async (t) => {
  const app = new Cio()
  const server = await serve(t, app, {
    private: path('server.key'),
    public: path('server.crt'),
    root: path('root.crt'),
  })
  const { key, cert, ca, ...rest } = server.options
  t.deepEqual(
    [key, cert, ca],
    [[contents('server.key')], [contents('server.crt')], [contents('root.crt')]],
  )
  t.deepEqual([rest.private, rest.public, rest.root], [undefined, undefined, undefined])
})

test('every revocation list of a file applies, not only the first', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const told = recordEvents(app)
  const lists = [forgeList('utf8', 'other', '4711'), contents('revoked.crl').toString()]
  for (const crl of [lists.join(''), lists.toReversed().join('about the next list\n')]) {
    const server = await serve(t, app, {
      ...identity('server'),
      ca: path('root.crt'),
      crl: Buffer.from(crl),
    })
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
    t.is((await connectTls(t, server, loaded('revoked'))).said, '')
    t.regex(told.reject.at(-1)!.message, /CERT_REVOKED/)
  }
})

for (const [kind, says] of [
  ['delta', /is a delta list, .* give the complete list/],
  ['indirect', /is an indirect list/],
  ['reasons', /covers some reasons only/],
  ['critical', /has a critical extension \(2a0304\)/],
] as const) {
  test(`a revocation list that a handshake would pass over is refused (${kind})`, async (t) => {
    const app = new Cio()
    const all = { ...identity('server'), ca: path('root.crt') }
    for (const crl of [path(`${kind}.crl`), [path('empty.crl'), path(`${kind}.crl`)]]) {
      for (const options of [
        { ...all, crl },
        { ...all, sni: { a: { ...all, crl } } },
      ]) {
        await t.throwsAsync(app.listen(0, options), { code: 'ERR_CIO_CERTIFICATE', message: says })
      }
    }
    // Without `certs`, and from a middleware of others.
    const bare = new Cio().useServer(async (ctx, next) => {
      await ctx.configure((options) => ({ ...options, crl: contents(`${kind}.crl`) }))
      return next()
    })
    await t.throwsAsync(bare.listen(0, all), { code: 'ERR_CIO_CERTIFICATE', message: says })
  })
}

test('a revocation list on a server that asks for no certificate is refused', async (t) => {
  const listed = { ...identity('server'), crl: path('revoked.crl') }
  const error = { code: 'ERR_CIO_CERTIFICATE', message: /`crl` would revoke no client.*`ca`/ }
  await t.throwsAsync(new Cio().listen(0, listed), error)
  await t.throwsAsync(new Cio().useServer(certs(listed)).listen(0), error)
  await t.notThrowsAsync(serve(t, new Cio(), { ...listed, requestCert: false }))
})

test('a revocation list rejects the certificates on it', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const told = recordEvents(app)
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const server = await serve(t, app, { ...mutual, crl: [path('revoked.crl')] })
  t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
  t.is((await connectTls(t, server, loaded('revoked'))).said, '')
  t.regex(told.reject[0]!.message, /CERT_REVOKED/)
})

// Invalid material.

interface Fault {
  readonly options: CertsOptions
  /** The names that the message must contain: the option and its source. */
  readonly names: readonly string[]
  readonly says: RegExp
}

const server = identity('server')
const given = loaded('server')
const faults: Readonly<Record<string, Fault>> = {
  'a key that is not there': {
    options: { ...server, key: path('absent.key') },
    names: ['`key`', path('absent.key')],
    says: /ENOENT/,
  },
  'a certificate that is not there': {
    options: { ...server, cert: path('absent.crt') },
    names: ['`cert`', path('absent.crt')],
    says: /ENOENT/,
  },
  'a CA that is not there': {
    options: { ...server, ca: [path('root.crt'), path('absent.crt')] },
    names: ['`ca`', path('absent.crt')],
    says: /ENOENT/,
  },
  'a PKCS#12 file that is not there': {
    options: { pfx: path('absent.p12') },
    names: ['`pfx`', path('absent.p12')],
    says: /ENOENT/,
  },
  'a revocation list that is not there': {
    options: { ...server, crl: path('absent.crl') },
    names: ['`crl`', path('absent.crl')],
    says: /ENOENT/,
  },
  'Diffie-Hellman parameters that are not there': {
    options: { ...server, dhparam: path('absent.pem') },
    names: ['`dhparam`', path('absent.pem')],
    says: /ENOENT/,
  },
  'a directory': {
    options: { ...server, key: path('newcerts') },
    names: ['`key`', path('newcerts')],
    says: /EISDIR/,
  },
  'an alias that is not there': {
    options: { private: path('absent.key'), public: path('server.crt') },
    names: ['`key`', path('absent.key')],
    says: /ENOENT/,
  },
  'an empty key': {
    options: { ...server, key: path('empty.pem') },
    names: ['`key`', path('empty.pem')],
    says: /is empty/,
  },
  'an empty CA': {
    options: { ...server, ca: path('empty.pem') },
    names: ['`ca`', path('empty.pem')],
    says: /is empty/,
  },
  'garbage for a key': {
    options: { ...server, key: path('garbage.pem') },
    names: ['`key`', path('garbage.pem')],
    says: /not in PEM/,
  },
  'garbage for a certificate': {
    options: { ...server, cert: path('garbage.pem') },
    names: ['`cert`', path('garbage.pem')],
    says: /not in PEM/,
  },
  'garbage for a CA': {
    options: { ...server, ca: path('garbage.pem') },
    names: ['`ca`', path('garbage.pem')],
    says: /not in PEM/,
  },
  'garbage for a CA, as a Buffer': {
    options: { ...server, ca: contents('garbage.pem') },
    names: ['`ca`', 'as given'],
    says: /not in PEM/,
  },
  'garbage for a PKCS#12 file': {
    options: { pfx: path('garbage.pem') },
    names: ['`pfx`', path('garbage.pem')],
    says: /not PKCS#12/,
  },
  'garbage for a revocation list': {
    options: { ...server, crl: path('garbage.pem') },
    names: ['`crl`', path('garbage.pem')],
    says: /not a revocation list/,
  },
  'garbage for Diffie-Hellman parameters': {
    options: { ...server, dhparam: path('garbage.pem') },
    names: ['`dhparam`', path('garbage.pem')],
    says: /not in PEM/,
  },
  'a certificate for Diffie-Hellman parameters': {
    options: { ...server, dhparam: path('server.crt') },
    names: ['`dhparam`', path('server.crt')],
    says: /holds a CERTIFICATE, where a DH PARAMETERS belongs/,
  },
  'PEM whose contents are no certificate': {
    options: { ...server, ca: path('notReally.crt') },
    names: ['`ca`', path('notReally.crt')],
    says: /not a certificate/,
  },
  'a certificate that is cut off': {
    options: { ...server, cert: path('cutOff.crt') },
    names: ['`cert`', path('cutOff.crt')],
    says: /cut off/,
  },
  'a certificate in DER': {
    options: { ...server, cert: path('server.der.crt') },
    names: ['`cert`', path('server.der.crt')],
    says: /in DER/,
  },
  'a key in DER': {
    options: { ...server, key: path('server.der.key') },
    names: ['`key`', path('server.der.key')],
    says: /in DER/,
  },
  'a certificate for a key': {
    options: { ...server, key: path('server.crt') },
    names: ['`key`', path('server.crt')],
    says: /holds a CERTIFICATE, where a PRIVATE KEY belongs/,
  },
  'a key for a certificate': {
    options: { ...server, cert: path('server.key') },
    names: ['`cert`', path('server.key')],
    says: /where a CERTIFICATE belongs/,
  },
  'a public key': {
    options: { ...server, key: path('serverRsa.pub') },
    names: ['`key`', path('serverRsa.pub')],
    says: /holds a PUBLIC KEY/,
  },
  'a revocation list for a CA': {
    options: { ...server, ca: path('empty.crl') },
    names: ['`ca`', path('empty.crl')],
    says: /holds a X509 CRL/,
  },
  'the key of another certificate': {
    options: { ...server, key: path('alice.key') },
    names: ['`cert`', path('server.crt'), path('alice.key')],
    says: /does not belong to/,
  },
  'the key of another certificate, of another kind': {
    options: { ...server, key: path('serverRsa.key') },
    names: ['`cert`', path('server.crt'), path('serverRsa.key')],
    says: /does not belong to/,
  },
  'a second pair that does not fit': {
    options: {
      key: [path('server.key'), path('alice.key')],
      cert: [path('server.crt'), path('serverRsa.crt')],
    },
    names: ['`cert`', path('serverRsa.crt')],
    says: /does not belong to/,
  },
  'a key too many': {
    options: { ...server, key: [path('server.key'), path('alice.key')] },
    names: ['`key`', path('alice.key')],
    says: /belongs to none/,
  },
  'two pairs of the same kind of key': {
    options: {
      key: [path('server.key'), path('server2.key')],
      cert: [path('server.crt'), path('server2.crt')],
    },
    names: ['`cert`', path('server2.crt'), path('server.crt')],
    says: /same kind \(ec\)/,
  },
  'a chain in the wrong order': {
    options: { ...server, cert: path('wrongOrder.crt') },
    names: ['`cert`', path('wrongOrder.crt')],
    says: /begins with another certificate/,
  },
  'a key without a certificate': {
    options: { key: path('server.key') },
    names: ['`key`', path('server.key')],
    says: /no `cert`/,
  },
  'a certificate without a key': {
    options: { cert: path('server.crt') },
    names: ['`cert`', path('server.crt')],
    says: /no `key`/,
  },
  'a certificate that has expired': {
    options: identity('serverExpired'),
    names: ['`cert`', path('serverExpired.crt')],
    says: /expired on Feb {2}1 .*2020/,
  },
  'a certificate that is not yet valid': {
    options: identity('serverFuture'),
    names: ['`cert`', path('serverFuture.crt')],
    says: /not valid before Jan {2}1 .*2090/,
  },
  'a certificate in PKCS#12 that has expired': {
    options: { pfx: path('serverExpired.p12'), passphrase: '' },
    names: ['`pfx`', path('serverExpired.p12')],
    says: /expired on/,
  },
  'a PKCS#12 file without a key': {
    options: { pfx: path('keyless.p12'), passphrase: '' },
    names: ['`pfx`', path('keyless.p12')],
    says: /./,
  },
  'a locked key without its passphrase': {
    options: { ...server, key: path('serverLocked.key') },
    names: ['`key`', path('serverLocked.key')],
    says: /encrypted; give its `passphrase`/,
  },
  'a locked key with the wrong passphrase': {
    options: { ...server, key: path('serverLocked.key'), passphrase: 'wrong-horse' },
    names: ['`key`', path('serverLocked.key')],
    says: /cannot be decrypted/,
  },
  'a locked key with the wrong passphrase of its own': {
    options: { ...server, key: { pem: contents('serverLocked.key'), passphrase: 'wrong-horse' } },
    names: ['`key`', 'as given'],
    says: /cannot be decrypted/,
  },
  'a PKCS#12 file with the wrong passphrase': {
    options: { pfx: path('server.p12'), passphrase: 'wrong-horse' },
    names: ['`pfx`', path('server.p12')],
    says: /missing or wrong/,
  },
  // openssl/openssl#12840
  'a PKCS#12 file of before OpenSSL 3, with the right passphrase': {
    options: { pfx: path('legacy.p12'), passphrase: secret },
    names: ['`pfx`', path('legacy.p12')],
    says: /is encrypted in a way that OpenSSL .* does not read.*openssl pkcs12 -legacy/,
  },
  'a PKCS#12 file of before OpenSSL 3, with the wrong passphrase': {
    options: { pfx: path('legacy.p12'), passphrase: 'wrong-horse' },
    names: ['`pfx`', path('legacy.p12')],
    says: /missing or wrong/,
  },
  'a PKCS#12 file without its passphrase': {
    options: { pfx: contents('server.p12') },
    names: ['`pfx`', 'as given'],
    says: /missing or wrong/,
  },
  'an empty string': {
    options: { ...given, key: '' },
    names: ['`key`', 'as given'],
    says: /is an empty string/,
  },
  'a key without its first line': {
    options: { ...given, key: pem('server.key').replace(/-----.*-----\n/, '') },
    names: ['`key`', 'as given'],
    says: /neither a path nor in PEM/,
  },
  'a key in base64 alone': {
    options: {
      ...given,
      key: createPrivateKey(contents('server.key'))
        .export({ type: 'pkcs8', format: 'der' })
        .toString('base64'),
    },
    names: ['`key`', 'as given'],
    says: /neither a path nor in PEM/,
  },
}

/** Texts that must not be in an error: passphrases, and the content of any key. */
const secrets = [
  secret,
  'wrong-horse',
  ...['server', 'serverLocked', 'alice', 'serverRsa'].flatMap((name) =>
    pem(`${name}.key`)
      .split('\n')
      .filter((line) => line.length > 20 && !line.startsWith('---') && !line.includes(':')),
  ),
]

/** All visible text of an error, including its causes and hidden fields. */
function everything(error: unknown): string {
  let text = inspect(error, { depth: 10, showHidden: true })
  for (let at = error; at instanceof Error; at = at.cause) text += `${at.message}\n${at.stack}`
  return text
}

for (const [what, { options, names, says }] of Object.entries(faults)) {
  test(`listen and connect reject ${what}: they name the option and the file, and reveal no secret`, async (t) => {
    const untouched = await listenBare(
      t,
      createServer((socket) => {
        t.fail('it connected')
        socket.destroy()
      }),
    )
    const connect = async (app: Cio, more: object = {}): Promise<unknown> =>
      app.connect({ port: untouched, host: '127.0.0.1', ...more })
    const attempts: (() => Promise<unknown>)[] = [
      () => serve(t, new Cio(), options as ListenOptions),
      () => serve(t, new Cio().useServer(certs(options))),
      () => connect(new Cio(), options),
      () => connect(new Cio().useClient(certs(options))),
    ]
    for (const attempt of attempts) {
      const error = await t.throwsAsync(attempt, { code: 'ERR_CIO_CERTIFICATE', message: says })
      for (const name of names)
        t.true(error?.message.includes(name), `${name} in: ${error?.message}`)
      const text = everything(error)
      for (const one of secrets) t.false(text.includes(one))
    }
  })
}

test('nothing listens if certs has failed', async (t) => {
  const app = new Cio()
  app.on('listening', () => t.fail('it listens'))
  await t.throwsAsync(serve(t, app, { ...server, key: path('absent.key') }))
})

const slips: readonly (readonly [what: string, options: object])[] = [
  ['an empty array of CAs', { ...server, ca: [] }],
  ['an empty array of keys', { ...server, key: [] }],
  ['a number', { ...server, key: 7 }],
  ['null', { ...server, key: null }],
  ['an empty object', { ...server, key: {} }],
  ['an array in an array', { ...server, cert: [[path('server.crt')]] }],
  [
    'a passphrase that is a number',
    { ...server, key: path('serverLocked.key'), passphrase: 271_828 },
  ],
  [
    'a passphrase of its own that is a number',
    { ...server, key: { pem: path('serverLocked.key'), passphrase: 271_828 } },
  ],
  ['a name and its alias', { ...server, private: path('server.key') }],
]
for (const [what, options] of slips) {
  test(`${what} is rejected, and is not revealed if it is secret`, async (t) => {
    const attempts = [
      async () => serve(t, new Cio(), options),
      async () => serve(t, new Cio().useServer(certs(options))),
    ]
    for (const attempt of attempts) {
      const error = await t.throwsAsync(attempt, { code: 'ERR_CIO_OPTION', message: /^certs: / })
      t.false(everything(error).includes('271828'))
    }
  })
}

test('an unknown option, and a name with its alias, are rejected when certs is created', (t) => {
  const code = 'ERR_CIO_OPTION'
  t.throws(() => certs({ certificate: path('server.crt') } as object), {
    code,
    message: /`certificate`/,
  })
  t.throws(() => certs({ cert: 'a', public: 'b' }), { code, message: /`public`.*`cert`/ })
})

test('a file that is undefined, as a variable of the environment that is not set, is refused', (t) => {
  const unset = process.env['CIO_TEST_THAT_IS_NOT_SET']
  for (const name of ['key', 'cert', 'ca', 'pfx', 'crl', 'private', 'public', 'root']) {
    for (const options of [{ [name]: unset }, { sni: { 'a.test': { [name]: unset } } }]) {
      const error = t.throws(() => certs(options as never), { code: 'ERR_CIO_OPTION' })
      t.is(
        error.message,
        `certs: expected \`${name}\` to be a path or its contents, or left out, got undefined`,
      )
    }
  }
  // A key may have none.
  t.notThrows(() => certs({ passphrase: unset } as never))
})

test('loadCerts returns material for Node, read and checked', async (t) => {
  const material = await loadCerts({ ...server, ca: path('root.crt') })
  t.deepEqual(Object.keys(material), ['key', 'cert', 'ca'])
  t.notThrows(() => createTlsServer(material).close())
  t.deepEqual(await loadCerts({}), {})
})

test('a key with its own passphrase keeps it', async (t) => {
  const key = { pem: path('serverLocked.key'), passphrase: secret }
  const material = await loadCerts({ key, cert: path('server.crt') })
  t.deepEqual(material.key, [{ pem: contents('serverLocked.key'), passphrase: secret }])
})

test('the debug lines have no passphrase and no key in them', async (t) => {
  const program = wordsOf(new URL('../fixtures/certs-debug.ts', import.meta.url))
  const env = { ...process.env, DEBUG: '*' }
  const run = promisify(execFile)(process.execPath, program, { env })
  const { stdout, stderr } = await run
  t.regex(stderr, /cio:certs reads key from .*serverLocked\.key/)
  t.regex(stderr, /cio:secure \d+ TLSv1/)
  for (const one of secrets) t.false((stdout + stderr).includes(one))
})

test('an encrypted connection uses the configured certificate', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const { port } = await serve(t, app, { pfx: path('server.p12'), passphrase: secret })
  const client = new Cio()
  t.teardown(() => client.close({ timeout: 0 }))
  const ctx = await client.connect({ port, host: '127.0.0.1', ca: path('root.crt') })
  t.true(ctx.socket instanceof TLSSocket)
  t.is(ctx.peer?.name, 'localhost')
})

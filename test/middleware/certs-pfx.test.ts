/** The contents of a PKCS#12 file. No CA in it is trusted. */

import test from 'ava'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { Cio, type ListenOptions, loadCerts, reconnect } from '../../src/index.ts'
import { contents, directory, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, listenBare, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, connectTls } from '../support/tls.ts'

const passphrase = 'correct-hörse'

const scratch = mkdtempSync(join(tmpdir(), 'cio-pfx-'))
test.after.always(() => rmSync(scratch, { recursive: true, force: true }))

function openssl(...words: string[]): void {
  execFileSync('openssl', words, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] })
}

let files = 0

/** The PKCS#12 file of a name, with additional certificates. */
function pfx(name: string, more: readonly Buffer[] = [], options: readonly string[] = []): Buffer {
  const file = join(scratch, String(++files))
  writeFileSync(`${file}.crt`, Buffer.concat([contents(`${name}.crt`), ...more]))
  const own = ['-inkey', `${name}.key`, '-in', `${file}.crt`, '-out', `${file}.p12`]
  openssl('pkcs12', '-export', ...own, '-passout', `pass:${passphrase}`, ...options)
  return readFileSync(`${file}.p12`)
}

/** The CA `other`, cross-signed by `root`. */
function crossSigned(): Buffer {
  const file = join(scratch, 'cross')
  writeFileSync(`${file}.ext`, 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign')
  openssl('req', '-new', '-key', 'other.key', '-subj', '/CN=other', '-out', `${file}.csr`)
  const by = ['-CA', 'root.crt', '-CAkey', 'root.key', '-set_serial', '4711', '-days', '5']
  openssl(
    'x509',
    '-req',
    '-in',
    `${file}.csr`,
    ...by,
    '-extfile',
    `${file}.ext`,
    '-out',
    `${file}.crt`,
  )
  return readFileSync(`${file}.crt`)
}

/** The same with indefinite lengths and split strings, as some programs write it. */
function asBer(der: Buffer): Buffer {
  const tag = der[0]!
  const long = der[1]! > 0x80 ? der[1]! - 0x80 : 0
  const start = 2 + long
  const length = long > 0 ? der.readUIntBE(2, long) : der[1]!
  const content = der.subarray(start, start + length)
  const end = Buffer.from([0, 0])
  if (tag === 0x04 && length > 8) {
    const half = length >> 1
    const pieces = [content.subarray(0, half), content.subarray(half)]
    const primitive = pieces.map((piece) =>
      piece.length < 0x80
        ? Buffer.concat([Buffer.from([0x04, piece.length]), piece])
        : Buffer.concat([Buffer.from([0x04, 0x82, piece.length >> 8, piece.length & 0xff]), piece]),
    )
    return Buffer.concat([Buffer.from([0x24, 0x80]), ...primitive, end])
  }
  if (!(tag & 0x20)) return der.subarray(0, start + length)
  const parts: Buffer[] = []
  for (let at = 0; at < content.length;) {
    const rest = content.subarray(at)
    const size = rest[1]! > 0x80 ? rest.readUIntBE(2, rest[1]! - 0x80) + rest[1]! - 0x80 : rest[1]!
    parts.push(asBer(rest.subarray(0, size + 2)))
    at += size + 2
  }
  return Buffer.concat([Buffer.from([tag, 0x80]), ...parts, end])
}

const old = ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1']
for (const [what, name, options] of [
  ['as OpenSSL writes it', 'alice', []],
  ['with Triple DES', 'alice', old],
  [
    'with two keys of Triple DES',
    'alice',
    ['-certpbe', 'PBE-SHA1-2DES', '-keypbe', 'PBE-SHA1-2DES'],
  ],
  ['with AES-128', 'alice', ['-certpbe', 'AES-128-CBC', '-keypbe', 'AES-128-CBC']],
  ['with AES-192', 'alice', ['-certpbe', 'AES-192-CBC', '-keypbe', 'AES-192-CBC']],
  ['with Triple DES by PBES2', 'alice', ['-certpbe', 'DES-EDE3-CBC', '-keypbe', 'DES-EDE3-CBC']],
  ['with its certificates as they are', 'alice', ['-certpbe', 'NONE']],
  ['with its key as it is', 'alice', ['-keypbe', 'NONE', '-certpbe', 'NONE']],
  ['with a name beside it', 'alice', ['-name', 'älice']],
  ['with an RSA key', 'serverRsa', []],
  ['with an Ed25519 key', 'serverEd25519', []],
  ['with an Ed25519 key, by Triple DES', 'serverEd25519', old],
] as const) {
  test(`a PKCS#12 file is read: ${what}`, async (t) => {
    const file = pfx(name, [contents('root.crt')], options)
    for (const content of [file, asBer(file)]) {
      const { key, cert, ...rest } = await loadCerts({ pfx: content, passphrase })
      const [pem] = cert as Buffer[]
      t.is(
        new X509Certificate(pem!).fingerprint256,
        new X509Certificate(contents(`${name}.crt`)).fingerprint256,
      )
      t.regex(String((key as Buffer[])[0]), /^-----BEGIN PRIVATE KEY-----/)
      t.deepEqual(Object.keys(rest), ['passphrase'])
    }
  })
}

for (const [what, options] of [
  ['as OpenSSL writes it', []],
  ['with Triple DES', old],
] as const) {
  test(`a PKCS#12 file without a passphrase is read: ${what}`, async (t) => {
    const file = pfx('alice', [], [...options, '-passout', 'pass:'])
    for (const given of [{ pfx: file }, { pfx: file, passphrase: '' }]) {
      t.is(((await loadCerts(given)).cert as Buffer[]).length, 1)
    }
  })
}

test('the intermediates of a PKCS#12 file follow its certificate, whatever their order', async (t) => {
  const file = pfx('viaSub', [
    contents('root.crt'),
    contents('inter0.crt'),
    contents('bob.crt'),
    contents('sub.crt'),
  ])
  const { cert } = await loadCerts({ pfx: file, passphrase })
  const blocks = String((cert as Buffer[])[0]).match(/-----BEGIN[^]*?-----END CERTIFICATE-----/g)!
  t.deepEqual(
    blocks.map((block) => new X509Certificate(block).subject),
    ['CN=alice', 'CN=sub', 'CN=inter0'],
  )
})

/** The file of a server, with the whole chain of its own CA. */
const foreign = (): Buffer => pfx('serverOther', [contents('other.crt')])
const ours = path('root.crt')

const servers: Readonly<Record<string, () => ListenOptions>> = {
  'of the server': () => ({ pfx: foreign(), passphrase, ca: ours }),
  'of a name': () => ({
    ...identity('server'),
    ca: ours,
    sni: { localhost: { pfx: foreign(), passphrase } },
  }),
  'of a name with its own CAs': () => ({
    ...identity('server'),
    ca: path('other.crt'),
    sni: { localhost: { pfx: foreign(), passphrase, ca: ours } },
  }),
  'of a server that trusts those of Node': () => ({
    pfx: foreign(),
    passphrase,
    requestCert: true,
  }),
}

for (const [what, options] of Object.entries(servers)) {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    test(`a certificate of the CA in a PKCS#12 file ${what} gives no identity (${version})`, async (t) => {
      const app = new Cio().useConnection(writeGreeting)
      const told = recordEvents(app)
      const server = await serve(t, app, options())
      const ca = contents('other.crt')
      const expected = what.includes('Node') ? '' : 'hello alice'
      const come = async (): Promise<string[]> => [
        (await connectTls(t, server, { ...loaded('otherCa'), ca, maxVersion: version })).said,
        (await connectTls(t, server, { ...loaded('alice'), ca, maxVersion: version })).said,
      ]
      t.deepEqual(await come(), ['', expected])
      await server.reload()
      t.deepEqual(await come(), ['', expected])
      t.is((told.reject[0] as NodeJS.ErrnoException).code, 'ERR_CIO_REJECTED')
    })
  }
}

test('a CA of a PKCS#12 file is accepted if our CA has cross-signed it and the client presents that', async (t) => {
  const cross = crossSigned()
  const app = new Cio().useConnection(writeGreeting)
  recordEvents(app)
  const file = pfx('serverOther', [contents('other.crt'), cross])
  const server = await serve(t, app, { pfx: file, passphrase, ca: ours })
  const { key, cert } = loaded('otherCa')
  const ca = contents('other.crt')
  t.is((await connectTls(t, server, { ca, key, cert })).said, '')
  const chain = Buffer.concat([cert, cross])
  t.is((await connectTls(t, server, { ca, key, cert: chain })).said, 'hello alice')
})

for (const [what, ca] of [
  ['other CAs', ours],
  ['none of its own', undefined],
] as const) {
  test(`a client trusts no server by its own PKCS#12 file, with ${what}`, async (t) => {
    const port = await listenBare(t, createTlsServer(loaded('serverOther')))
    const app = new Cio()
    closeAfter(t, app)
    const file = pfx('otherCa', [contents('other.crt')])
    const options = { host: 'localhost', family: 4, port, pfx: file, passphrase, ...(ca && { ca }) }
    await t.throwsAsync(app.connect(options), { code: 'ERR_CIO_REJECTED' })
  })
}

test('a client presents the certificate of its PKCS#12 file, also after it has reconnected', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, { ...identity('server'), ca: ours })
  const said: string[] = []
  const client = new Cio().useClient(reconnect({ delay: 1, retries: 1 }))
  closeAfter(t, client)
  client.useClient(async (ctx) => {
    for await (const chunk of ctx) said.push(chunk.toString())
  })
  const place = { host: 'localhost', family: 4, port: server.port }
  await client.connect({
    ...place,
    pfx: pfx('alice', [contents('root.crt')]),
    passphrase,
    ca: ours,
  })
  t.deepEqual(said, ['hello alice', 'hello alice'])
})

test('a PKCS#12 file is rejected if `certs` cannot read it', async (t) => {
  const app = new Cio()
  app.pipelines.server.remove('certs')
  app.pipelines.client.remove('certs')
  closeAfter(t, app)
  const given = { port: 0, pfx: foreign(), passphrase }
  await t.throwsAsync(app.listen(given), { code: 'ERR_CIO_CERTIFICATE' })
  const { port } = await serve(t, new Cio(), identity('server'))
  await t.throwsAsync(app.connect({ ...given, port }), { code: 'ERR_CIO_CERTIFICATE' })
})

test('a PKCS#12 file beside a certificate with the same type of key is rejected', async (t) => {
  const options = { ...identity('server'), pfx: pfx('alice'), passphrase }
  await t.throwsAsync(loadCerts(options), { code: 'ERR_CIO_CERTIFICATE', message: /same kind/ })
})

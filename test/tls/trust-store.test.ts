import test from 'ava'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { type TLSSocket, createServer, connect, rootCertificates } from 'node:tls'
import { trustHash } from '../../src/kit.ts'
import { presentedCertificate, presentedIssuers } from '../../src/identity/peer-certificate.ts'
import { RevocationList } from '../../src/identity/revocation-list.ts'
import { TrustStore } from '../../src/tls/trust-store.ts'
import { contents, loaded } from '../support/certificates.ts'
import { forgeList } from '../support/forge.ts'
import { listenBare } from '../support/serve.ts'
import type { ExecutionContext } from 'ava'

const certificate = (name: string): X509Certificate => new X509Certificate(contents(`${name}.crt`))
const root = contents('root.crt')

/** A client's certificate and the intermediates that it came with, as a handshake gives them. */
async function shaken(
  t: ExecutionContext,
  name: string,
): Promise<[X509Certificate, X509Certificate[]]> {
  const server = createServer({ ...loaded('server'), requestCert: true, rejectUnauthorized: false })
  const port = await listenBare(t, server)
  const client = connect({ port, host: '127.0.0.1', ...loaded(name), rejectUnauthorized: false })
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket]
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  return [new X509Certificate(presentedCertificate(socket)!), presentedIssuers(socket)]
}

for (const [what, name, ca, why] of [
  ['a certificate of a CA that is trusted', 'alice', root, undefined],
  ['a certificate of one of several CAs', 'alice', [contents('other.crt'), root], undefined],
  [
    'a certificate of one of the CAs of a bundle',
    'alice',
    Buffer.concat([contents('other.crt'), root]),
    undefined,
  ],
  ['a certificate of another CA', 'otherCa', root, /no CA that is trusted/],
  ['a certificate of a CA of the same name', 'viaFakeRoot', root, /no CA that is trusted/],
  ['a self-signed certificate', 'selfSigned', root, /no CA that is trusted/],
  ['a certificate that has expired', 'expired', root, /has expired/],
  ['a chain with its intermediate', 'viaInterChain', root, undefined],
  ['a chain without its intermediate', 'viaInter', root, /no CA that is trusted/],
  [
    'a chain whose intermediate the server has',
    'viaInter',
    [root, contents('inter.crt')],
    undefined,
  ],
  ['a chain to an intermediate alone', 'viaInterChain', contents('inter.crt'), /no CA/],
  ['a chain through a certificate that is no CA', 'viaNotCaChain', root, /no CA that is trusted/],
  ['a certificate under the roots of Node', 'alice', undefined, /no CA that is trusted/],
] as const) {
  test(`${what} is ${why ? 'refused' : 'accepted'}`, async (t) => {
    const refused = new TrustStore({ ca: ca as Buffer }).refuses(...(await shaken(t, name)))
    if (why) t.regex(refused ?? 'accepted', why)
    else t.is(refused, undefined)
  })
}

test('an intermediate is the end of a chain with allowPartialTrustChain', async (t) => {
  const trust = new TrustStore({ ca: contents('inter.crt'), allowPartialTrustChain: true })
  t.is(trust.refuses(...(await shaken(t, 'viaInterChain'))), undefined)
})

test('a root of Node accepts itself', (t) => {
  // Node keeps roots that have expired.
  const valid = rootCertificates
    .map((pem) => new X509Certificate(pem))
    .find(({ validTo }) => Date.parse(validTo) > Date.now())
  t.is(new TrustStore({}).refuses(valid!), undefined)
})

test('who is on a list is refused, and nobody else', (t) => {
  const trust = new TrustStore({ ca: root, crl: contents('revoked.crl') })
  t.regex(trust.refuses(certificate('revoked')) ?? '', /is revoked/)
  t.is(trust.refuses(certificate('alice')), undefined)
  const empty = new TrustStore({ ca: root, crl: contents('empty.crl') })
  t.is(empty.refuses(certificate('revoked')), undefined)
})

/** A directory in which the CA `root` makes lists, by `openssl ca`. */
function listing(t: ExecutionContext, files: readonly string[]): (...more: string[]) => Buffer {
  const directory = mkdtempSync(join(tmpdir(), 'cio-crl-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  for (const file of ['root.crt', 'root.key', ...files]) {
    writeFileSync(join(directory, file), contents(file))
  }
  writeFileSync(join(directory, 'index.txt'), '')
  writeFileSync(join(directory, 'crlnumber'), '01')
  writeFileSync(
    join(directory, 'ca.cnf'),
    '[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\ncrlnumber=crlnumber\ncertificate=root.crt\nprivate_key=root.key\ndefault_md=sha256\ndefault_crl_days=10\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n',
  )
  const ca = (...more: string[]): unknown =>
    execFileSync('openssl', ['ca', '-config', 'ca.cnf', ...more], {
      cwd: directory,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
  return (...more) => {
    for (const file of files) ca('-revoke', file, '-crl_reason', 'keyCompromise')
    ca('-gencrl', '-out', 'list.crl', ...more)
    return readFileSync(join(directory, 'list.crl'))
  }
}

test('an intermediate that is revoked takes those below it along', async (t) => {
  const crl = listing(t, ['inter.crt'])()
  const chain = await shaken(t, 'viaInterChain')
  t.regex(
    new TrustStore({ ca: root, crl }).refuses(...chain) ?? '',
    /is revoked, or depends on one/,
  )
  t.is(new TrustStore({ ca: root, crl: contents('empty.crl') }).refuses(...chain), undefined)
})

/** A time of `openssl ca`, so many days from now. */
const inDays = (days: number): string => {
  const time = new Date(Date.now() + days * 86_400_000).toISOString()
  return `${time.replaceAll(/[-:T]|\..*/g, '')}Z`
}

const lists: Record<string, readonly [from: number, until: number]> = {
  older: [-5, 5],
  newer: [-1, 5],
  'of the past': [-9, -8],
  'of the future': [1, 5],
}

for (const [revoking, releasing] of [
  ['older', 'newer'],
  ['newer', 'older'],
  ['of the past', 'older'],
  ['older', 'of the past'],
  ['older', 'of the future'],
  ['of the future', 'older'],
] as const) {
  test(`of two lists of a CA the one counts that a handshake counts: ${revoking} with the certificate, ${releasing} without`, async (t) => {
    const made = (files: string[], [from, until]: readonly [number, number]): Buffer =>
      listing(t, files)('-crl_lastupdate', inDays(from), '-crl_nextupdate', inDays(until))
    const both = [made(['alice.crt'], lists[revoking]!), made([], lists[releasing]!)]
    for (const crl of [both, both.toReversed()]) {
      const ca = root
      const settings = {
        ...loaded('server'),
        requestCert: true,
        rejectUnauthorized: false,
        ca,
        crl,
      }
      const server = createServer(settings)
      const port = await listenBare(t, server)
      const client = connect({ port, host: '127.0.0.1', ...loaded('alice'), ca })
      client.on('error', () => {})
      const [{ authorized }] = (await once(server, 'secureConnection')) as [TLSSocket]
      client.destroy()
      const refused = new TrustStore({ ca, crl }).refuses(certificate('alice'))
      t.is(refused === undefined, authorized, refused)
    }
  })
}

test('two lists of one name count both if different keys have signed them', (t) => {
  const [own, other] = ['-5', '-1'].map((days) => {
    const crl = listing(t, days === '-5' ? ['alice.crt'] : [])
    return crl('-crl_lastupdate', inDays(Number(days)), '-crl_nextupdate', inDays(5)).toString()
  })
  // Another key identifier in the newer list.
  const der = Buffer.from(other!.replaceAll(/-----.*-----|\s/g, ''), 'base64')
  const at = der.indexOf(Buffer.from('0603551d23', 'hex'))
  der[at + 15]! ^= 1
  const forged = `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----`
  t.false(new RevocationList([own!, other!]).has(certificate('alice')))
  t.true(new RevocationList([own!, forged]).has(certificate('alice')))
})

test('a certificate that a list releases (removeFromCRL) is accepted, as in a handshake', (t) => {
  const trust = new TrustStore({ ca: root, crl: contents('released.crl') })
  t.is(trust.refuses(certificate('released')), undefined)
  t.regex(trust.refuses(certificate('revoked')) ?? '', /is revoked/)
})

test('a list of another CA revokes nobody, whatever the serial numbers', (t) => {
  const list = contents('revoked.crl').toString()
  t.true(new RevocationList([list]).has(certificate('revoked')))
  // The name of the CA, in the encoding of the list.
  const der = Buffer.from(list.replace(/-----.*-----|\s/g, ''), 'base64')
  const at = der.indexOf('root')
  der.write('toor', at)
  const forged = `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----`
  t.false(new RevocationList([forged]).has(certificate('revoked')))
})

test('the name of a CA is the same in another case and encoding', (t) => {
  const der = Buffer.from(
    contents('revoked.crl')
      .toString()
      .replace(/-----.*-----|\s/g, ''),
    'base64',
  )
  const at = der.indexOf('root')
  der.write('ROOT', at)
  // A PrintableString in place of a UTF8String.
  der[at - 2] = 0x13
  const other = `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----`
  t.true(new RevocationList([other]).has(certificate('revoked')))
})

for (const type of ['utf8', 't61', 'printable', 'ia5', 'visible', 'bmp', 'universal'] as const) {
  test(`the name of a CA is the same as a string of another type (${type})`, (t) => {
    const { serialNumber } = certificate('revoked')
    t.true(new RevocationList([forgeList(type, 'Root ', serialNumber)]).has(certificate('revoked')))
    t.false(new RevocationList([forgeList(type, 'toor', serialNumber)]).has(certificate('revoked')))
    t.false(new RevocationList([forgeList(type, 'root', '1234')]).has(certificate('revoked')))
  })
}

test('a list that is cut off is an error at every byte, and never a crash', (t) => {
  const der = Buffer.from(
    contents('revoked.crl')
      .toString()
      .replace(/-----.*-----|\s/g, ''),
    'base64',
  )
  for (let length = 0; length < der.length; length++) {
    const cut = der.subarray(0, length).toString('base64')
    const pem = `-----BEGIN X509 CRL-----\n${cut}\n-----END X509 CRL-----`
    t.throws(() => new RevocationList([pem]))
  }
})

test('the hash of trust is of CAs, lists and allowPartialTrustChain, and of nothing else', (t) => {
  const some = { ca: root, crl: contents('empty.crl') }
  const hex = (options: object): string => trustHash(options).toString('hex')
  t.is(hex(some), hex({ ...some, ca: [root.toString()], key: 'other' }))
  t.not(hex(some), hex({ ca: root }))
  t.not(hex(some), hex({ ...some, crl: contents('revoked.crl') }))
  t.not(hex(some), hex({ ...some, ca: contents('other.crt') }))
  t.not(hex({ ca: root }), hex({ crl: root }))
  t.not(hex({}), hex({ ca: [] }))
  t.not(hex(some), hex({ ...some, allowPartialTrustChain: true }))
  t.is(hex(some), hex({ ...some, allowPartialTrustChain: false }))
})

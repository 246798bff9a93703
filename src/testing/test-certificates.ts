/** Certificates for tests: valid ones, and one of each invalid kind. Made by node-forge. */

import { generateKeyPair, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import type { pki } from 'node-forge'
import { CioError, asError } from '../errors.ts'
import { optionError } from '../options.ts'

/** A key and its certificate, for `certs`, `listen()`, `connect()` and Node's `tls`. */
export interface TestIdentity {
  /** The private key, in PEM. */
  readonly key: string
  /** The certificate, in PEM. */
  readonly cert: string
  /** The CA of the other side. */
  readonly ca: string
}

/** A key pair of a client, with the server name that it requests. */
export interface TestClientIdentity extends TestIdentity {
  /** The name that the server's certificate must have. */
  readonly servername: string
}

/** The result of {@link testCertificates}. */
export interface TestCertificates<Name extends string> {
  /** The CA that signed all valid certificates. */
  readonly ca: string
  /** A server's, for `localhost`, `127.0.0.1` and `::1`. */
  readonly server: TestIdentity
  /** One certificate for each name, which is its common name and its DNS name. */
  readonly clients: Readonly<Record<Name, TestClientIdentity>>
  /** Invalid client certificates that claim the first of the names. */
  readonly bad: {
    /** Signed by the CA, expired yesterday. */
    readonly expired: TestClientIdentity
    /** Signed by another CA. */
    readonly otherCa: TestClientIdentity
    /** Self-signed. */
    readonly selfSigned: TestClientIdentity
    /** Signed by the CA, with a second common name, `mallory`. */
    readonly twoNames: TestClientIdentity
  }
  /** Server certificates that a client must reject. */
  readonly badServers: {
    readonly expired: TestIdentity
    readonly otherCa: TestIdentity
    readonly selfSigned: TestIdentity
    /** Signed by the CA, for `elsewhere.test`. */
    readonly otherHost: TestIdentity
  }
}

const made = new Map<string, Promise<TestCertificates<string>>>()

/**
 * Makes a CA, a server certificate, one for each named client, and some that must be
 * rejected.
 *
 * Needs the package `node-forge`. The result is cached per process, and valid for a week.
 *
 * @param names The clients, by default `alice` and `bob`.
 * @throws `ERR_CIO_PEER_MISSING`: node-forge is not installed
 *
 * @example
 * import assert from 'node:assert/strict'
 * import { Cio, allowList, isCioError } from 'cio'
 * import { testApp, testCertificates } from 'cio/testing'
 *
 * const { server, clients, bad } = await testCertificates('alice')
 * const app = new Cio()
 *   .useConnection(allowList(['alice']))
 *   .useConnection((ctx) => void ctx.stream.write('welcome'))
 *
 * await using run = await testApp(app, { listen: server, connect: clients.alice })
 * assert.equal(run.ctx.peer?.name, 'alice')
 *
 * const { closed } = await run.connect(bad.expired)
 * assert(isCioError(await closed, 'ERR_CIO_REJECTED'))
 */
export function testCertificates<Name extends string = 'alice' | 'bob'>(
  ...names: readonly Name[]
): Promise<TestCertificates<Name>> {
  const clients: readonly string[] = names.length > 0 ? names : ['alice', 'bob']
  for (const name of clients) {
    if (typeof name === 'string' && name !== '') continue
    throw optionError('testCertificates', 'names', 'strings that are not empty', name)
  }
  const key = JSON.stringify(clients)
  const known = made.get(key) ?? make(clients)
  made.set(key, known)
  return known
}

async function make(names: readonly string[]): Promise<TestCertificates<string>> {
  const forge = await loadForge()
  // The certificates of one side share a key, since making a key is slow.
  const [rootKey, otherKey, serverKey, ...keys] = await Promise.all(
    Array.from({ length: 3 + names.length }, newKey),
  )
  const root = authority(forge, rootKey!, 'cio test CA')
  const other = authority(forge, otherKey!, 'another test CA')
  const trusted = { ca: root.cert }

  const server = (wishes: Partial<Wishes> = {}): TestIdentity => {
    const hosts = ['localhost', '127.0.0.1', '::1']
    const usual: Wishes = { names: ['localhost'], hosts, purpose: 'serverAuth', issuer: root }
    return { ...issue(forge, serverKey!, { ...usual, ...wishes }), ...trusted }
  }
  const client = (at: number, wishes: Partial<Wishes> = {}): TestClientIdentity => {
    const own = [names[at]!]
    const usual: Wishes = { names: own, hosts: own, purpose: 'clientAuth', issuer: root }
    const identity = issue(forge, keys[at]!, { ...usual, ...wishes })
    return { ...identity, ...trusted, servername: 'localhost' }
  }

  const expired = { until: Date.now() - day }
  const elsewhere = ['elsewhere.test']
  return {
    ca: root.cert,
    server: server(),
    clients: Object.fromEntries(names.map((name, at) => [name, client(at)])),
    bad: {
      expired: client(0, expired),
      otherCa: client(0, { issuer: other }),
      selfSigned: client(0, { issuer: undefined }),
      twoNames: client(0, { names: [names[0]!, 'mallory'] }),
    },
    badServers: {
      expired: server(expired),
      otherCa: server({ issuer: other }),
      selfSigned: server({ issuer: undefined }),
      otherHost: server({ names: elsewhere, hosts: elsewhere }),
    },
  }
}

type Forge = typeof import('node-forge')

async function loadForge(): Promise<Forge> {
  try {
    return (await import('node-forge')).default
  } catch (thrown) {
    const message =
      'testCertificates() needs the package `node-forge`; install it with `npm install --save-dev node-forge`'
    throw new CioError('ERR_CIO_PEER_MISSING', message, { cause: asError(thrown) })
  }
}

const day = 24 * 60 * 60 * 1_000
const lifetime = 7 * day
const generate = promisify(generateKeyPair)

interface Pair {
  readonly key: string
  readonly cert: string
}

interface Issuer extends Pair {
  readonly name: string
}

interface Wishes {
  /** The common names, in this order. */
  readonly names: readonly string[]
  readonly hosts: readonly string[]
  readonly purpose: 'serverAuth' | 'clientAuth' | 'ca'
  /** Without one, it is self-signed. */
  readonly issuer: Issuer | undefined
  readonly until?: number
}

function authority(forge: Forge, key: string, name: string): Issuer {
  const wishes: Wishes = { names: [name], hosts: [], purpose: 'ca', issuer: undefined }
  return { ...issue(forge, key, wishes), name }
}

async function newKey(): Promise<string> {
  const { privateKey } = await generate('rsa', { modulusLength: 2048 })
  return privateKey.export({ type: 'pkcs8', format: 'pem' }) as string
}

function issue(forge: Forge, key: string, wishes: Wishes): Pair {
  const { names, hosts, purpose, issuer, until = Date.now() + lifetime } = wishes
  const ours = forge.pki.privateKeyFromPem(key)
  const cert = forge.pki.createCertificate()
  cert.publicKey = forge.pki.setRsaPublicKey(ours.n, ours.e)
  // A first byte below 0x80 makes the number positive.
  cert.serialNumber = `4${randomBytes(16).toString('hex').slice(1)}`
  cert.validity.notBefore = new Date(until - 2 * lifetime)
  cert.validity.notAfter = new Date(until)
  cert.setSubject(names.map(commonName))
  cert.setIssuer((issuer ? [issuer.name] : names).map(commonName))
  cert.setExtensions(extensions(purpose, hosts))
  cert.sign(issuer ? forge.pki.privateKeyFromPem(issuer.key) : ours, forge.md.sha256.create())
  return { key, cert: forge.pki.certificateToPem(cert) }
}

function commonName(value: string): pki.CertificateField {
  return { name: 'commonName', value, valueTagClass: utf8 as never }
}

// ASN.1 needs it for text that is not ASCII.
const utf8 = 12

function extensions(purpose: Wishes['purpose'], hosts: readonly string[]): object[] {
  if (purpose === 'ca') {
    return [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ]
  }
  const altNames = hosts.map((host) =>
    isIP(host) ? { type: 7, ip: host } : { type: 2, value: host },
  )
  return [
    { name: 'extKeyUsage', [purpose]: true },
    { name: 'subjectAltName', altNames },
  ]
}

/** Makes the certificates of the tests by openssl: one of every kind that matters. */

import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const client = 'extendedKeyUsage=clientAuth'
const issuer = 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign'
const localhost = 'subjectAltName=DNS:localhost,IP:127.0.0.1'
const forServers = 'extendedKeyUsage=serverAuth'

/** What only `openssl ca` can make: dates of one's own, and revocation lists. */
const authority = `
[ca]
default_ca = root
[root]
dir = .
database = ./index.txt
serial = ./serial
crlnumber = ./crlnumber
new_certs_dir = ./newcerts
certificate = ./root.crt
private_key = ./root.key
default_md = sha256
default_days = 10
default_crl_days = 10
policy = any
unique_subject = no
x509_extensions = client
[any]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
[server]
subjectAltName = DNS:localhost,IP:127.0.0.1
extendedKeyUsage = serverAuth
[delta]
2.5.29.27 = critical,DER:020101
[indirect]
issuingDistributionPoint = critical,@indirectPoint
[indirectPoint]
indirectCRL = TRUE
[reasons]
issuingDistributionPoint = critical,@reasonsPoint
[reasonsPoint]
onlysomereasons = keyCompromise
[critical]
1.2.3.4 = critical,DER:0500
`

/** Fills a folder that is empty. */
export function makeCertificates(folder: string): void {
  const openssl = (...words: string[]): unknown =>
    execFileSync('openssl', words, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text)
  const read = (file: string): string => readFileSync(join(folder, file), 'latin1')
  const copy = (from: string, to: string): void =>
    copyFileSync(join(folder, from), join(folder, to))

  const key = (name: string): unknown =>
    openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`)
  const self = (name: string, subject: string, days: number, ...extensions: string[]): void => {
    key(name)
    const added = extensions.flatMap((extension) => ['-addext', extension])
    const to = ['-days', String(days), '-subj', subject, '-out', `${name}.crt`]
    openssl('req', '-x509', '-new', '-key', `${name}.key`, ...to, ...added)
  }
  const ca = (name: string): void => self(name, `/CN=${name}`, 30, ...issuer.split('\n'))
  const by = (name: string): string[] => {
    return ['-CA', `${name}.crt`, '-CAkey', `${name}.key`, '-CAcreateserial', '-days', '10']
  }
  const sign = (name: string, subject: string, ca: string, extensions: string): void => {
    key(name)
    const asked = ['-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`]
    openssl('req', '-new', '-utf8', '-multivalue-rdn', ...asked)
    write(`${name}.ext`, extensions)
    const made = ['-extfile', `${name}.ext`, '-out', `${name}.crt`]
    openssl('x509', '-req', '-in', `${name}.csr`, ...by(ca), ...made)
  }
  /** `name` and its issuers in one file, `nameChain`, with its key. */
  const chain = (name: string, ...issuers: string[]): void => {
    write(`${name}Chain.crt`, [name, ...issuers].map((one) => read(`${one}.crt`)).join(''))
    copy(`${name}.key`, `${name}Chain.key`)
  }

  ca('root')
  ca('other')
  const everywhere = 'IP:127.0.0.1,IP:::1'
  sign(
    'server',
    '/CN=localhost',
    'root',
    `subjectAltName=DNS:localhost,${everywhere}\n${forServers}`,
  )
  const second = `subjectAltName=DNS:localhost,DNS:*.example.test,${everywhere}`
  sign('server2', '/CN=second', 'root', `${second}\n${forServers}`)
  sign('serverOther', '/CN=localhost', 'other', `${localhost}\n${forServers}`)
  const names =
    'DNS:alice,URI:spiffe://acme/alice,email:alice@acme.test,IP:10.0.0.1,IP:::ffff:10.0.0.2,IP:fd00::1'
  sign('alice', '/O=Acme/OU=ops/CN=alice', 'root', `${client}\nsubjectAltName=${names}`)
  sign('bob', '/CN=bob', 'root', `${client}\nsubjectAltName=DNS:bob`)
  sign('mallory', '/CN=mallory', 'root', client)
  sign('noEku', '/CN=alice', 'root', 'keyUsage=digitalSignature')
  sign('serverOnly', '/CN=alice', 'root', forServers)
  sign('codeSigning', '/CN=alice', 'root', 'extendedKeyUsage=codeSigning')
  sign('certSign', '/CN=alice', 'root', `keyUsage=critical,keyCertSign\n${client}`)
  sign('otherCa', '/CN=alice', 'other', client)
  sign('twoNames', '/CN=alice/CN=mallory', 'root', client)
  sign('twoNamesReversed', '/CN=mallory/CN=alice', 'root', client)
  sign('multiValued', '/CN=alice+CN=mallory', 'root', client)
  sign('space', '/CN=alice ', 'root', client)
  sign('upperCase', '/CN=Alice', 'root', client)
  sign('unicode', '/CN=älice ☃', 'root', client)
  sign('noName', '/O=acme', 'root', client)
  sign('sanOnly', '/', 'root', `${client}\nsubjectAltName=critical,DNS:alice`)
  const injection = 'subjectAltName=@names\n[names]\nURI.1=http://x/, DNS:alice'
  sign('sanInjection', '/CN=mallory', 'root', `${client}\n${injection}`)
  sign('wildcard', '/CN=mallory', 'root', `${client}\nsubjectAltName=DNS:*.example`)
  const critical = localhost.replace('=', '=critical,')
  sign('serverNoName', '/', 'root', `${critical}\n${forServers}`)
  sign('serverNameOnly', '/CN=localhost', 'root', forServers)
  sign('serverForClients', '/CN=localhost', 'root', `${localhost}\n${client}`)

  const constrained = 'nameConstraints=critical,permitted;DNS:good.example'
  sign('interConstrained', '/CN=constrained', 'root', `${issuer}\n${constrained}`)
  const evil = 'subjectAltName=DNS:alice.evil.example'
  sign('viaConstrained', '/CN=alice', 'interConstrained', `${client}\n${evil}`)
  chain('viaConstrained', 'interConstrained')
  sign('inter0', '/CN=inter0', 'root', issuer.replace('CA:true', 'CA:true,pathlen:0'))
  sign('sub', '/CN=sub', 'inter0', issuer)
  sign('viaSub', '/CN=alice', 'sub', client)
  chain('viaSub', 'sub', 'inter0')
  sign('inter', '/CN=inter', 'root', issuer)
  sign('viaInter', '/CN=alice', 'inter', client)
  chain('viaInter', 'inter')
  sign('serverViaInter', '/CN=localhost', 'inter', `${localhost}\n${forServers}`)
  chain('serverViaInter', 'inter')
  sign('notCa', '/CN=notCa', 'root', 'basicConstraints=critical,CA:false')
  sign('viaNotCa', '/CN=alice', 'notCa', client)
  chain('viaNotCa', 'notCa')
  self('selfSigned', '/CN=alice', 5, client)
  // 86 kB behind a certificate: what a peer may send along, whatever it is for.
  self('bulky', '/CN=bulky', 5, `nsComment=${'x'.repeat(3900)}`)
  for (const name of ['alice', 'selfSigned']) {
    copy(`${name}.key`, `${name}Bulky.key`)
    write(`${name}Bulky.crt`, read(`${name}.crt`) + read('bulky.crt').repeat(20))
  }
  self('fakeRoot', '/CN=root', 5, 'basicConstraints=critical,CA:true')
  sign('viaFakeRoot', '/CN=alice', 'fakeRoot', client)

  mkdirSync(join(folder, 'newcerts'))
  write('index.txt', '')
  write('serial', '1000\n')
  write('crlnumber', '1000\n')
  write('ca.cnf', authority)
  const caCommand = (...words: string[]): unknown => openssl('ca', '-config', 'ca.cnf', ...words)
  const issue = (name: string, subject: string, section: string, from = '', to = ''): void => {
    key(name)
    openssl('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`)
    const files = ['-in', `${name}.csr`, '-out', `${name}.crt`]
    const dates = from === '' ? [] : ['-startdate', from, '-enddate', to]
    caCommand('-batch', '-notext', '-extensions', section, ...files, ...dates)
  }
  const past = ['20200101000000Z', '20200201000000Z'] as const
  const future = ['20900101000000Z', '20910101000000Z'] as const
  issue('expired', '/CN=alice', 'client', ...past)
  issue('future', '/CN=alice', 'client', ...future)
  issue('serverExpired', '/CN=localhost', 'server', ...past)
  issue('serverFuture', '/CN=localhost', 'server', ...future)
  issue('revoked', '/CN=alice', 'client')
  caCommand('-gencrl', '-out', 'empty.crl')
  caCommand('-revoke', 'revoked.crt')
  caCommand('-gencrl', '-out', 'revoked.crl')
  for (const kind of ['delta', 'indirect', 'reasons', 'critical']) {
    caCommand('-gencrl', '-crlexts', kind, '-out', `${kind}.crl`)
  }
  const updates = ['-crl_lastupdate', past[0], '-crl_nextupdate', past[1]]
  caCommand('-gencrl', ...updates, '-out', 'expired.crl')
  issue('released', '/CN=alice', 'client')
  caCommand('-revoke', 'released.crt', '-crl_reason', 'removeFromCRL')
  caCommand('-gencrl', '-out', 'released.crl')

  // Other kinds of keys; and a signature that is not to be trusted any more.
  const signKey = (name: string): void => {
    openssl('req', '-new', '-key', `${name}.key`, '-subj', '/CN=localhost', '-out', `${name}.csr`)
    write(`${name}.ext`, localhost)
    const made = ['-extfile', `${name}.ext`, '-out', `${name}.crt`]
    openssl('x509', '-req', '-in', `${name}.csr`, ...by('root'), ...made)
  }
  openssl('genpkey', '-algorithm', 'ed25519', '-out', 'serverEd25519.key')
  signKey('serverEd25519')
  openssl('genrsa', '-out', 'serverRsa.key', '2048')
  signKey('serverRsa')
  key('sha1')
  openssl('req', '-new', '-key', 'sha1.key', '-subj', '/CN=alice', '-out', 'sha1.csr')
  openssl('x509', '-req', '-sha1', '-in', 'sha1.csr', ...by('root'), '-out', 'sha1.crt')
  const pkcs12 = (name: string, password = ''): unknown => {
    const pair = ['-inkey', `${name}.key`, '-in', `${name}.crt`, '-out', `${name}.p12`]
    return openssl('pkcs12', '-export', ...pair, '-passout', `pass:${password}`)
  }
  pkcs12('serverRsa')
  pkcs12('serverEd25519')
  const locked = ['-passout', 'pass:correct-horse']
  const traditional = ['-aes128', '-traditional', '-in', 'serverRsa.key']
  openssl('rsa', ...traditional, '-out', 'serverRsaLocked.key', ...locked)
  openssl('rsa', '-pubout', '-in', 'serverRsa.key', '-out', 'serverRsa.pub')
  openssl('dhparam', '-dsaparam', '-out', 'dh.pem', '2048')

  // The same key and certificate in other forms.
  pkcs12('server', 'correct-horse')
  pkcs12('serverExpired')
  const topk8 = ['-topk8', '-in', 'server.key', '-out', 'serverLocked.key', '-v2', 'aes-256-cbc']
  openssl('pkcs8', ...topk8, ...locked)
  openssl('x509', '-in', 'server.crt', '-outform', 'DER', '-out', 'server.der.crt')
  openssl('ec', '-in', 'server.key', '-outform', 'DER', '-out', 'server.der.key')
  write('garbage.pem', 'hello\n')
  write('empty.pem', '')
  write('cutOff.crt', read('server.crt').slice(0, 300))
  write('wrongOrder.crt', read('root.crt') + read('server.crt'))
  write('notReally.crt', '-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n')
  // As written before OpenSSL 3, which does not decrypt RC2 by itself.
  const legacy = ['-legacy', '-inkey', 'server.key', '-in', 'server.crt', '-out', 'legacy.p12']
  openssl('pkcs12', '-export', ...legacy, '-passout', 'pass:correct-horse')
  const keyless = ['-nokeys', '-in', 'server.crt', '-out', 'keyless.p12', '-passout', 'pass:']
  openssl('pkcs12', '-export', ...keyless)
}

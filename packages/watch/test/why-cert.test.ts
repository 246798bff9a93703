import test, { type ExecutionContext } from 'ava'
import { Cio, allowList, certs, denyList } from 'cio'
import { testCertificates } from 'cio/testing'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { whyCert } from '../src/cli.ts'
import { type ServerAdmission, watch } from '../src/index.ts'
import { closeAfter, ended, terminal } from './support.ts'

/** A server with mutual TLS, two lists and a revocation list, and files to ask about. */
async function fleet(t: ExecutionContext) {
  const folder = await mkdtemp(join(tmpdir(), 'cio-watch-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const openssl = (...words: string[]): unknown =>
    execFileSync('openssl', words, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  for (const ca of ['fleet', 'other']) {
    const usage = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    const files = ['-keyout', `${ca}.key`, '-out', `${ca}.crt`]
    openssl('req', '-x509', ...key, '-subj', `/CN=${ca}`, '-days', '9', ...usage, ...files)
  }
  await writeFile(join(folder, 'ca.cnf'), caConfiguration)
  await writeFile(join(folder, 'index.txt'), '')
  await writeFile(join(folder, 'serial'), '1000\n')
  const make = (name: string, subject: string, ...words: string[]): void => {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.csr`]
    openssl('req', ...key, '-utf8', '-subj', subject, ...files)
    const to = ['-in', `${name}.csr`, '-out', `${name}.crt`]
    openssl('ca', '-batch', '-notext', '-config', 'ca.cnf', ...to, ...words)
  }
  const ofOther = ['-keyfile', 'other.key', '-cert', 'other.crt']
  const past = ['-startdate', '20240101000000Z', '-enddate', '20240102000000Z']
  make('server', '/CN=localhost', '-extensions', 'server')
  make('alice', '/CN=alice')
  make('bob', '/CN=bob')
  make('mallory', '/CN=mallory')
  make('stolen', '/CN=stolen')
  make('expired', '/CN=alice', ...past)
  make('foreign', '/CN=alice', ...ofOther)
  make('unfit', '/CN=alice', '-extensions', 'server')
  make('odd', '/CN=\u001b[2Jalice\u202e')
  openssl('ca', '-config', 'ca.cnf', '-revoke', 'stolen.crt')
  openssl('ca', '-config', 'ca.cnf', '-gencrl', '-out', 'fleet.crl')

  const file = (name: string): string => join(folder, name)
  const allowed = allowList(['alice', 'mallory', 'stolen'])
  const app = new Cio()
    .useServer(
      certs({
        key: file('server.key'),
        cert: file('server.crt'),
        ca: file('fleet.crt'),
        crl: file('fleet.crl'),
      }),
    )
    .useConnection(denyList(['mallory']))
    .useConnection(allowed)
    .useConnection(({ stream }) => void stream.end('welcome'))
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const at = file('admin.sock')
  const admin = await watching.listen(at)
  t.teardown(() => admin.close({ timeout: 0 }))
  return { app, allowed, at, file, server }
}

const caConfiguration = `
[ca]
default_ca = fleet
[fleet]
database = ./index.txt
serial = ./serial
new_certs_dir = .
certificate = ./fleet.crt
private_key = ./fleet.key
default_md = sha256
default_days = 9
default_crl_days = 9
policy = any
unique_subject = no
x509_extensions = client
[any]
commonName = supplied
[client]
extendedKeyUsage = clientAuth
[server]
subjectAltName = DNS:localhost
extendedKeyUsage = serverAuth
`

test('why --cert says what the server then does, for certificates of each kind', async (t) => {
  const { app, at, file, server } = await fleet(t)
  for (const [name, why] of [
    ['alice', undefined],
    ['bob', 'allowList: not_listed'],
    ['mallory', 'denyList: listed'],
    ['expired', 'secure: expired CERT_HAS_EXPIRED'],
    ['stolen', 'secure: revoked CERT_REVOKED'],
    ['foreign', 'secure: untrusted UNABLE_TO_GET_CRL'],
    ['unfit', 'secure: untrusted INVALID_PURPOSE'],
    ['odd', 'allowList: not_listed'],
  ] as const) {
    const shown = terminal()
    const code = await whyCert(file(`${name}.crt`), { at, json: true, terminal: shown })
    const [answer] = JSON.parse(shown.text()) as ServerAdmission[]
    const refusal = answer?.steps.find((step) => step.refusal)?.refusal
    const said = refusal && `${refusal.step}: ${refusal.why}`

    const end = ended(app)
    const [key, cert] = await Promise.all(
      [`${name}.key`, `${name}.crt`].map((one) => readFile(file(one))),
    )
    const options = { port: server.port, host: '127.0.0.1', rejectUnauthorized: false }
    const socket = connectTls({ ...options, ...(key && cert && { key, cert }) })
    socket.on('error', () => {})
    socket.resume()
    const { refusal: real } = await end
    t.is(code, real ? 1 : 0, name)
    t.is(said, real && `${real.step}: ${real.why}`, name)
    t.is(said, why?.replace(/ [A-Z_]+$/, ''), name)
    t.is(answer?.admitted, !real, name)
  }
})

test('why --cert shows the steps for readers, and nothing of a certificate drives the terminal', async (t) => {
  const { allowed, at, file } = await fleet(t)
  const shown = terminal()
  t.is(await whyCert(file('mallory.crt'), { at, json: false, terminal: shown }), 1)
  const text = shown.text()
  t.regex(text, /^mallory, certificate of fleet, until \d{4}-/m)
  t.regex(text, /^127\.0\.0\.1:\d+ would refuse it$/m)
  t.regex(text, /^ {2}✓ secure +admits +cio$/m)
  t.regex(text, /^ {2}✗ denyList +refuses +\S+why-cert\.test\.ts:\d+\n {4}listed$/m)
  t.regex(text, /^ {2}· allowList +not reached/m)

  const revoked = terminal()
  await whyCert(file('stolen.crt'), { at, json: false, terminal: revoked })
  t.regex(revoked.text(), /✗ secure +refuses +cio\n {4}revoked \(CERT_REVOKED\)$/m)

  const unfit = terminal()
  await whyCert(file('unfit.crt'), { at, json: false, terminal: unfit })
  t.regex(unfit.text(), /^ {4}untrusted \(INVALID_PURPOSE\): it is not for TLS clients: look at/m)

  await allowed.update((_, { remote }) => remote !== '')
  const odd = terminal()
  t.is(await whyCert(file('odd.crt'), { at, json: false, terminal: odd }), 1)
  // oxlint-disable-next-line no-control-regex
  t.notRegex(odd.text(), /[\u001b\u202e]/)
  t.regex(odd.text(), /cannot say whether it would let it in/)
  t.regex(
    odd.text(),
    /\? allowList +unknown .*\n {4}a predicate of its rule reads the connection$/m,
  )
  const json = terminal()
  await whyCert(file('odd.crt'), { at, json: true, terminal: json })
  // oxlint-disable-next-line no-control-regex
  t.notRegex(json.text(), /[\u001b\u202e]/)
})

test('why --cert sends certificates alone, also of a file with the key, and takes DER', async (t) => {
  const { at, file } = await fleet(t)
  const [key, cert] = await Promise.all([
    readFile(file('alice.key'), 'latin1'),
    readFile(file('alice.crt'), 'latin1'),
  ])
  await writeFile(file('both.pem'), `${key}${cert}`)
  await writeFile(file('alice.der'), new X509Certificate(cert).raw)
  for (const name of ['both.pem', 'alice.der']) {
    t.is(await whyCert(file(name), { at, json: false, terminal: terminal() }), 0, name)
  }
  const bodies: string[] = []
  const spy = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      bodies.push(body)
      response.end('[]')
    })
  })
  spy.listen(file('spy.sock'))
  t.teardown(() => spy.close())
  await once(spy, 'listening')
  const shown = terminal()
  const options = { at: file('spy.sock'), json: false, terminal: shown }
  t.is(await whyCert(file('both.pem'), options), 1)
  t.regex(shown.text(), /no server listens/)
  t.is(bodies.length, 1)
  t.notRegex(bodies[0]!, /PRIVATE/)
  const asked = { at, json: false, terminal: terminal() }
  await t.throwsAsync(whyCert(file('alice.key'), asked), { message: /has no certificate/ })
  await t.throwsAsync(whyCert(file('none.crt'), asked), { message: /ENOENT.*none\.crt/ })
})

test('/admission takes a token, its own site, and a bounded body of certificates', async (t) => {
  const watching = watch(new Cio())
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  const token = new URL(admin.url).searchParams.get('token')!
  const authorization = `Bearer ${token}`
  const { ca } = await testCertificates('alice')
  const post = async (body: string, headers: Record<string, string>) => {
    const address = `http://127.0.0.1:${admin.port}/admission`
    return (await fetch(address, { method: 'POST', body, headers })).status
  }
  t.is(await post(ca, { authorization }), 200)
  t.is(await post(ca, {}), 403)
  t.is(await post(ca, { authorization, 'sec-fetch-site': 'cross-site' }), 403)
  t.is(await post('', { authorization }), 400)
  const nonsense = '-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n'
  t.is(await post(nonsense, { authorization }), 400)
  t.is(await post(ca.repeat(21), { authorization }), 413)
  t.is(await post('x'.repeat(300_000), { authorization }), 413)
  t.is(await post(ca, { authorization }), 200)
})

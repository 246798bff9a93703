/**
 * Every way in which a file can be broken, one after the other, on a server that watches. If this
 * fails, a renewal that went wrong at night takes the service down, or worse: an empty CA would be
 * Node's public roots, and any certificate of the web would pass. So after each, who was let in before
 * is let in, who was not is not, the certificate is the old one, and there has been one error.
 */

import test from 'ava'
import { unlinkSync, writeFileSync, mkdirSync, rmSync } from 'node:fs'
import { Cio } from '../../src/index.ts'
import { contents, loaded } from '../support/certificates.ts'
import { LiveFiles, connectWith, presented } from '../support/live-files.ts'
import { serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, connectTls } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'

const half = (file: string): Buffer => contents(file).subarray(0, 300)

const breaks: readonly (readonly [what: string, breakIt: (files: LiveFiles) => void])[] = [
  ['an empty certificate', ({ cert }) => writeFileSync(cert, '')],
  ['an empty key', ({ key }) => writeFileSync(key, '')],
  ['an empty CA', ({ ca }) => writeFileSync(ca, '')],
  ['an empty list', ({ crl }) => writeFileSync(crl, '')],
  ['garbage for a certificate', ({ cert }) => writeFileSync(cert, 'garbage')],
  ['garbage for a CA', ({ ca }) => writeFileSync(ca, 'garbage')],
  ['garbage for a list', ({ crl }) => writeFileSync(crl, 'garbage')],
  ['half of a certificate', ({ cert }) => writeFileSync(cert, half('server2.crt'))],
  ['half of a CA', ({ ca }) => writeFileSync(ca, half('root.crt'))],
  ['the key of another certificate', (files) => files.put('key', 'server2.key')],
  ['the certificate of another key', (files) => files.put('cert', 'server2.crt')],
  ['a key in the place of a certificate', (files) => files.put('cert', 'server.key')],
  ['a CA in DER', (files) => files.put('ca', 'server.der.crt')],
  ['a certificate that has expired', (files) => files.put('cert', 'serverExpired.crt')],
  ['a certificate that is gone', ({ cert }) => unlinkSync(cert)],
  [
    'a directory in the place of a CA',
    ({ ca }) => {
      unlinkSync(ca)
      mkdirSync(ca)
    },
  ],
]

test('no broken file gets past a watcher, and the good ones after it do', async (t) => {
  const files = new LiveFiles(t)
  const repair = (): void => {
    rmSync(files.ca, { recursive: true, force: true })
    files.byRename('server')
    files.put('ca', 'root.crt')
    files.put('crl', 'revoked.crl')
  }
  repair()
  const app = new Cio().useConnection(writeGreeting)
  const told = recordEvents(app)
  const { key, cert, ca, crl } = files
  const server = await serve(t, app, { key, cert, ca, crl, requestCert: true, watch: 10 })
  const longLived = await connectWith(t, server, loaded('alice'))

  for (const [what, breakIt] of breaks) {
    const before = told.error.length
    const complained = nextEvent(app, 'error')
    breakIt(files)
    const [error] = await complained
    t.like(error, { code: 'ERR_CIO_CERTIFICATE' }, what)
    t.is(await presented(t, server, loaded('alice')), 'localhost', what)
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice', what)
    t.is((await connectTls(t, server, loaded('otherCa'))).said, '', what)
    t.is((await connectTls(t, server, loaded('revoked'))).said, '', what)
    t.is(told.error.length, before + 1, what)

    const reloaded = nextEvent(app, 'reload')
    repair()
    await reloaded
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice', what)
  }
  t.is(longLived.errored, null)
  await server.close()
  t.is(server.connections.size, 0)
})

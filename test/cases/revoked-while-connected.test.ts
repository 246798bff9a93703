/**
 * A device is stolen, its certificate goes on the list, and the server reloads. If this fails, the
 * thief keeps the connection that is open, or comes back by a session from before: for as long as a
 * connection lives, a revocation is a wish. Two hundred connections are open, half of them of the
 * stolen device; all of those end, none of the others does, and the device gets in by no session,
 * no fresh handshake, and no handshake that was under way.
 */

import test from 'ava'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { SecureVersion, TLSSocket } from 'node:tls'
import { Cio } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles, connectWith } from '../support/live-files.ts'
import { serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'

const each = 50

for (const revoked of ['drain', 'destroy'] as const) {
  test(`who is revoked is out, by all ways, and nobody else is (${revoked})`, async (t) => {
    const files = new LiveFiles(t)
    files.put('crl', 'empty.crl')
    const app = new Cio().useConnection(async (ctx) => {
      writeGreeting(ctx)
      // It ends when it is asked to, and a moment later.
      if (!ctx.isDraining) {
        await Promise.race([once(ctx.draining, 'abort'), once(ctx.signal, 'abort')])
      }
      await new Promise(setImmediate)
    })
    const told = recordEvents(app)
    const server = await serve(t, app, {
      ...identity('server'),
      ca: path('root.crt'),
      crl: files.crl,
      requestCert: true,
      // The hardest case: keys that outlive the reload.
      ticketKeys: Buffer.alloc(48, 7),
      revoked,
    })

    const versions: SecureVersion[] = ['TLSv1.2', 'TLSv1.3']
    const come = async (name: string, version: SecureVersion): Promise<TLSSocket> => {
      const socket = await connectWith(t, server, { ...loaded(name), maxVersion: version })
      await once(socket, 'data')
      return socket
    }
    const all = async (name: string): Promise<TLSSocket[]> =>
      (
        await Promise.all(
          versions.map((version) =>
            Promise.all(Array.from({ length: each }, () => come(name, version))),
          ),
        )
      ).flat()
    const thieves = await all('revoked')
    const good = await all('alice')
    const sessions = await Promise.all(
      versions.map((maxVersion) => openSession(t, server, { ...loaded('revoked'), maxVersion })),
    )
    const theirs = (): number => [...server.connections].filter(isTheirs).length
    const gone = thieves.map((socket) => once(socket, 'close'))

    files.put('crl', 'revoked.crl')
    // Those that come in the middle of it, too.
    const racing = Array.from({ length: 20 }, () => connectTls(t, server, loaded('revoked')))
    await server.reload()
    await Promise.all([...gone, ...racing])

    for (const socket of good) t.false(socket.destroyed)
    for (const [index, maxVersion] of versions.entries()) {
      const as = { ...loaded('revoked'), maxVersion }
      const session = sessions[index]!
      t.like(await connectTls(t, server, { ...as, session }), { said: '', resumed: false })
      t.is((await connectTls(t, server, as)).said, '')
    }
    t.is(theirs(), 0)
    t.true(told.reject.length >= thieves.length)
    for (const error of told.reject) t.like(error, { code: 'ERR_CIO_REJECTED' })
    t.deepEqual(told.error, [])

    await server.close()
    t.is(server.connections.size, 0)
  })
}

const isTheirs = ({ peer }: { peer: { serialNumber: string } | null }): boolean =>
  peer?.serialNumber === revokedSerial
const revokedSerial = new X509Certificate(contents('revoked.crt')).serialNumber

/**
 * A server comes back with another certificate, again and again.
 *
 * A certificate that is trusted is the ordinary renewal: the client goes on, with the identity of the
 * server that is there now. A certificate that is not trusted is a stranger's, or a mistake: the client
 * sends nothing to it, tries again at the longest delay, and still knows what it has not got through.
 */

import test from 'ava'
import { createServer } from 'node:tls'
import { identity, loaded, path } from '../support/certificates.ts'
import { Receiver, Sender, assertNoneLost } from '../support/numbers.ts'
import { ownPort } from '../support/ports.ts'
import { nextEvent } from '../support/transports.ts'

const rounds = 12
const host = '127.0.0.1'

test('a server that renews its certificate loses and doubles nothing', async (t) => {
  const [sender, receiver] = [new Sender(t), new Receiver(t)]
  let server = await receiver.app.listen({ host, port: await ownPort(), ...identity('server') })
  const { port } = server
  const ctx = await sender.connect({ host: 'localhost', family: 4, port, ca: path('root.crt') })
  for (let round = 1; round <= rounds; round++) {
    sender.post(50)
    const back = nextEvent(sender.app, 'connect')
    await server.close({ timeout: 0 })
    sender.post(50)
    const own = identity(round % 2 === 0 ? 'server' : 'server2')
    server = await receiver.app.listen({ host, port, ...own })
    await back
    t.is(ctx.peer?.name, round % 2 === 0 ? 'localhost' : 'second')
  }
  await sender.settled()
  assertNoneLost(t, sender, receiver)
})

for (const [what, name] of [
  ['of another CA', 'serverOther'],
  ['that has expired', 'serverExpired'],
  ['that is no server’s', 'serverForClients'],
] as const) {
  test(`a server that comes back with a certificate ${what} is sent nothing, and tried again at the longest delay alone`, async (t) => {
    const [sender, receiver] = [new Sender(t), new Receiver(t)]
    const server = await receiver.app.listen({ host, port: await ownPort(), ...identity('server') })
    const { port } = server
    const ctx = await sender.connect({ host: 'localhost', family: 4, port, ca: path('root.crt') })
    sender.post(10)
    await sender.settled()

    let heardBytes = 0
    const other = createServer(loaded(name), (socket) => {
      socket.on('error', () => {})
      socket.on('data', (chunk: Buffer) => (heardBytes += chunk.length))
    })
    other.on('tlsClientError', () => {})
    t.teardown(() => other.close())
    const rejected = nextEvent(sender.app, 'reject')
    await server.close({ timeout: 0 })
    sender.post(10)
    other.listen(port, host)
    const [error] = await rejected
    t.is(error.code, 'ERR_CIO_REJECTED')
    // Anything may stand at that port for a while: the client does not give up, and does not hurry.
    const [{ delay, error: cause }] = await nextEvent(sender.app, 'reconnect')
    t.is((cause as NodeJS.ErrnoException).code, 'ERR_CIO_REJECTED')
    t.true(delay >= 25 && delay <= 50, String(delay))
    await ctx.close({ timeout: 0 })
    sender.post(10)
    t.is(heardBytes, 0)
    t.deepEqual(
      sender.unacknowledged.map(({ number }) => number),
      Array.from({ length: 20 }, (_, index) => 11 + index),
    )
    t.is(receiver.dealt.at(-1), 10)
  })
}

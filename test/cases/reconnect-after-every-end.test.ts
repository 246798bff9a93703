/**
 * A server ends its connections in every way that a process can, seventy times, with messages under
 * way at either side of each end.
 *
 * If this fails, clients stay away, or messages are lost without the sender's knowing, or done
 * twice. Built on numbers and acknowledgements, as docs/middleware/reconnect.md recommends: what the
 * sender does not know to have arrived it sends again, so a number that is missing or comes twice at
 * the end is Cio's fault.
 */

import test, { type ExecutionContext } from 'ava'
import type { ConnectionContext } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { Receiver, Sender, assertNoneLost } from '../support/numbers.ts'
import { ownPort } from '../support/ports.ts'
import { nextEvent } from '../support/transports.ts'

const rounds = 10

const ends: Record<string, (ctx: ConnectionContext) => void> = {
  'ends them in an orderly way': (ctx) => void ctx.stream.end(),
  'destroys them': (ctx) => ctx.destroy(),
  'resets them': (ctx) => {
    // The one beneath TLS, if there is TLS.
    const { transport } = ctx as { transport?: { resetAndDestroy?: () => void } }
    transport?.resetAndDestroy?.()
  },
  'throws out of its handler': (ctx) => ctx.destroy(new Error('a handler')),
}

async function lose(
  t: ExecutionContext,
  options: object,
  clientOptions: object,
  end: (ctx: ConnectionContext) => void,
): Promise<void> {
  const [sender, receiver] = [new Sender(t), new Receiver(t)]
  receiver.app.on('error', () => {})
  const server = await receiver.app.listen({ host: '127.0.0.1', port: 0, ...options })
  const ctx = await sender.connect({
    host: 'localhost',
    family: 4,
    port: server.port,
    ...clientOptions,
  })
  for (let round = 1; round <= rounds; round++) {
    // Some are acknowledged, some under way, some sent when it is gone.
    sender.post(20)
    if (round % 2 === 0) await sender.settled()
    sender.post(20)
    const [gone, back] = [nextEvent(sender.app, 'disconnect'), nextEvent(sender.app, 'connect')]
    // Of those that are there the last: the one before may not have been noticed to be gone.
    end([...server.connections].at(-1)!)
    sender.post(20)
    await gone
    sender.post(20)
    await back
    t.true(ctx.connected)
  }
  sender.post(1)
  await sender.settled()
  assertNoneLost(t, sender, receiver)
  await ctx.close()
}

const tls = { ...identity('server'), ca: path('root.crt'), requestCert: true }
const tlsClient = { ...identity('alice'), ca: path('root.crt') }

for (const [transport, options, clientOptions] of [
  ['TCP', {}, {}],
  ['TLS', tls, tlsClient],
] as const) {
  for (const [how, end] of Object.entries(ends)) {
    test(`over ${transport}, a server that ${how} loses and doubles nothing`, async (t) => {
      await lose(t, options, clientOptions, end)
    })
  }
}

test('a server that stops listening for a while loses and doubles nothing', async (t) => {
  const [sender, receiver] = [new Sender(t), new Receiver(t)]
  let server = await receiver.app.listen({ host: '127.0.0.1', port: await ownPort() })
  await sender.connect({ host: '127.0.0.1', port: server.port })
  for (let round = 1; round <= rounds; round++) {
    sender.post(50)
    const { port } = server
    const back = nextEvent(sender.app, 'connect')
    await server.close({ timeout: round % 2 === 0 ? 0 : 5_000 })
    // Asked for while nobody listens, so that it is refused at least once.
    await refusedOnce(sender)
    sender.post(50)
    server = await receiver.app.listen({ host: '127.0.0.1', port })
    await back
  }
  sender.post(1)
  await sender.settled()
  assertNoneLost(t, sender, receiver)
  t.true(sender.rejected > 0)
})

function refusedOnce({ app }: Sender): Promise<void> {
  return new Promise((resolve) => {
    app.on('reconnect', function listen({ error }) {
      const why: NodeJS.ErrnoException | undefined = error
      if (why?.code !== 'ECONNREFUSED') return
      app.off('reconnect', listen)
      resolve()
    })
  })
}

import test, { type ExecutionContext } from 'ava'
import type { EventEmitter } from 'node:events'
import { type SecureContext, createSecureContext } from 'node:tls'
import {
  Cio,
  type ConnectionContext,
  type ListenOptions,
  allowList,
  route,
} from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { dial, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'
import { type Asks, shakeTwice } from '../support/two-hellos.ts'

/** What comes of a client with the certificate of a name, which asks twice. */
async function outcomeOf(
  t: ExecutionContext,
  app: Cio,
  options: ListenOptions,
  first: Asks,
  second: Asks,
  name = 'alice',
): Promise<string> {
  const outcome = deferred<string>()
  for (const event of ['reject', 'remoteError', 'error'] as const) {
    ;(app as EventEmitter).on(event, (error: NodeJS.ErrnoException) =>
      outcome.resolve(error.code ?? error.message),
    )
  }
  app.useConnection(({ peer }: ConnectionContext) => outcome.resolve(`came in as ${peer?.name}`))
  const server = await serve(t, app, { ...identity('server'), requestCert: true, ...options })
  const socket = await dial(t, server)
  // A server that refuses it may hang up before it is done.
  await shakeTwice(socket, first, second, name).catch(() => {})
  socket.resume()
  return outcome.promise
}

const byList: ListenOptions = {
  ca: path('other.crt'),
  sni: { 'a.test': { ...identity('server'), ca: path('root.crt') }, 'b.test': identity('server2') },
}
const context: SecureContext = createSecureContext({
  ...loaded('server'),
  ca: contents('root.crt'),
})
const byCallback: ListenOptions = {
  ca: path('other.crt'),
  SNICallback: (name, done) => done(null, name === 'a.test' ? context : undefined),
}
const routes = (): Cio =>
  new Cio().useConnection(route([{ when: { sni: 'a.test' }, to: 'next' }, { to: new Cio() }]))
const byProtocol = (): Cio =>
  new Cio().useConnection(route([{ when: { alpn: 'one' }, to: 'next' }, { to: new Cio() }]))
const lists = (): Cio => new Cio().useConnection(allowList('alice'))
const root: ListenOptions = { ca: path('root.crt') }
const a: Asks = { name: 'a.test' }
const b: Asks = { name: 'b.test' }

for (const [what, make, options, first, second] of [
  ['sni', lists, byList, a, b],
  ['SNICallback', lists, byCallback, a, b],
  ['route', routes, root, a, b],
  [
    'the protocols of route',
    byProtocol,
    { ...root, ALPNProtocols: ['one', 'two'] },
    { alpn: 'one' },
    { alpn: 'two' },
  ],
] as const) {
  test(`a client that asks for something else after the choice is refused (${what})`, async (t) => {
    t.is(await outcomeOf(t, make(), options, first, second), 'ERR_CIO_HANDSHAKE')
  })

  test(`a client that asks for the same twice comes in (${what})`, async (t) => {
    t.is(await outcomeOf(t, make(), options, first, first), 'came in as alice')
  })
}

test('a client that asks for a name in its second message alone is refused', async (t) => {
  const options = { ...byList, ...root }
  t.is(await outcomeOf(t, lists(), options, {}, b), 'ERR_CIO_HANDSHAKE')
})

test('a server with one certificate, which no name chooses, takes the last name', async (t) => {
  t.is(await outcomeOf(t, lists(), root, a, b), 'came in as alice')
})

for (const [what, make, options] of [
  ['sni', lists, byList],
  ['route', routes, root],
] as const) {
  test(`a client that leaves out its name in the second message has asked for it (${what})`, async (t) => {
    t.is(await outcomeOf(t, make(), options, a, {}), 'came in as alice')
  })
}

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { inspect } from 'node:util'
import {
  Cio,
  type ClientContext,
  type ConnectionContext,
  reconnect,
  sessionTickets,
} from '../../src/index.ts'
import { concealed, revealed } from '../../src/lifecycle/secret-options.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { closeAfter, dial, serve } from '../support/serve.ts'
import { writeGreeting, connectTls } from '../support/tls.ts'

const passphrase = 'correct-horse'
const ticketKeys = Buffer.from('a'.repeat(48))
const privateKey = contents('server.key').toString().split('\n')[1]!
const ca = path('root.crt')

/** Every way in which a program shows an object. */
function shown(value: object): string {
  const depth = Infinity
  const all = [
    inspect(value),
    inspect(value, { depth, maxArrayLength: Infinity, maxStringLength: Infinity }),
    inspect({ inside: [value] }, { depth }),
    inspect(Object.entries(value), { depth }),
  ]
  try {
    all.push(
      JSON.stringify(value, (_key, one: unknown) => (Buffer.isBuffer(one) ? String(one) : one)),
    )
  } catch {
    // It goes round in circles, so nothing is shown.
  }
  return all.join('\n')
}

function withoutSecrets(t: ExecutionContext, value: object): void {
  const text = shown(value)
  for (const secret of [passphrase, privateKey, ticketKeys.toString(), inspect(ticketKeys)]) {
    t.false(text.includes(secret), secret)
  }
}

test('nothing that an app hands out shows a passphrase, a key or ticket keys', async (t) => {
  const app = new Cio().useConnection(writeGreeting)
  const told: unknown[][] = []
  app.on('remoteError', (...given) => told.push(given))
  const server = await serve(t, app, {
    key: { pem: contents('serverLocked.key') },
    cert: path('server.crt'),
    sni: { localhost: { pfx: path('server.p12'), passphrase }, other: identity('server') },
    ca,
    requestCert: true,
    passphrase,
    ticketKeys,
  })
  const over = once(app, 'close')
  const socket = await dial(t, server)
  socket.write('any nonsense\n\n\n\n\n')
  const [ctx] = (await over) as [ConnectionContext]
  t.is(told.length, 1)
  const secured = once(app, 'secure')
  const visiting = connectTls(t, server, loaded('alice'))
  const [secure] = (await secured) as [ConnectionContext]
  withoutSecrets(t, secure.stream)
  await visiting

  for (const value of [...told.flat(), ctx, server, server.options, server.tls, app] as object[]) {
    withoutSecrets(t, value)
  }
  t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
  await server.reload()
  for (const value of [server.options, server.tls!]) withoutSecrets(t, value)
  t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
})

test('nor does a client, or its options', async (t) => {
  const server = await serve(t, new Cio(), { ...identity('server'), ca })
  const app = new Cio()
  closeAfter(t, app)
  const key = { pem: contents('serverLocked.key') } as object
  const client = await app.connect(
    [{ port: server.port, host: '127.0.0.1', servername: 'localhost' }],
    {
      key,
      cert: path('server.crt'),
      ca,
      passphrase,
    },
  )
  for (const value of [client, client.options, client.stream]) withoutSecrets(t, value)
  t.is(client.options.passphrase, passphrase)
})

test('what is printed of a context is who it is, and how far', async (t) => {
  const app = new Cio()
  const server = await serve(t, app)
  const accepted = once(app, 'connection')
  const socket = await dial(t, server)
  const [ctx] = (await accepted) as [ConnectionContext]
  const { id, remote } = ctx
  t.is(
    inspect(ctx),
    `ConnectionContext { id: ${id}, remote: '${remote}', encrypted: false, state: 'ready' }`,
  )
  t.regex(inspect(server), /^ServerContext \{[^]*port: \d+[^]*connections: 1[^]*state: 'ready'/)
  t.regex(inspect(app), /^Cio \{ servers: 1/)
  const over = once(app, 'close')
  socket.destroy()
  await over
  t.regex(inspect(ctx), /state: 'closed'/)
})

test('what is printed of options is all but the secrets, which are said to be there', (t) => {
  const options = concealed({ host: 'a', key: 'k', passphrase, sni: { b: { pfx: 'p' } } })
  t.is(
    inspect(options, { breakLength: Infinity }),
    "{ host: 'a', sni: { b: { pfx: [secret] } }, key: [secret], passphrase: [secret] }",
  )
  t.deepEqual(Object.keys(options), ['host', 'sni'])
  t.is(JSON.stringify(options), '{"host":"a","sni":{"b":{}}}')
})

test('a copy of options keeps their secrets when it is put back, unless it gives them up', (t) => {
  const before = concealed({ host: 'a', key: 'k', passphrase: 'p' })
  const after = concealed<Partial<typeof before>>({ ...before, host: 'b' }, before)
  t.like(after, { host: 'b', key: 'k', passphrase: 'p' })
  t.deepEqual(Object.keys(after), ['host'])
  t.is(concealed({ ...before, key: undefined }, before).key, undefined)
  t.deepEqual(revealed(after), { host: 'b', key: 'k', passphrase: 'p' } as never)
})

test('a middleware that spreads the options of a server or a client loses no key', async (t) => {
  const spread = async (ctx: { options: object }, next: () => Promise<void>): Promise<void> => {
    ctx.options = { ...ctx.options }
    await next()
  }
  const app = new Cio()
    .useServer(async (ctx, next) => {
      await ctx.configure((options) => ({ ...options }))
      await spread(ctx, next)
    })
    .useServer(sessionTickets({ secret: 'x'.repeat(32) }))
    .useConnection(writeGreeting)
  const server = await serve(t, app, { ...identity('server'), ca, requestCert: true })
  await server.reload()

  const clients = new Cio()
    .useClient(reconnect())
    .useClient(spread, { name: 'before', before: 'connect' })
    .useClient(spread, { name: 'after', after: 'connect', before: 'secure' })
  closeAfter(t, clients)
  const client: ClientContext = await clients.connect([{ port: server.port, host: 'localhost' }], {
    ...identity('alice'),
    ca,
    family: 4,
  })
  const [said] = (await once(client.stream, 'data')) as [Buffer]
  t.is(said.toString(), 'hello alice')
})

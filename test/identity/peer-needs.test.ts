import test from 'ava'
import {
  Cio,
  type Middleware,
  allowList,
  certs,
  defineMiddleware,
  denyList,
  reconnect,
  route,
  startTls,
} from '../../src/index.ts'
import { identity, loaded, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, readAll, serve } from '../support/serve.ts'
import { writeGreeting, connectTls } from '../support/tls.ts'
import { socketPath } from '../support/transports.ts'

const noIdentity = { code: 'ERR_CIO_NO_IDENTITY' }
const ca = path('root.crt')
const pass: Middleware = (_ctx, next) => next()
const listed = (): Cio => new Cio().useConnection(allowList(['alice']))

for (const [name, list] of Object.entries({ allowList, denyList })) {
  test(`a server without a certificate does not listen with ${name}, and says what to add`, async (t) => {
    const app = new Cio().useConnection(list(['alice']))
    for (const place of [0, socketPath(t), {}, { bind: true }]) {
      const error = await t.throwsAsync(app.listen(place), noIdentity)
      for (const words of [name, 'peer-needs.test.ts', 'certs({', 'npx cio certs alice']) {
        t.true(error.message.includes(words), words)
      }
    }
  })

  test(`a client without TLS does not connect with ${name}, and says what to add`, async (t) => {
    let accepted = 0
    const server = await serve(
      t,
      new Cio().useConnection(() => void (accepted += 1)),
    )
    const app = new Cio().useClient(list({ dns: 'localhost' }))
    const error = await t.throwsAsync(app.connect(server.port), noIdentity)
    t.regex(error.message, /`ca`.*`tls: true`/)
    await t.throwsAsync(app.connect([{ port: server.port }], { tls: false, ca }), noIdentity)
    t.is(accepted, 0)
  })
}

test('a server that asks for no certificate does not listen with a list either', async (t) => {
  const error = await t.throwsAsync(listed().listen(0, identity('server')), noIdentity)
  t.regex(error.message, /`ca`.*`requestCert: true`/)
  const all = { ...identity('server'), ca, requestCert: false }
  await t.throwsAsync(listed().listen(0, all), noIdentity)
})

test('a server with pre-shared keys alone does not listen with a list', async (t) => {
  const pskCallback = (): Buffer => Buffer.from('secret')
  await t.throwsAsync(listed().listen(0, { pskCallback }), noIdentity)
})

test('a server with a certificate and a CA listens with a list, and admits who is on it', async (t) => {
  const withCerts: Cio = listed().useServer(certs({ ...identity('server'), ca }))
  for (const app of [listed(), withCerts]) {
    const server = await serve(t, app.useConnection(writeGreeting), { ...identity('server'), ca })
    t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
  }
})

test('a CA of one name in sni is enough', async (t) => {
  const server = await serve(t, listed(), { sni: { localhost: { ...identity('server'), ca } } })
  t.not(server.tls, null)
})

test('lists behind what may bring TLS do not stop a server', async (t) => {
  const own = defineMiddleware({ name: 'own', provides: 'peer' }, (_ctx, next) => next())
  for (const app of [
    new Cio().useConnection(startTls()).useConnection(allowList(['alice'])),
    new Cio().useConnection(route([])).useConnection(allowList(['alice'])),
    new Cio().useConnection(own).useConnection(allowList(['alice'])),
  ]) {
    await t.notThrowsAsync(serve(t, app))
  }
  const hinted = new Cio().useConnection(pass, { provides: 'peer' }).useConnection(allowList(['a']))
  await t.notThrowsAsync(serve(t, hinted))
})

test('what brings TLS and is disabled brings none', async (t) => {
  const app = new Cio().useConnection(startTls()).useConnection(allowList(['alice']))
  app.pipelines.connection.disable('startTls')
  await t.throwsAsync(app.listen(0), noIdentity)
  app.pipelines.connection.enable('startTls')
  await t.notThrowsAsync(serve(t, app))
})

test('a list that is disabled, removed or replaced needs nothing', async (t) => {
  const { connection } = listed().pipelines
  t.truthy(connection)
  for (const change of ['disable', 'remove', 'replace'] as const) {
    const app = listed()
    const { connection } = app.pipelines
    if (change === 'replace') connection.replace('allowList', pass)
    else connection[change]('allowList')
    await t.notThrowsAsync(serve(t, app))
  }
})

test('without the step `secure` there is no identity, but by what takes its place', async (t) => {
  const options = { ...identity('server'), ca }
  const without = listed()
  without.pipelines.connection.disable('secure')
  const error = await t.throwsAsync(without.listen(0, options), noIdentity)
  t.regex(error.message, /`secure`/)
  for (const replace of [
    (app: Cio) => app.pipelines.connection.replace('secure', pass),
    (app: Cio) => app.useConnection(pass, { name: 'secure' }),
  ]) {
    const app = listed()
    replace(app)
    await t.notThrowsAsync(serve(t, app))
  }
})

test('a list that only reports stops nobody, and no server', async (t) => {
  const app = new Cio()
    .useConnection(allowList(['alice'], { dryRun: true }))
    .useConnection(writeGreeting)
  await t.notThrowsAsync(serve(t, app))
})

test('a middleware of a third party says that it needs an identity, or its registration does', async (t) => {
  const tenant = defineMiddleware({ name: 'tenant', needs: 'peer' }, (_ctx, next) => next())
  for (const app of [
    new Cio().useConnection(tenant),
    new Cio().useConnection(pass, { name: 'tenant', needs: 'peer' }),
  ]) {
    const error = await t.throwsAsync(app.listen(0), noIdentity)
    t.regex(error.message, /`tenant`/)
    await t.notThrowsAsync(serve(t, app, { ...identity('server'), ca }))
  }
})

test('a module given by name is asked what it needs as well', async (t) => {
  const app = new Cio().useConnection(
    new URL('../../middleware/deny-list.ts', import.meta.url).href,
  )
  await t.throwsAsync(app.listen(0), { code: 'ERR_CIO_LOAD' })
})

test('hints about needs are of one kind', (t) => {
  for (const hint of ['needs', 'provides']) {
    for (const value of ['certificate', true, ['peer']]) {
      const hints = { [hint]: value } as object
      t.throws(() => defineMiddleware(hints, pass), { code: 'ERR_CIO_OPTION' })
      t.throws(() => new Cio().useConnection(pass, hints), { code: 'ERR_CIO_OPTION' })
    }
  }
})

test('streams that are handed over are judged as they are', async (t) => {
  const app = listed()
  const [near, far] = duplexPair()
  app.on('reject', () => {})
  const ctx = app.handle(near)
  t.is(await readAll(far), '')
  await ctx.closed
  // What `accept()` is given may have an identity of its own.
  await t.notThrowsAsync(serve(t, listed(), { bind: false }))
})

test('a client that would reconnect for ever fails at once', async (t) => {
  const app = new Cio().useClient(reconnect()).useClient(allowList(['server']))
  app.on('reconnect', () => t.fail('it tried again'))
  await t.throwsAsync(app.connect(1), noIdentity)
})

test('a client with TLS, by any of its options or for one of its targets, connects with a list', async (t) => {
  const server = await serve(t, new Cio(), identity('server'))
  const app = new Cio().useClient(allowList({ dns: 'localhost' }))
  closeAfter(t, app)
  const { port } = server
  await t.notThrowsAsync(app.connect({ port, host: '127.0.0.1', ca, servername: 'localhost' }))
  await t.notThrowsAsync(app.connect({ port, host: 'localhost', ca }))
  const named = { port, host: '127.0.0.1', servername: 'localhost' }
  await t.throwsAsync(app.connect([named], { rejectUnauthorized: false }), {
    code: 'ERR_CIO_REJECTED',
  })
  await t.throwsAsync(app.connect([named]), { code: 'ERR_CIO_REJECTED' })
})

test('what a middleware gives to the options counts', async (t) => {
  const app = listed().useServer(async (ctx, next) => {
    ctx.options = { ...ctx.options, requestCert: true }
    await next()
  })
  await t.notThrowsAsync(serve(t, app, identity('server')))
})

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type ListenOptions, Cio, isCioError } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles, connectWith, presented } from '../support/live-files.ts'
import { readAll, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'
import { deferred, nextEvent } from '../support/transports.ts'

/** An app that greets and stays until it is asked to finish, on files that may change. */
async function open(t: ExecutionContext, options: ListenOptions = {}) {
  const files = new LiveFiles(t)
  files.inPlace('server')
  files.put('ca', 'root.crt')
  files.put('crl', 'empty.crl')
  const app = new Cio().useConnection(async (ctx) => {
    writeGreeting(ctx)
    if (ctx.isDraining) return
    await Promise.race([once(ctx.draining, 'abort'), once(ctx.signal, 'abort')])
  })
  const { key, cert, ca } = files
  const server = await serve(t, app, { key, cert, ca, requestCert: true, ...options })
  return { app, files, server, told: recordEvents(app) }
}

test('reload presents another certificate from then on, and keeps the connections', async (t) => {
  const { app, files, server, told } = await open(t)
  const before = await connectWith(t, server, loaded('alice'))
  files.inPlace('server2')
  t.is(await presented(t, server, loaded('alice')), 'localhost')

  const reloaded = nextEvent(app, 'reload')
  await server.reload()
  t.is((await reloaded)[0], server)
  t.is(await presented(t, server, loaded('alice')), 'second')
  t.is(server.connections.size > 0, true)
  t.false(before.destroyed)
  t.deepEqual([...told.error, ...told.reject], [])
})

const broken: readonly (readonly [
  what: string,
  which: 'key' | 'cert' | 'ca' | 'crl',
  file: string,
])[] = [
  ['garbage for a certificate', 'cert', 'garbage.pem'],
  ['garbage for a CA', 'ca', 'garbage.pem'],
  ['an empty CA', 'ca', 'empty.pem'],
  ['a certificate that is cut off', 'cert', 'cutOff.crt'],
  ['a certificate of another key', 'cert', 'server2.crt'],
  ['a certificate that has expired', 'cert', 'serverExpired.crt'],
  ['a CA in the place of a list', 'crl', 'root.crt'],
]
for (const [what, which, file] of broken) {
  test(`${what} is refused by reload, and all stays as it was`, async (t) => {
    const { app, files, server } = await open(t)
    const { crl } = files
    const second = await serve(t, app, { ...optionsOf(files), crl, requestCert: true })
    files.put(which, file)
    const error = await t.throwsAsync(second.reload(), { code: 'ERR_CIO_CERTIFICATE' })
    t.true(error.message.includes(files[which]))
    t.is(await presented(t, second, loaded('alice')), 'localhost')
    t.is((await meet(t, server, 'alice')).said, 'hello alice')
  })
}

function optionsOf({ key, cert, ca }: LiveFiles): ListenOptions {
  return { key, cert, ca }
}

/** What the server says to somebody first, or that it hangs up. */
async function meet(t: ExecutionContext, server: { port: number }, name: string) {
  const socket = await connectWith(t, server, { ...loaded(name), rejectUnauthorized: false })
  const said = await new Promise<string>((resolve) => {
    socket.once('data', (chunk: Buffer) => resolve(chunk.toString()))
    socket.once('close', () => resolve(''))
  })
  return { socket, said }
}

test('certificates are asked for also where a reload began before it listened', async (t) => {
  const { promise: listening, resolve: goOn } = deferred()
  let slow = false
  const app = new Cio().useConnection(writeGreeting)
  let reloaded: Promise<void> | undefined
  app.useServer(
    async (ctx, next) => {
      await ctx.configure(async (options) => {
        if (slow) await listening
        return options
      })
      slow = true
      reloaded = ctx.reload()
      await next()
    },
    { name: 'slow', after: 'certs', before: 'listen' },
  )
  const server = await serve(t, app, { ...identity('server'), ca: path('root.crt') })
  goOn()
  await reloaded
  t.is((await connectTls(t, server, {})).said, '')
  t.is((await connectTls(t, server, loaded('alice'))).said, 'hello alice')
})

test('another CA lets its clients in and those of the old one out', async (t) => {
  const { files, server, told } = await open(t)
  t.is((await meet(t, server, 'alice')).said, 'hello alice')
  t.is((await meet(t, server, 'otherCa')).said, '')
  files.put('ca', 'other.crt')
  await server.reload()
  t.is((await meet(t, server, 'alice')).said, '')
  t.is((await meet(t, server, 'otherCa')).said, 'hello alice')
  t.true(told.reject.every((error) => isCioError(error, 'ERR_CIO_REJECTED')))
})

test('a CA that goes takes its connections with it, drained first', async (t) => {
  const { app, files, server, told } = await open(t)
  const { socket } = await meet(t, server, 'alice')
  const [ctx] = server.connections
  files.put('ca', 'other.crt')
  const rejected = nextEvent(app, 'reject')
  const gone = readAll(socket)
  await server.reload()
  const [error, whom] = await rejected
  t.is(whom, ctx!)
  t.regex(error.message, /\("alice"\) was rejected by `secure`: .* leads to no CA/)
  await gone
  await ctx!.closed
  t.is((ctx!.draining.reason as Error & { code: string }).code, 'ERR_CIO_CLOSING')
  t.deepEqual([told.reject.length, told.remoteError.length, told.error.length], [1, 0, 0])
})

test('a revoked client is cut at once where that is asked for', async (t) => {
  const files = new LiveFiles(t)
  const { app, server, told } = await open(t, {
    revoked: 'destroy',
    crl: files.crl,
    ...put(files),
  })
  const { socket } = await meet(t, server, 'revoked')
  const { socket: other } = await meet(t, server, 'alice')
  t.is(server.connections.size, 2)
  files.put('crl', 'revoked.crl')
  const over = nextEvent(app, 'close')
  await server.reload()
  await over
  t.is(server.connections.size, 1)
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
  t.regex(told.reject[0]!.message, /its certificate is revoked/)
  socket.destroy()
  t.false(other.destroyed)
})

function put(files: LiveFiles): object {
  files.put('crl', 'empty.crl')
  return {}
}

test('a revoked client stays where that is asked for, and does not come back', async (t) => {
  const files = new LiveFiles(t)
  const { server } = await open(t, { revoked: 'keep', crl: files.crl, ...put(files) })
  const { socket } = await meet(t, server, 'revoked')
  files.put('crl', 'revoked.crl')
  await server.reload()
  t.is(server.connections.size, 1)
  t.false(socket.destroyed)
  t.is((await meet(t, server, 'revoked')).said, '')
})

test('who does not finish in time is cut at the deadline', async (t) => {
  const files = new LiveFiles(t)
  put(files)
  const app = new Cio().useConnection(async (ctx) => {
    writeGreeting(ctx)
    await once(ctx.signal, 'abort')
  })
  const told = recordEvents(app)
  const options = { ...identity('server'), ca: path('root.crt'), crl: files.crl }
  const server = await serve(t, app, { ...options, requestCert: true, drainTimeout: 20 })
  const { socket } = await meet(t, server, 'revoked')
  const [ctx] = server.connections
  files.put('crl', 'revoked.crl')
  await server.reload()
  t.true(ctx!.isDraining)
  await ctx!.closed
  t.deepEqual([told.reject.length, told.remoteError.length, told.error.length], [1, 0, 0])
  socket.destroy()
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a revoked client does not resume, fixed keys of tickets or not (${version})`, async (t) => {
    for (const more of [{}, { ticketKeys: Buffer.alloc(48, 7) }]) {
      const files = new LiveFiles(t)
      const { server } = await open(t, { crl: files.crl, ...put(files), ...more })
      const as = { ...loaded('revoked'), maxVersion: version }
      const session = await openSession(t, server, as)
      files.put('crl', 'revoked.crl')
      await server.reload()
      const { said, resumed } = await connectTls(t, server, { ...as, session })
      t.deepEqual([said, resumed], ['', false])
    }
  })
}

test('a handshake that began under the old CA is judged by the new one', async (t) => {
  const held = deferred()
  const reached = deferred()
  const { app, files, server } = await open(t, {
    ALPNCallback: ({ protocols }: { protocols: string[] }) => protocols[0]!,
    // Held in the middle: Node waits for the answer.
    SNICallback: (_name, done) => {
      reached.resolve()
      void held.promise.then(() => done(null))
    },
  })
  const rejected = nextEvent(app, 'reject')
  const entering = meet(t, server, 'alice')
  await reached.promise
  files.put('ca', 'other.crt')
  await server.reload()
  held.resolve()
  t.is((await entering).said, '')
  t.is(((await rejected)[0] as Error & { code: string }).code, 'ERR_CIO_REJECTED')
})

test('reloads run one after the other, and the last one is what holds', async (t) => {
  const { files, server } = await open(t)
  const names = ['server2', 'server', 'server2']
  for (const name of names) {
    files.inPlace(name)
    await Promise.all([server.reload(), server.reload()])
  }
  t.is(await presented(t, server, loaded('alice')), 'second')
})

test('a reload while draining goes well, and after the end it rejects', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const app = new Cio().useConnection(async (ctx) => {
    writeGreeting(ctx)
    for await (const _ of ctx);
  })
  const server = await serve(t, app, { key: files.key, cert: files.cert })
  const { socket } = await meet(t, server, 'alice')
  void server.close()
  files.inPlace('server2')
  await server.reload()
  t.false(socket.destroyed)
  socket.end()
  await server.close()
  await t.throwsAsync(server.reload(), { code: 'ERR_CIO_CLOSED' })
})

test('a plain server reloads what its middleware load', async (t) => {
  let reads = 0
  const app = new Cio().useServer(async (ctx, next) => {
    const forget = await ctx.configure((options) => ({ ...options, backlog: ++reads }))
    await next()
    forget()
  })
  const server = await serve(t, app)
  await server.reload()
  t.is(server.options.backlog, 2)
})

test('the keys, certificates and CAs are put in place of Node, not the public roots', async (t) => {
  const { files, server } = await open(t)
  await server.reload()
  t.deepEqual((server.options as { ca: Buffer[] }).ca, [contents('root.crt')])
  t.is((await meet(t, server, 'alice')).said, 'hello alice')
  t.truthy(files)
})

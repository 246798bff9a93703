/**
 * A middleware that forgets to await `next()`.
 *
 * It is the commonest mistake in a framework of middleware, and in Koa it ends the process: the
 * promise that nothing awaits rejects with what a client did (koajs/koa#882). If this fails, any
 * client can end a server by one bad message. AVA itself fails a file in whose process a rejection
 * is unhandled, so each test here is also one of that.
 */

import test from 'ava'
import { once } from 'node:events'
import { Cio, type Next, json, lines, multiplex, reconnect } from '../../src/index.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { deferred, nextEvent, open, transports } from '../support/transports.ts'

/** A team's counter of connections, as in the report. */
function counter(_ctx: object, next: Next): void {
  void next()
}

/** What an app reports, each by the code of its error, or its message. */
function reports(app: Cio): string[] {
  const seen: string[] = []
  const note = (event: string) => (error: Error) => {
    seen.push(`${event} ${(error as NodeJS.ErrnoException).code ?? error.message}`)
  }
  app.on('error', note('error'))
  app.on('remoteError', note('remoteError'))
  return seen
}

for (const transport of transports) {
  test(`a middleware that does not await next() is named, and ends no process (koajs/koa#882), over ${transport}`, async (t) => {
    const app = new Cio()
      .useConnection(counter)
      .useConnection(json())
      .useConnection(async (ctx) => {
        for await (const message of ctx.messages) await ctx.messages.send(message)
      })
    const seen = reports(app)
    const named = nextEvent(app, 'error')
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.write('not json\n')
    await closed
    t.regex((await named)[0].message, /^`counter` \(at .*next-not-awaited\.test\.ts:\d+\)/)
    t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED', 'remoteError ERR_CIO_SYNTAX'])
  })

  test(`a middleware that chains to next() without await is named, and ends no process, over ${transport}`, async (t) => {
    let count = 0
    const app = new Cio()
      .useConnection(function gauge(_ctx, next) {
        count++
        void next().finally(() => count--)
      })
      .useConnection(json())
      .useConnection((ctx) => ctx.messages.each(() => {}))
    const seen = reports(app)
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.write('not json\n')
    await closed
    t.is(count, 0)
    t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED', 'remoteError ERR_CIO_SYNTAX'])
  })

  test(`what stands inside one that does not await next() gives its whole answer, over ${transport}`, async (t) => {
    const app = new Cio()
      .useConnection(lines())
      .useConnection(counter)
      .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
    const seen = reports(app)
    const client = await open(t, app, transport)
    client.end('one\ntwo\n')
    t.is(await readAll(client), 'ONE\nTWO\n')
    t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED'])
  })

  test(`a middleware that races next() with a timer ends the connection at once, over ${transport}`, async (t) => {
    const aborted = deferred<string>()
    const late = deferred()
    const app = new Cio()
      .useConnection(async function deadline(_ctx, next) {
        await Promise.race([next(), late.promise])
      })
      .useConnection(async (ctx) => {
        await once(ctx.signal, 'abort')
        aborted.resolve((ctx.signal.reason as Error).message)
        throw new Error('inside, later')
      })
    const seen = reports(app)
    const accepted = nextEvent(app, 'connection')
    const closed = nextEvent(app, 'close')
    await open(t, app, transport)
    await accepted
    late.reject(new Error('took too long'))
    await closed
    t.is(await aborted.promise, 'took too long')
    t.deepEqual(seen, ['error took too long'])
  })

  test(`next() by a callback is refused and named, over ${transport}`, async (t) => {
    const app = new Cio()
      .useConnection(function callback(_ctx, next) {
        setImmediate(() => void next())
      })
      .useConnection(() => t.fail('it runs'))
    const [closed, named] = [nextEvent(app, 'close'), nextEvent(app, 'error')]
    ;(await open(t, app, transport)).resume().end()
    const [error] = await named
    t.like(error, { code: 'ERR_CIO_NOT_AWAITED', fault: 'local' })
    t.true(error.message.includes('`callback`'))
    await closed
  })
}

test('a server middleware that does not await next() is named, and the server runs on', async (t) => {
  const said: string[] = []
  const app = new Cio()
    .useServer(async (_ctx, next) => {
      await next()
      said.push('closed')
    })
    .useServer(counter)
    .useConnection((ctx) => void ctx.stream.end('hello'))
  const seen = reports(app)
  const server = await serve(t, app)
  const client = await dial(t, server)
  t.is(await readAll(client), 'hello')
  // Node 24 leaves it half-open.
  client.end()
  t.deepEqual(said, [])
  await server.close()
  t.deepEqual(said, ['closed'])
  t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED'])
})

test('what fails inside a server middleware that does not await next() rejects listen()', async (t) => {
  const app = new Cio().useServer(counter).useServer(async () => {
    await new Promise(setImmediate)
    throw new Error('no database')
  })
  const seen = reports(app)
  closeAfter(t, app)
  await t.throwsAsync(app.listen(), { message: 'no database' })
  t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED'])
})

for (const again of [false, true]) {
  test(`a client middleware that does not await next() is named, and messages pass both ways${again ? ', with reconnect' : ''}`, async (t) => {
    const server = await serve(
      t,
      new Cio()
        .useConnection(lines())
        .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line))),
    )
    const app = new Cio()
    const seen = reports(app)
    if (again) app.useClient(reconnect())
    app.useClient(counter)
    const client = await app.useClient(lines()).connect(server.port)
    closeAfter(t, app)
    await client.messages.send('hello')
    t.deepEqual(await client.messages.next(), { done: false, value: 'hello' })
    await client.close()
    t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED'])
  })
}

test('next() by a callback rejects listen() and connect()', async (t) => {
  const callback = (_ctx: object, next: Next): void => void setImmediate(() => void next())
  for (const begin of [
    (app: Cio) => app.useServer(callback).listen(),
    (app: Cio) => app.useClient(callback, { before: 'connect' }).connect(1),
  ]) {
    const app = new Cio()
    closeAfter(t, app)
    const named = nextEvent(app, 'error')
    await t.throwsAsync(begin(app), { code: 'ERR_CIO_STOPPED' })
    t.like((await named)[0], { code: 'ERR_CIO_NOT_AWAITED' })
  }
})

test('a middleware of a stream of multiplex that does not await next() is named', async (t) => {
  const streams = new Cio()
    .useConnection(counter)
    .useConnection(lines())
    .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line)))
  const seen = reports(streams)
  const app = new Cio().useConnection(multiplex(streams)).useClient(multiplex(streams))
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const stream = await client.mux.open('one')
  stream.end('hello\n')
  t.is(await readAll(stream), 'hello\n')
  await client.close()
  t.deepEqual(seen, ['error ERR_CIO_NOT_AWAITED'])
})

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Server, connect as connectNet, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type ClientContext,
  type ConnectOptions,
  type Middleware,
  defineMiddleware,
} from '../../src/index.ts'
import { type ProxyHandshake, openSocket, viaProxy } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, listenBare, readAll, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

const host = '127.0.0.1'

/** A proxy that takes a port as the first line, answers with a byte, and connects there. */
function jumpHost(t: ExecutionContext): Server {
  return createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', (line) => {
      const far = connectNet({ host, port: Number(line) })
      t.teardown(() => far.destroy())
      far.on('error', () => socket.destroy())
      socket.write('!')
      far.pipe(socket).pipe(far)
    })
  })
}

const ask: ProxyHandshake = async (stream, { port }) => {
  stream.write(`${port}\n`)
  await once(stream, 'readable')
  stream.read(1)
  return stream
}

function jump(port: number, asking = ask, name = 'jump'): Middleware<ClientContext> {
  return defineMiddleware<ClientContext>({ name, before: 'connect' }, (ctx, next) =>
    viaProxy(ctx, { host, port }, next, asking),
  )
}

function client(t: ExecutionContext, ...middleware: Middleware<ClientContext>[]): Cio {
  const app = new Cio()
  for (const one of middleware) app.useClient(one)
  closeAfter(t, app)
  return app
}

const greeter = (): Cio => new Cio().useConnection((ctx) => void ctx.stream.end('hello'))

test('a connection goes through what is asked, and the options are as before when it is over', async (t) => {
  const { port } = await serve(t, greeter())
  const app = client(t, jump(await listenBare(t, jumpHost(t))))
  const ctx = await app.connect({ host, port })
  t.is(await readAll(ctx), 'hello')
  t.is(ctx.remote, `${host}:${port}`)
  await ctx.closed
  t.is(ctx.options.createConnection, undefined)
})

test('what stands before another is the way to it', async (t) => {
  const { port } = await serve(t, greeter())
  const [first, second] = [await listenBare(t, jumpHost(t)), await listenBare(t, jumpHost(t))]
  const asked: unknown[] = []
  const noting: ProxyHandshake = (stream, target) => {
    asked.push(target.port)
    return ask(stream, target)
  }
  const app = client(t, jump(first, noting, 'first'), jump(second, noting, 'second'))
  t.is(await readAll(await app.connect({ host, port })), 'hello')
  t.deepEqual(asked, [second, port])
})

test('a stream is opened to the proxy with the options of the run, and it is asked for the target', async (t) => {
  const opened: ConnectOptions[] = []
  const asked: ConnectOptions[] = []
  const [near] = duplexPair()
  const app = client(
    t,
    jump(1, async (stream, target) => {
      asked.push(target)
      return stream
    }),
  )
  const createConnection = (options: ConnectOptions): Duplex => {
    opened.push(options)
    return near
  }
  const path = '/run/target'
  await app.connect({ path, createConnection, connectTimeout: 5_000 })
  t.like(opened[0], { host, port: 1, connectTimeout: 5_000 })
  t.false('path' in opened[0]!)
  t.like(asked[0], { path, connectTimeout: 5_000 })
})

test('an error of asking is that of connect(), and the stream to the proxy is gone', async (t) => {
  const error = new Error('not through here')
  let stream: Duplex | undefined
  const app = client(
    t,
    jump(await listenBare(t, jumpHost(t)), (given) => {
      stream = given
      throw error
    }),
  )
  t.is(await t.throwsAsync(app.connect({ host, port: 1 })), error)
  t.true(stream?.destroyed)
})

test('a stream to the proxy that nobody wants any more is destroyed, which ends the asking', async (t) => {
  const asked = deferred<Duplex>()
  const app = client(
    t,
    jump(await listenBare(t, createServer()), async (stream) => {
      asked.resolve(stream)
      await once(stream, 'close')
      throw new Error('nobody is told of this')
    }),
  )
  const refusal = t.throwsAsync(app.connect({ host, port: 1, connectTimeout: Infinity }), {
    code: 'ERR_CIO_CLOSED',
  })
  const stream = await asked.promise
  await app.close()
  await refusal
  t.true(stream.destroyed)
})

test('a stream to the proxy that comes late is destroyed, and nothing asked of it', async (t) => {
  const port = await listenBare(t, createServer())
  const [started, late] = [deferred(), deferred<Duplex>()]
  const app = client(
    t,
    jump(port, async (stream) => {
      t.fail('it is asked')
      return stream
    }),
  )
  const createConnection = (): Promise<Duplex> => {
    started.resolve()
    return late.promise
  }
  const refusal = t.throwsAsync(app.connect({ host, port: 1, createConnection }), {
    code: 'ERR_CIO_CLOSED',
  })
  await started.promise
  await app.close()
  await refusal
  const stream = await openSocket({ host, port }, new AbortController().signal)
  const closed = once(stream, 'close')
  late.resolve(stream)
  await closed
  t.pass()
})

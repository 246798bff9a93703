/** How connections end that are streams of `multiplex`. */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type ConnectionContext,
  type Mux,
  type MultiplexOptions,
  json,
  multiplex,
  rpc,
} from '../../src/index.ts'
import { path } from '../support/certificates.ts'
import { closeAfter } from '../support/serve.ts'
import { type Transport, deferred, nextEvent, optionsOf } from '../support/transports.ts'

const shortly = 40

/** A client whose streams another app handles, on a server with this `halfOpenTimeout`. */
async function connected(
  t: ExecutionContext,
  app: Cio,
  {
    transport = 'tcp',
    halfOpenTimeout = shortly,
    options = {},
  }: { transport?: Transport; halfOpenTimeout?: number; options?: MultiplexOptions } = {},
): Promise<Mux> {
  const server = new Cio().useConnection(multiplex(app, options))
  const clients = new Cio().useClient(multiplex(new Cio(), options))
  closeAfter(t, server)
  closeAfter(t, clients)
  const listening = { ...optionsOf(t, transport), halfOpenTimeout }
  const { port } = await server.listen(listening)
  const tls = transport.startsWith('TLS') ? { ca: path('root.crt'), servername: 'localhost' } : {}
  const place =
    listening.path === undefined ? { port, host: '127.0.0.1' } : { path: listening.path }
  const client = await clients.connect({ ...place, ...tls })
  return client.mux
}

/** Waits for the end, and reads nothing. */
const until = async ({ signal }: ConnectionContext): Promise<void> => {
  if (!signal.aborted) await once(signal, 'abort')
}

async function opened(mux: Mux): Promise<Duplex> {
  const stream = await mux.open('stream')
  stream.on('error', () => {}).resume()
  return stream
}

for (const transport of ['tcp', 'unix', 'TLS 1.3'] as const) {
  for (const size of [0, 1, 100_000]) {
    test(`an end behind ${size} bytes that nothing reads begins halfOpenTimeout of the connection (${transport})`, async (t) => {
      const app = new Cio().useConnection(until)
      const closed = nextEvent(app, 'close')
      const mux = await connected(t, app, { transport })
      const stream = await opened(mux)
      stream.end(Buffer.alloc(size))
      await closed
      t.pass()
    })
  }
}

test('in a stream of a stream, too', async (t) => {
  const inner = new Cio().useConnection(until)
  const closed = nextEvent(inner, 'close')
  const mux = await connected(t, new Cio().useConnection(multiplex(inner)))
  const middle = new Cio().useClient(multiplex(new Cio()))
  closeAfter(t, middle)
  const client = await middle.connect({ createConnection: () => mux.open('outer') })
  const stream = await opened(client.mux)
  stream.end('unread')
  await closed
  t.pass()
})

for (const [what, halfOpenTimeout] of [
  ['Infinity waits for an answer that takes long', Infinity],
  ['0, which is about sockets, leaves a stream its half-close', 0],
] as const) {
  test(`halfOpenTimeout: ${what}`, async (t) => {
    const other = deferred()
    const app = new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx);
      await other.promise
      ctx.stream.end('answer')
      await until(ctx)
    })
    const mux = await connected(t, app, { halfOpenTimeout })
    const stream = await mux.open('stream')
    stream.end('question')
    // Meanwhile a connection with a short one is over.
    const short = new Cio().useConnection(until)
    const closed = nextEvent(short, 'close')
    const waits = await opened(await connected(t, short))
    waits.end()
    await closed
    other.resolve()
    t.is(String((await once(stream, 'data'))[0]), 'answer')
    stream.destroy()
  })
}

test('a caller that has ended its stream aborts the signal of its call', async (t) => {
  const aborted = deferred<unknown>()
  const methods = {
    wait: (_: unknown, { signal }: { signal: AbortSignal }) =>
      once(signal, 'abort').then(() => aborted.resolve(signal.reason)),
  }
  const app = new Cio()
    .useConnection(json())
    .useConnection(rpc<object, typeof methods>({ methods }))
  const stream = await opened(await connected(t, app))
  stream.end('{"jsonrpc":"2.0","id":1,"method":"wait"}\n')
  t.true((await aborted.promise) instanceof Error)
})

test('a stream that was destroyed while its handler hangs is reported, and frees its place', async (t) => {
  const app = new Cio().useConnection(async function endless(ctx) {
    ctx.destroy(new Error('own'))
    await new Promise(() => {})
  })
  const seen: unknown[] = []
  app.on('error', (error) => seen.push((error as NodeJS.ErrnoException).code ?? error.message))
  const mux = await connected(t, app, { options: { maxStreams: 1 } })
  for (let round = 0; round < 3; round++) {
    const closed = nextEvent(app, 'close')
    const stream = await opened(mux)
    if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve))
    await closed
  }
  t.deepEqual(
    seen.filter((code) => code === 'ERR_CIO_STUCK'),
    ['ERR_CIO_STUCK', 'ERR_CIO_STUCK', 'ERR_CIO_STUCK'],
  )
})

import test from 'ava'
import { AsyncLocalStorage } from 'node:async_hooks'
import { type TracingChannelSubscribers, tracingChannel } from 'node:diagnostics_channel'
import { Cio, CioError, json, rpc } from '../../src/index.ts'
import type { CallMessage, ConnectionMessage } from '../../src/kit.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

const connections = tracingChannel<string, ConnectionMessage>('cio.connection')
const calls = tracingChannel<string, CallMessage>('cio.rpc')

/** Notes the events of one app: other tests of this file publish too. */
function notes<Message extends { readonly ctx: { readonly app: unknown } }>(
  app: unknown,
): { seen: [string, Message][]; subscribers: TracingChannelSubscribers<Message> } {
  const seen: [string, Message][] = []
  const note = (event: string) => (message: unknown) => {
    if ((message as Message).ctx.app === app) seen.push([event, message as Message])
  }
  const subscribers = {
    start: note('start'),
    end: note('end'),
    asyncStart: note('asyncStart'),
    asyncEnd: note('asyncEnd'),
    error: note('error'),
  }
  return { seen, subscribers }
}

test('a connection is one message, from its start to its end', async (t) => {
  const app = new Cio().useConnection(({ stream }) => void stream.end('bye'))
  const { seen, subscribers } = notes<ConnectionMessage>(app)
  connections.subscribe(subscribers)
  t.teardown(() => connections.unsubscribe(subscribers))
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  t.is(await readAll(await dial(t, server)), 'bye')
  const [ctx, end] = await closed
  t.deepEqual(
    seen.map(([event]) => event),
    ['start', 'end', 'asyncStart', 'asyncEnd'],
  )
  t.is(new Set(seen.map(([, message]) => message)).size, 1)
  t.is(seen[0]![1].ctx, ctx)
  t.is(seen[0]![1].end, end)
})

test('a connection that fails has its error in the message', async (t) => {
  const error = new CioError('ERR_TEST', 'rude', { fault: 'remote' })
  const app = new Cio().useConnection(() => Promise.reject(error))
  app.on('remoteError', () => {})
  const { seen, subscribers } = notes<ConnectionMessage>(app)
  connections.subscribe(subscribers)
  t.teardown(() => connections.unsubscribe(subscribers))
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  await dial(t, server)
  await closed
  t.deepEqual(
    seen.map(([event]) => event),
    ['start', 'end', 'error', 'asyncStart', 'asyncEnd'],
  )
  t.is(seen[0]![1].error, error)
})

test('the middleware run in the store that is bound to the start of a connection', async (t) => {
  const store = new AsyncLocalStorage<string>()
  connections.start.bindStore(store, ({ ctx }) => String(ctx.id))
  t.teardown(() => connections.start.unbindStore(store))
  const app = new Cio().useConnection(async ({ id, stream }) => {
    await Promise.resolve()
    stream.end(String(store.getStore() === String(id)))
  })
  t.is(await readAll(await dial(t, await serve(t, app))), 'true')
})

// Serial: it runs before the others, which subscribe.
test.serial('a connection that began before the first subscriber publishes nothing', async (t) => {
  const app = new Cio().useConnection(async (_ctx, next) => next())
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const client = await dial(t, server)
  await accepted
  const { seen, subscribers } = notes<ConnectionMessage>(app)
  connections.subscribe(subscribers)
  t.teardown(() => connections.unsubscribe(subscribers))
  const closed = nextEvent(app, 'close')
  client.end()
  await closed
  t.deepEqual(seen, [])
})

test('calls of rpc are published on both sides, with their codes', async (t) => {
  const store = new AsyncLocalStorage<string>()
  calls.start.bindStore(store, ({ call }) => call.method)
  t.teardown(() => calls.start.unbindStore(store))
  const app = new Cio()
    .useConnection(json())
    .useConnection(
      rpc({
        methods: {
          where: async () => {
            await Promise.resolve()
            return store.getStore()
          },
        },
      }),
    )
    .useClient(json())
    .useClient(rpc())
  const { seen, subscribers } = notes<CallMessage>(app)
  calls.subscribe(subscribers)
  t.teardown(() => calls.unsubscribe(subscribers))
  closeAfter(t, app)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const client = await app.connect({ host: '127.0.0.1', port: server.port })
  t.is(await client.rpc.call('where'), 'where', 'the method runs in the store of its call')
  await t.throwsAsync(client.rpc.call('unknown'), { code: 'ERR_CIO_RPC' })

  const of = (side: string, method: string): [string, CallMessage][] =>
    seen.filter(([, { call }]) => call.side === side && call.method === method)
  const events = (list: [string, CallMessage][]): string[] => list.map(([event]) => event)
  for (const side of ['server', 'client']) {
    t.deepEqual(events(of(side, 'where')), ['start', 'end', 'asyncStart', 'asyncEnd'], side)
    t.deepEqual(events(of(side, 'unknown')), ['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
    const { call } = of(side, 'unknown')[0]![1]
    t.is(call.code, -32_601)
    t.is(call.isKnown, side === 'client')
  }
  t.true(of('server', 'where')[0]![1].call.duration >= 0)
})

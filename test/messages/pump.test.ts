import test from 'ava'
import { once } from 'node:events'
import {
  Cio,
  type MessagesContext,
  type Middleware,
  type StreamContext,
  json,
} from '../../src/index.ts'
import { Pump, type PumpOptions } from '../../src/kit.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

/** A middleware that pumps from the start. */
function pumping(
  take: (message: unknown, pump: Pump) => unknown,
  options: Partial<PumpOptions> = {},
): Middleware<StreamContext & MessagesContext<unknown>> {
  return async function pumping(ctx, next) {
    const pump: Pump = new Pump(ctx, {
      owner: 'pumping',
      maxRunning: 2,
      take: (message) => take(message, pump),
      ...options,
    })
    pump.start()
    await pump.run(next)
  }
}

function app(middleware: Middleware<StreamContext & MessagesContext<unknown>>) {
  return new Cio().useConnection(json()).useConnection(middleware)
}

test('messages are taken in their order, and the peer gets what is sent', async (t) => {
  const echo = app(pumping((message, pump) => void pump.send(message)))
  const socket = await dial(t, await serve(t, echo))
  socket.end('1\n2\n3')
  t.is(await readAll(socket), '1\n2\n3\n')
})

test('the next message waits for the promise of the last', async (t) => {
  const taken: unknown[] = []
  const slow = app(
    pumping(async (message) => {
      taken.push(message)
      await new Promise((resolve) => setImmediate(resolve))
      taken.push('done')
    }),
  )
  const closed = once(slow, 'close')
  const socket = await dial(t, await serve(t, slow))
  socket.end('1\n2\n')
  await closed
  t.deepEqual(taken, [1, 'done', 2, 'done'])
})

test('nothing is lost where the handler waits when the far end is reached', async (t) => {
  const gate = deferred()
  const taken: unknown[] = []
  const waits = app(
    pumping(async (message) => {
      await gate.promise
      taken.push(message)
    }),
  )
  waits.useConnection(
    async (ctx, next) => {
      // The first messages are here before the pump begins.
      while (ctx.stream.readableLength === 0) {
        ctx.stream.read(0)
        await new Promise((resolve) => setImmediate(resolve))
      }
      await next()
    },
    { before: 'json' },
  )
  const closed = once(waits, 'close')
  const socket = await dial(t, await serve(t, waits))
  socket.write('1\n2\n')
  await new Promise((resolve) => socket.write('3\n', resolve))
  gate.resolve()
  socket.end('4\n')
  await closed
  t.deepEqual(taken, [1, 2, 3, 4])
})

test('what is at work when what is inside returns is waited for', async (t) => {
  const gate = deferred()
  const order: string[] = []
  const begun = deferred()
  const returns = app(
    pumping((_message, pump) => {
      begun.resolve()
      pump.track(gate.promise.then(() => order.push('work')))
    }),
  )
  returns.useConnection(
    async (_ctx, next) => {
      await next()
      order.push('outside')
    },
    { before: 'pumping' },
  )
  returns.useConnection(async () => {
    await begun.promise
    order.push('inside')
    setImmediate(gate.resolve)
  })
  const closed = once(returns, 'close')
  const socket = await dial(t, await serve(t, returns))
  socket.write('1\n')
  t.is(await readAll(socket), '')
  socket.end()
  await closed
  t.deepEqual(order, ['inside', 'work', 'outside'])
})

test('what is inside fails with its own error, after the work that it cut off', async (t) => {
  const order: string[] = []
  const begun = deferred()
  const fails = app(
    pumping((_message, pump) => {
      pump.track(begun.promise.then(() => order.push('work')))
      begun.resolve()
    }),
  )
  fails.useConnection(async () => {
    await begun.promise
    throw new Error('mine')
  })
  const told = once(fails, 'error')
  const socket = await dial(t, await serve(t, fails))
  socket.write('1\n')
  const [error] = (await told) as [Error]
  t.is(error.message, 'mine')
  t.deepEqual(order, ['work'])
})

test('a farewell is sent before the connection is destroyed', async (t) => {
  const polite = app(
    pumping(
      () => {
        throw new Error('mine')
      },
      { lastMessage: (error) => error.message },
    ),
  )
  polite.on('error', () => {})
  const socket = await dial(t, await serve(t, polite))
  socket.write('1\n')
  t.is(await readAll(socket), '"mine"\n')
})

test('a server at its far end ends a connection that drains between messages', async (t) => {
  const taken = deferred()
  const idle = app(pumping(() => taken.resolve()))
  const socket = await dial(t, await serve(t, idle))
  socket.write('1\n')
  await taken.promise
  const closed = idle.close({ timeout: Infinity })
  t.is(await readAll(socket), '')
  socket.end()
  t.deepEqual(await closed, { forced: 0 })
})

test('an option that it does not know is refused, and the owner is named', async (t) => {
  const server = app(pumping(() => {}, { maxRuning: 1 } as object))
  const failed = once(server, 'error')
  const socket = await dial(t, await serve(t, server))
  socket.write('1\n')
  const [error] = (await failed) as [Error & { code: string }]
  t.is(error.code, 'ERR_CIO_OPTION')
  t.regex(error.message, /the Pump of pumping: `maxRuning` .* did you mean `maxRunning`\?/)
})

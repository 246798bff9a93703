import test, { type ExecutionContext } from 'ava'
import { expectTypeOf } from 'expect-type'
import { once } from 'node:events'
import {
  Cio,
  type CioError,
  type EventsContext,
  type EventsOptions,
  type StreamContext,
  events,
  json,
  lines,
} from '../../src/index.ts'
import { msgpack } from '../../middleware/msgpack.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred, open, transports } from '../support/transports.ts'

interface Asked {
  add: [a: number, b: number]
  slow: []
  fail: [how: 'throw' | 'reject']
}

interface Told {
  sum: [sum: number]
  note: [text: string, details?: { deep: number[] }]
}

/** An app whose pipeline reaches its end right after its listeners are attached. */
function listening(
  attach: (ctx: StreamContext & EventsContext) => void,
  options: EventsOptions = {},
) {
  return new Cio()
    .useConnection(json())
    .useConnection(events(options))
    .useConnection(async (ctx, next) => {
      attach(ctx)
      await next()
    })
}

/** The events that an app emits for the first connection that fails. */
async function fault(app: Cio): Promise<{ event: string; code: string | undefined }> {
  const told = deferred<{ event: string; code: string | undefined }>()
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    app.on(event, (error: Error) => told.resolve({ event, code: (error as CioError).code }))
  }
  return told.promise
}

/** A client that writes the wire format by hand. */
async function speak(t: ExecutionContext, app: Cio, ...messages: unknown[]) {
  const socket = await dial(t, await serve(t, app))
  for (const message of messages) socket.write(`${JSON.stringify(message)}\n`)
  return socket
}

for (const transport of transports) {
  test(`events go both ways over ${transport}`, async (t) => {
    const app = new Cio()
      .useConnection(json())
      .useConnection(events<Asked, Told>())
      .useConnection(async (ctx, next) => {
        ctx.events.on('add', async (a, b) => ctx.events.emit('sum', a + b))
        await next()
      })
    const far = await open(t, app, transport)
    far.write('["add",1,2]\n["add",3,4]\n')
    far.end('["add",5,6]\n')
    t.is(await readAll(far), '["sum",3]\n["sum",7]\n["sum",11]\n')
  })
}

test('events go both ways over msgpack', async (t) => {
  const app = new Cio()
    .useConnection(msgpack())
    .useConnection(events<Asked, Told>())
    .useConnection(async (ctx, next) => {
      ctx.events.on('add', (a, b) => ctx.events.emit('sum', a + b))
      await next()
    })
    .useClient(msgpack())
    .useClient(events<Told, Asked>())
  const client = await app.connect((await serve(t, app)).port)
  const sum = new Promise((resolve) => client.events.on('sum', resolve))
  await client.events.emit('add', 20, 22)
  t.is(await sum, 42)
})

test('events in the first bytes reach listeners attached before any await', async (t) => {
  for (const wait of ['none', 'far end']) {
    const heard: unknown[] = []
    const app = listening((ctx) => {
      ctx.events.on('early', (which) => heard.push(which))
    })
    // The pipeline takes a while to reach the listeners.
    app.useConnection(
      async (_ctx, next) => {
        if (wait === 'far end') await new Promise((resolve) => setTimeout(resolve, 20))
        await next()
      },
      { before: 'events' },
    )
    const closed = once(app, 'close')
    const socket = await speak(t, app, ['early', 1], ['early', 2])
    socket.end()
    await closed
    t.deepEqual(heard, [1, 2])
  }
})

test('a client loses no event that arrives before its first listener', async (t) => {
  const app = new Cio()
    .useConnection(json())
    .useConnection(events())
    .useConnection(async (ctx, next) => {
      await ctx.events.emit('early', 1)
      await ctx.events.emit('early', 2)
      await next()
    })
    .useClient(json())
    .useClient(events())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  // The bytes arrive before there is a listener.
  client.socket!.once('readable', () => {})
  await once(client.socket!, 'readable')
  const heard: unknown[] = []
  const both = deferred()
  client.events.on('early', (which) => {
    if (heard.push(which) === 2) both.resolve()
  })
  await both.promise
  t.deepEqual(heard, [1, 2])
  await client.close()
})

test('a server without any listener notices that the peer has closed', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(events())
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['nobody', 'listens'])
  socket.end()
  t.is(await readAll(socket), '')
  await closed
})

test('a listener attached after the end of the pipeline receives later events', async (t) => {
  const reached = deferred<StreamContext & EventsContext>()
  const app = listening((ctx) => reached.resolve(ctx))
  const socket = await dial(t, await serve(t, app))
  const ctx = await reached.promise
  // The first event is ignored, and the second is split in the middle.
  const first = '["tick",1]\n["ti'
  socket.write(first)
  while (ctx.socket!.bytesRead < first.length || ctx.stream.readableLength > 0) {
    await new Promise((resolve) => setImmediate(resolve))
  }
  const heard = new Promise((resolve) => ctx.events.on('tick', resolve))
  socket.write('ck",2]\n')
  t.is(await heard, 2)
  socket.end()
})

test('a peer that half-closes gets the responses of listeners that are still running', async (t) => {
  const app = listening((ctx) => {
    ctx.events.on('slow', async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      await ctx.events.emit('done')
    })
  })
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['slow'])
  socket.end()
  t.is(await readAll(socket), '["done"]\n')
  await closed
})

test('a peer that resets its connection ends the pipeline', async (t) => {
  const heard = deferred()
  const app = listening((ctx) => ctx.events.on('here', () => heard.resolve()))
  const told = fault(app)
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['here'])
  await heard.promise
  socket.resetAndDestroy()
  await closed
  t.deepEqual(await told, { event: 'remoteError', code: 'ECONNRESET' })
})

test('once receives one event, off receives none, and the other listeners continue', async (t) => {
  const heard: string[] = []
  const app = listening(({ events }) => {
    const never = (): void => void heard.push('never')
    events.once('x', (n) => heard.push(`once ${String(n)}`))
    events.on('x', never).on('x', (n) => heard.push(`on ${String(n)}`))
    events.off('x', never).off('y', never)
  })
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['x', 1], ['x', 2])
  socket.end()
  await closed
  t.deepEqual(heard, ['once 1', 'on 1', 'on 2'])
})

for (const how of ['throw', 'reject'] as const) {
  test(`a listener that fails (${how}) ends its connection and no other`, async (t) => {
    const app = listening((ctx) => {
      ctx.events.on('fail', () => {
        const error = Object.assign(new Error('mine'), { code: 'MINE', syscall: 'open' })
        if (how === 'throw') throw error
        return Promise.reject(error)
      })
      ctx.events.on('ping', () => ctx.events.emit('pong'))
    })
    const told = fault(app)
    const server = await serve(t, app)
    const bad = await dial(t, server)
    const good = await dial(t, server)
    bad.write('["fail"]\n["ping"]\n')
    t.is(await readAll(bad).catch(() => ''), '')
    t.deepEqual(await told, { event: 'error', code: 'MINE' })
    good.end('["ping"]\n')
    t.is(await readAll(good), '["pong"]\n')
  })
}

test('an event that a peer names error, __proto__, constructor or toString has no effect', async (t) => {
  const heard: unknown[] = []
  const app = listening(({ events }) => events.on('fine', (n) => heard.push(n)))
  const told = fault(app)
  const closed = once(app, 'close')
  const names = ['error', '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'newListener']
  const socket = await speak(t, app, ...names.map((name) => [name, 'x']), ['fine', 1])
  socket.end()
  await closed
  t.deepEqual(heard, [1])
  t.is(await Promise.race([told, Promise.resolve('nothing')]), 'nothing')
})

test('the names __proto__ and constructor are names like any other for listeners', async (t) => {
  const heard: unknown[] = []
  const app = listening(({ events }) => {
    events.on('__proto__', (n) => heard.push(n)).on('constructor', (n) => heard.push(n))
  })
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['__proto__', 1], ['constructor', 2])
  socket.end()
  await closed
  t.deepEqual(heard, [1, 2])
  t.false('polluted' in {})
})

test('the name error is rejected by on, once and emit', async (t) => {
  const seen = deferred<unknown[]>()
  const app = listening(({ events }) => {
    const codes = [
      () => events.on('error', () => {}),
      () => events.once('error', () => {}),
      () => events.emit('error', 1),
      () => events.emit(5 as unknown as string),
    ].map((attempt) => t.throws(attempt)?.['code' as keyof Error])
    seen.resolve(codes)
  })
  await speak(t, app)
  t.deepEqual(await seen.promise, Array(4).fill('ERR_CIO_EVENT_NAME'))
})

for (const message of [{}, 'x', 5, null, [], [5], [['x']], [null]]) {
  test(`a message that is not an event ends the connection: ${JSON.stringify(message)}`, async (t) => {
    const app = listening(({ events }) => events.on('x', () => {}))
    const told = fault(app)
    const socket = await speak(t, app, message)
    t.is(await readAll(socket).catch(() => ''), '')
    t.deepEqual(await told, { event: 'remoteError', code: 'ERR_CIO_SYNTAX' })
  })
}

test('an event of more arguments than a call can have is the fault of the peer', async (t) => {
  const app = listening(({ events }) => events.on('x', () => {}))
  const told = fault(app)
  const socket = await speak(t, app, ['x', ...Array<number>(400_000).fill(0)])
  t.is(await readAll(socket).catch(() => ''), '')
  t.deepEqual(await told, { event: 'remoteError', code: 'ERR_CIO_SYNTAX' })
})

test('no more listeners run than maxRunning, and the peer has to wait', async (t) => {
  let running = 0
  let most = 0
  const app = listening(
    (ctx) => {
      ctx.events.on('work', async () => {
        most = Math.max(most, ++running)
        await new Promise((resolve) => setImmediate(resolve))
        running--
      })
    },
    { maxRunning: 3 },
  )
  const closed = once(app, 'close')
  const socket = await speak(t, app, ...Array.from({ length: 50 }, () => ['work']))
  socket.end()
  await closed
  t.is(most, 3)
  t.is(running, 0)
})

test('emit waits for a peer that does not read, and rejects when it has closed', async (t) => {
  const outcome = deferred<string>()
  const stalled = deferred()
  const app = listening((ctx) => {
    ctx.events.on('flood', async () => {
      // More than the kernel's buffers hold.
      while (ctx.stream.writableLength < 1_000_000) {
        void ctx.events.emit('x', 'y'.repeat(100_000))
        await new Promise((resolve) => setImmediate(resolve))
      }
      const sent = ctx.events.emit('x')
      stalled.resolve()
      await sent.then(
        () => outcome.resolve('sent'),
        (error: CioError) => outcome.resolve(error.code),
      )
    })
  })
  app.on('remoteError', () => {})
  const socket = await speak(t, app, ['flood'])
  await stalled.promise
  socket.resetAndDestroy()
  t.is(await outcome.promise, 'ERR_CIO_CLOSED')
})

test('a server that drains stops between events and ends its connections', async (t) => {
  const begun = deferred()
  const app = listening((ctx) => {
    ctx.events.on('slow', async () => {
      begun.resolve()
      await once(ctx.draining, 'abort')
      await ctx.events.emit('done')
    })
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.write('["slow"]\n')
  await begun.promise
  const said = readAll(socket).then((text) => {
    socket.end()
    return text
  })
  t.deepEqual(await app.close({ timeout: Infinity }), { forced: 0 })
  t.is(await said, '["done"]\n')
})

test('a client that closes ends at once if no listener is running', async (t) => {
  const app = new Cio()
    .useConnection(json())
    .useConnection(events())
    .useClient(json())
    .useClient(events())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  client.events.on('x', () => {})
  await client.events.emit('y')
  t.deepEqual(await client.close({ timeout: Infinity }), { forced: 0 })
})

test('the listeners of a connection are removed when it has closed', async (t) => {
  const contexts: StreamContext[] = []
  const app = listening((ctx) => {
    contexts.push(ctx)
    ctx.events.on('x', () => {})
  })
  const closed = once(app, 'close')
  const socket = await speak(t, app, ['x'])
  socket.end()
  await closed
  const [{ stream }] = contexts as [StreamContext]
  t.is(stream.listenerCount('readable'), 0)
  t.is(stream.listenerCount('removeListener'), 0)
})

test('emit rejects after the connection has closed', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection(() => {}),
  )
  const client = await new Cio().useClient(json()).useClient(events()).connect(server.port)
  await client.closed
  await t.throwsAsync(client.events.emit('x'), { code: 'ERR_CIO_CLOSED' })
})

test('options that are unknown or out of range are rejected', (t) => {
  for (const options of [{ maxRunning: 0 }, { maxRunning: 1.5 }, { max: 1 }]) {
    t.throws(() => events(options), { code: 'ERR_CIO_OPTION' })
  }
})

test('without a codec before it, events names the missing middleware', async (t) => {
  const app = new Cio()
  app.useConnection(events() as unknown as () => unknown)
  const told = fault(app)
  await dial(t, await serve(t, app))
  t.deepEqual(await told, { event: 'error', code: 'ERR_CIO_NO_MESSAGES' })
})

test('events are typed by their maps, and need messages of any value', (t) => {
  const attach = (): void => {
    // @ts-expect-error: nothing has added messages
    new Cio().useConnection(events())
    // @ts-expect-error: lines take no arrays
    new Cio().useConnection(lines()).useConnection(events())

    new Cio()
      .useConnection(json())
      .useConnection(events<Asked, Told>())
      .useConnection(async ({ events }) => {
        events.on('add', (a) => expectTypeOf(a).toEqualTypeOf<number>())
        await events.emit('sum', 1)
        // @ts-expect-error: not an event that comes
        events.on('sum', () => {})
        // @ts-expect-error: not an event that goes
        await events.emit('add', 1, 2)
        // @ts-expect-error: not its argument
        await events.emit('sum', 'one')
      })
  }
  t.is(typeof attach, 'function')
})

/** Readers of one connection's messages: two at a time, and those that come too late. */

import test from 'ava'
import {
  Cio,
  type Messages,
  type Next,
  type StreamContext,
  events,
  json,
  lines,
  reconnect,
  rpc,
} from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred, nextEvent, open } from '../support/transports.ts'

type Ctx = StreamContext & { messages: Messages<unknown> }

const readers: Record<string, (ctx: Ctx, next: Next) => unknown> = {
  async loop({ messages }, next) {
    const read = async (): Promise<void> => {
      for await (const message of messages) void message
    }
    await Promise.all([read(), next()])
  },
  async each({ messages }, next) {
    await Promise.all([messages.each(() => {}), next()])
  },
  async once({ messages }, next) {
    await Promise.all([messages.next(), next()])
  },
  rpc: rpc({ methods: { hello: () => 'hello' } }) as never,
  // By itself it begins when a listener is attached.
  events: events() as never,
}

for (const first of Object.keys(readers)) {
  for (const second of Object.keys(readers)) {
    if (first === second || first === 'events') continue
    test(`\`${first}\` and \`${second}\` of one ctx.messages are two readers, which is said at once (stream-utils/raw-body#57)`, async (t) => {
      const app = new Cio().useConnection(json())
      for (const name of [first, second]) app.useConnection(readers[name]!, { name })
      const told = nextEvent(app, 'error')
      const closed = nextEvent(app, 'close')
      await open(t, app, 'tcp')
      const [error] = await told
      t.like(error, { code: 'ERR_CIO_TWO_READERS', fault: 'local' })
      for (const name of [first, second]) t.true(error.message.includes(`\`${name}\``))
      await closed
    })
  }
}

const busyReaders: Record<string, (ctx: Ctx, take: () => Promise<void>) => Promise<void>> = {
  async loop({ messages }, take) {
    for await (const message of messages) {
      void message
      await take()
    }
  },
  each: ({ messages }, take) => messages.each(() => take()),
}

for (const [first, read] of Object.entries(busyReaders)) {
  for (const second of ['loop', 'each', 'once', 'rpc']) {
    test(`\`${first}\` that is busy with a message while \`${second}\` begins is found when it asks for the next one`, async (t) => {
      const [taken, free] = [deferred(), deferred()]
      const app = new Cio()
        .useConnection(json())
        .useConnection(
          async (ctx: StreamContext, next) => {
            const reading = read(ctx as Ctx, () => {
              taken.resolve()
              return free.promise
            })
            await taken.promise
            await Promise.all([reading, next()])
          },
          { name: 'busy' },
        )
        .useConnection(readers[second]!, { name: second })
        .useConnection((_, next) => {
          free.resolve()
          return next()
        })
      const told = nextEvent(app, 'error')
      const client = await open(t, app, 'tcp')
      client.write('1\n')
      const [error] = await told
      t.like(error, { code: 'ERR_CIO_TWO_READERS', fault: 'local' })
      for (const name of ['busy', second]) t.true(error.message.includes(`\`${name}\``))
    })
  }
}

test('one middleware may read in turns, in each way, and leave the rest to what is inside', async (t) => {
  const app = new Cio()
    .useConnection(lines())
    .useConnection(async (ctx, next) => {
      const got = [await ctx.messages.next(), await ctx.messages.next()].map(({ value }) => value)
      for await (const line of ctx.messages) {
        got.push(line)
        break
      }
      await ctx.messages.send(got.join())
      await next()
    })
    .useConnection((ctx) =>
      ctx.messages.each(async (line) => {
        const { value } = await ctx.messages.next()
        await ctx.messages.send(`${line}+${value}`)
      }),
    )
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n3\n4\n5\n')
  t.is(await readAll(socket), '1,2,3\n4+5\n')
})

test('workers of one middleware may share the messages', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    const work = async (): Promise<void> => {
      for await (const line of ctx.messages) await ctx.messages.send(line.toUpperCase())
    }
    await Promise.all([work(), work()])
  })
  const socket = await dial(t, await serve(t, app))
  socket.end('a\nb\nc\n')
  t.is((await readAll(socket)).split('\n').toSorted().join(''), 'ABC')
})

for (const transport of ['memory', 'tcp', 'unix', 'TLS 1.3'] as const) {
  test(`a read begun before the end of a connection whose middleware has returned settles, over ${transport}`, async (t) => {
    const read = deferred<unknown>()
    const late = deferred<unknown>()
    const app = new Cio().useConnection(lines()).useConnection((ctx) => {
      void ctx.messages.next().then(read.resolve, read.resolve)
      void ctx.closed.then(() => ctx.messages.next().then(late.resolve, late.resolve))
    })
    const client = await open(t, app, transport)
    client.resume().end()
    for (const settled of [await read.promise, await late.promise]) {
      if (settled instanceof Error) t.like(settled, { code: 'ERR_CIO_CLOSED' })
      else t.deepEqual(settled, { done: true, value: undefined })
    }
  })
}

for (const again of [false, true]) {
  test(`reads of a client that was closed settle${again ? ', with reconnect' : ''}`, async (t) => {
    const server = await serve(
      t,
      new Cio().useConnection(lines()).useConnection(({ messages }) => messages.each(() => {})),
    )
    const app = new Cio()
    if (again) app.useClient(reconnect())
    const client = await app.useClient(lines()).connect(server.port)
    const read = client.messages.next()
    await client.close()
    t.true((await read).done)
    await Promise.allSettled([client.messages.next(), client.messages.each(() => {})])
    for await (const line of client.messages) t.fail(line)
  })
}

test('reads of a client whose reconnect has given up settle, whenever they begin', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection(lines()).useConnection(() => {}),
  )
  let inside: Promise<unknown> | undefined
  const app = new Cio()
    .useClient(
      async (ctx: StreamContext, next) => {
        try {
          await next()
        } finally {
          inside = (ctx as Ctx).messages.next().catch((error: unknown) => error)
        }
      },
      { name: 'outside', before: 'reconnect' },
    )
    .useClient(reconnect({ retries: 0 }))
    .useClient(lines())
  app.on('error', () => {})
  app.on('remoteError', () => {})
  const client = await app.connect(server.port)
  const read = client.messages.next().catch((error: unknown) => error)
  await client.closed
  await read
  await inside
  await client.messages.next().catch((error: unknown) => error)
  t.pass()
})

test('a codec after the handler is an error that says so, without types', async (t) => {
  for (const use of [
    (messages: Messages<unknown>) => messages.send('hello'),
    async (messages: Messages<unknown>) => {
      for await (const message of messages) void message
    },
  ]) {
    const app = new Cio()
    app.useConnection(function handler(ctx: object, next) {
      t.false((ctx as StreamContext).hasMessages)
      void next
      return use((ctx as Ctx).messages)
    })
    app.useConnection(json())
    const told = nextEvent(app, 'error')
    await open(t, app, 'tcp')
    const [error] = await told
    t.like(error, { code: 'ERR_CIO_NO_MESSAGES' })
    t.true(error.message.includes('`handler`'))
  }
})

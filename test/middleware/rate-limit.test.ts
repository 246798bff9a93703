import test from 'ava'
import { once } from 'node:events'
import { Cio, type CioError, type StreamContext, frames, json, rateLimit } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'

/** An app that answers each message; the first one names the client. */
const named = new WeakMap<StreamContext, string>()

test('messages above the rate wait for their turn, and none is lost', async (t) => {
  const at: number[] = []
  const app = new Cio()
    .useConnection(json<number>())
    .useConnection(rateLimit({ rate: { count: 5, per: 250 } }))
    .useConnection(async ({ messages }) => {
      for await (const message of messages) {
        at.push(performance.now())
        await messages.send(message)
      }
    })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  // The loop may see the first message late, on a busy machine; its turn cannot have been earlier.
  const sent = performance.now()
  socket.end(Array.from({ length: 10 }, (_, index) => `${index}\n`).join(''))
  t.is(await readAll(socket), '0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n')
  // Five at once, and then one each 50 ms.
  t.true(at[9]! - sent >= 245, `${at[9]! - sent} ms`)
})

test('the sender is held back while messages wait', async (t) => {
  const app = new Cio()
    .useConnection(json<string>())
    .useConnection(rateLimit({ rate: { count: 1, per: 60_000 } }))
    .useConnection(({ messages }) => messages.each(() => {}))
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const message = `"${'x'.repeat(10_000)}"\n`
  // Until the kernel's buffers are full; the server has one chunk at most.
  while (socket.write(message) || !(await drains(socket)));
  const { bytesRead } = [...server.connections][0]!.socket!
  t.true(bytesRead < 1_000_000, `${bytesRead} bytes`)
})

/** Whether a socket still drains: false if it does not within a second. */
async function drains(socket: NodeJS.WritableStream): Promise<boolean> {
  const drained = once(socket, 'drain').then(() => true)
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 1_000))
  return !(await Promise.race([drained, late]))
}

test('connections of one key share the rate, others have their own, and null has none', async (t) => {
  const app = new Cio()
    .useConnection(json<string>())
    .useConnection(async (ctx, next) => {
      const { value = '' } = await ctx.messages.next()
      named.set(ctx, value)
      await ctx.messages.send('hello')
      await next()
    })
    .useConnection(
      rateLimit({
        rate: { count: 2, per: 60_000 },
        by: (ctx) => (named.get(ctx) === 'free' ? null : named.get(ctx)!),
        over: 'close',
      }),
    )
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
  app.on('remoteError', () => {})
  const server = await serve(t, app)
  const ask = async (name: string, count: number): Promise<string> => {
    const socket = await dial(t, server)
    socket.write(`"${name}"\n`)
    await once(socket, 'data')
    socket.end('1\n'.repeat(count))
    return readAll(socket)
  }
  t.is(await ask('ann', 1), '1\n')
  t.is(await ask('ann', 1), '1\n')
  const closed = once(app, 'remoteError')
  t.is(await ask('ann', 1), '')
  t.is(((await closed)[0] as CioError).code, 'ERR_CIO_RATE')
  t.is(await ask('bob', 2), '1\n1\n')
  t.is(await ask('free', 50), '1\n'.repeat(50))
})

test('above maxKeys the key that was used least recently is dropped', async (t) => {
  const app = new Cio()
    .useConnection(json<string>())
    .useConnection(async (ctx, next) => {
      const { value = '' } = await ctx.messages.next()
      named.set(ctx, value)
      await next()
    })
    .useConnection(
      rateLimit({
        rate: { count: 1, per: 60_000 },
        by: (ctx) => named.get(ctx)!,
        over: 'close',
        maxKeys: 2,
      }),
    )
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
  app.on('remoteError', () => {})
  const server = await serve(t, app)
  const ask = async (name: string): Promise<string> => {
    const socket = await dial(t, server)
    socket.end(`"${name}"\n1\n`)
    return readAll(socket).catch(() => '')
  }
  t.is(await ask('a'), '1\n')
  t.is(await ask('b'), '1\n')
  t.is(await ask('a'), '')
  // Now b is the one that was used least recently.
  t.is(await ask('c'), '1\n')
  t.is(await ask('a'), '')
  t.is(await ask('b'), '1\n')
})

test('a message that waits does not hold a connection that closes', async (t) => {
  const taken: unknown[] = []
  const app = new Cio()
    .useConnection(json())
    .useConnection(rateLimit({ rate: { count: 1, per: 3_600_000 } }))
    .useConnection(({ messages }) => messages.each((message) => taken.push(message)))
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.on('error', () => {})
  socket.write('1\n2\n')
  while (taken.length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(await server.close({ timeout: 10 }), { forced: 1 })
  t.deepEqual(taken, [1])
})

test('it follows every codec, whatever the codec sends', async (t) => {
  const app = new Cio()
    .useConnection(frames({ length: 1 }))
    .useConnection(rateLimit({ rate: { count: 10, per: 1_000 } }))
    .useConnection(({ messages }) => messages.each((frame) => messages.send(frame)))
  const socket = await dial(t, await serve(t, app))
  socket.end('\x02hi')
  t.is(await readAll(socket), '\x02hi')
})

test('options are checked', (t) => {
  const rate = { count: 1, per: 1 }
  const wrong = [
    {},
    { rate: { count: 0, per: 1 } },
    { rate, by: 'name' },
    { rate, over: 'drop' },
    { rate, maxKeys: 0 },
    { rate, maxkeys: 1 },
  ]
  for (const options of wrong) {
    t.throws(() => rateLimit(options as never), { code: 'ERR_CIO_OPTION' })
  }
})

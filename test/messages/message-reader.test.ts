import test from 'ava'
import { once } from 'node:events'
import { Cio, json, lines } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'

test('a chunk that nobody waits for stays in the stream, and is read when somebody does', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages, stream }) => {
    t.deepEqual(await messages.next(), { done: false, value: 'one' })
    await messages.send('more')
    while (stream.readableLength === 0) await new Promise((resolve) => setImmediate(resolve))
    t.true(stream.isPaused())
    const rest: string[] = []
    for await (const line of messages) rest.push(line)
    await messages.send(rest.join())
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.write('one\n')
  await once(socket, 'data')
  socket.end('two\nthree\n')
  t.is(await readAll(socket), 'two,three\n')
})

test('a peer that sends without end is held back while nobody waits', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }, next) => {
    await messages.next()
    await next()
  })
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const socket = await dial(t, server)
  const [ctx] = await opened
  const paused = once(ctx.stream, 'pause')
  const block = Buffer.from(`${'x'.repeat(999)}\n`.repeat(64))
  for (let sent = 0; sent < 500; sent++) socket.write(block)
  await paused
  // What it has, and what the kernel holds, is a bounded part.
  const before = ctx.stream.readableLength
  while (socket.writableLength === 0) await new Promise((resolve) => setImmediate(resolve))
  t.true(before < 1_000_000)
  t.true(ctx.stream.readableLength < 1_000_000)
})

test('what came before a reset is handed out, then the loss is told', async (t) => {
  const received: string[] = []
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages, stream }) => {
    await messages.next()
    await messages.send('reset now')
    await new Promise((resolve) => stream.on('close', resolve))
    // What the stream holds is still there, without an end.
    for (;;) {
      const { value, done } = await messages.next()
      if (done) break
      received.push(value)
    }
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const told = once(app, 'remoteError')
  socket.write('one\ntwo\n')
  await once(socket, 'data')
  socket.resetAndDestroy()
  const [error] = await told
  t.deepEqual(received, ['two'])
  t.is(error.code, 'ECONNRESET')
})

test('calls that wait at the end of input are all answered, and later ones too', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    const calls = [messages.next(), messages.next(), messages.each(() => t.fail())]
    await Promise.all(calls)
    t.deepEqual(await messages.next(), { done: true, value: undefined })
    await messages.each(() => t.fail())
    await messages.send('over')
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end()
  t.is(await readAll(socket), '"over"\n')
})

test('each and next at once share the messages between them', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    const taken: unknown[] = []
    const first = messages.next().then(({ value }) => taken.push(value))
    await messages.each((message) => taken.push(message))
    await first
    await messages.send(taken.length)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n3\n4\n')
  t.is(await readAll(socket), '4\n')
})

test('each waits for anything that can be awaited', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    let running = 0
    await messages.each(() => {
      t.is(++running, 1)
      return new Query(() => (running -= 1))
    })
    await messages.send('done')
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n3\n')
  t.is(await readAll(socket), '"done"\n')
})

/** As query builders are: it begins when it is awaited. */
class Query {
  readonly #run: () => unknown

  constructor(run: () => unknown) {
    this.#run = run
  }

  // oxlint-disable-next-line unicorn/no-thenable
  then(resolve: (value: unknown) => void): void {
    setImmediate(() => resolve(this.#run()))
  }
}

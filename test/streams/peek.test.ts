import test from 'ava'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { Cio, type ConnectionContext } from '../../src/index.ts'
import { Peek } from '../../src/kit.ts'
import { readAll } from '../support/serve.ts'
import { type Transport, deferred, open, tooMuch, writeUnread } from '../support/transports.ts'

const bounds = { maxSize: 16, timeout: 60_000 }
const all: readonly Transport[] = ['memory', 'tcp', 'unix', 'TLS 1.3', 'TLS 1.2']

/** An app that looks as it is told, and then sends back all that it reads. */
function looking(
  look: (peek: Peek, ctx: ConnectionContext) => Promise<void>,
  given: object = {},
): Cio {
  return new Cio().useConnection(async function peek(ctx) {
    const peek = new Peek(ctx.stream, { ...bounds, ...given })
    await look(peek, ctx)
    peek.release()
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
}

for (const transport of all) {
  test(`what was looked at is read again, in its order, also past the end of input (${transport})`, async (t) => {
    const seen: string[] = []
    const app = looking(async (peek) => {
      while (await peek.more()) seen.push(peek.bytes.toString())
      seen.push(peek.bytes.toString())
    })
    const client = await open(t, app, transport)
    client.write('one ')
    client.end('two')
    t.is(await readAll(client), 'one two')
    t.is(seen.at(-1), 'one two')
  })
}

test('it ends with the bytes, and says so', async (t) => {
  const app = looking(async (peek) => {
    while (await peek.more());
    t.true(peek.isOver)
    t.true(peek.bytes.length >= bounds.maxSize)
  })
  const client = await open(t, app, 'tcp')
  client.end('x'.repeat(64))
  t.is(await readAll(client), 'x'.repeat(64))
})

test('it ends with the time, which is not counted after', async (t) => {
  const app = looking(
    async (peek) => {
      t.false(await peek.more())
      t.is(peek.bytes.length, 0)
    },
    { timeout: 20 },
  )
  const looked = looking(async (peek) => void (await peek.more()), { timeout: 40 })
  const silent = await open(t, app, 'tcp')
  const client = await open(t, looked, 'tcp')
  client.write('a')
  t.is(String((await once(client, 'data'))[0]), 'a')
  await new Promise((resolve) => setTimeout(resolve, 80))
  for (const one of [silent, client]) {
    one.write('later')
    t.is(String((await once(one, 'data'))[0]), 'later')
  }
})

test('it leaves no listener behind, and ends when the stream closes', async (t) => {
  let before = ''
  const listeners = ({ stream }: ConnectionContext): string =>
    stream
      .eventNames()
      .map((event) => `${String(event)} ${stream.listenerCount(event)}`)
      .toSorted()
      .join()
  const app = new Cio().useConnection(async (ctx) => {
    before = listeners(ctx)
    const peek = new Peek(ctx.stream, bounds)
    t.true(await peek.more())
    const gone = peek.more()
    ctx.stream.destroy()
    t.false(await gone)
    peek.release()
    t.is(listeners(ctx), before)
    t.false(await peek.more())
  })
  const closed = once(app, 'close')
  const client = await open(t, app, 'tcp')
  client.write('a')
  await closed
})

for (const transport of all) {
  for (const [bound, given] of [
    ['its bytes', {}],
    ['its time', { maxSize: Infinity, timeout: 20 }],
  ] as const) {
    test(`at the bound of ${bound} it reads nothing more while the application awaits something else (${transport})`, async (t) => {
      const [looked, goOn] = [deferred(), deferred()]
      let size = 0
      const app = new Cio().useConnection(async (ctx) => {
        const peek = new Peek(ctx.stream, { ...bounds, ...given })
        while (await peek.more());
        looked.resolve()
        await goOn.promise
        peek.release()
        for await (const chunk of ctx) size += chunk.length
      })
      const closed = once(app, 'close')
      const client = await open(t, app, transport)
      const first = 'x'.repeat(64)
      client.write(first)
      await looked.promise
      const taken = await writeUnread(client)
      t.true(taken < tooMuch / 2, `${taken} bytes`)
      goOn.resolve()
      client.resume()
      await closed
      t.is(size, first.length + tooMuch)
    })
  }
}

test('of a stream that has its next chunk at once it takes no more than the bound', async (t) => {
  let made = 0
  const endless = new Duplex({
    read() {
      made += 1
      this.push(Buffer.alloc(bounds.maxSize / 2))
    },
  })
  t.teardown(() => endless.destroy())
  const peek = new Peek(endless, bounds)
  while (await peek.more());
  t.is(peek.bytes.length, bounds.maxSize)
  // Beside those it reads ahead, as each stream does.
  t.true(made <= endless.readableHighWaterMark / (bounds.maxSize / 2) + 2, `${made} chunks`)
})

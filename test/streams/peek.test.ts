import test from 'ava'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { Cio, type ConnectionContext } from '../../src/index.ts'
import { Peek } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { everyCut } from '../support/every-cut.ts'
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

test('it holds at most one chunk more than its bound while the application awaits', async (t) => {
  const [near, far] = duplexPair()
  t.teardown(() => near.destroy())
  const peek = new Peek(near, bounds)
  far.write('x'.repeat(8))
  t.true(await peek.more())
  let sent = 8
  while (far.write('x'.repeat(1024))) sent += 1024
  for (let turns = 0; turns < 100; turns++) await turn()
  t.is(peek.bytes.length, 8)
  t.false(await peek.more(), 'the bound is reached')
  const held = peek.bytes.length
  for (let turns = 0; turns < 100; turns++) {
    far.write('x'.repeat(1024))
    await turn()
  }
  t.is(peek.bytes.length, held)
  peek.release()
  far.end()
  const all = await readAll(near)
  t.true(all.length > sent)
  t.is(all.length % 1024, 8)
})

for (const transport of all) {
  test(`lines and bytes are taken, and what follows them stays (${transport})`, async (t) => {
    const app = looking(async (peek, { stream }) => {
      stream.write('220 hello\r\n')
      const taken = [await peek.takeLine(), await peek.takeLine(), String(await peek.take(4))]
      stream.write(JSON.stringify(taken))
    })
    const client = await open(t, app, transport)
    t.is(String((await once(client, 'data'))[0]), '220 hello\r\n', 'the server speaks first')
    client.end('first\r\n\nfourrest')
    t.is(await readAll(client), '["first","","four"]rest')
  })
}

test('what is taken does not depend on how it was cut, or on whether the end has come', async (t) => {
  const input = Buffer.from('a\u00fcb\r\nsix666\nrest')
  for (const chunks of [...everyCut(input), ...everyCut(input)].entries()) {
    const [near, far] = duplexPair()
    const [run, pieces] = chunks
    const isAtOnce = run % 2 === 0
    const send = async (): Promise<void> => {
      for (const piece of pieces) {
        far.write(piece)
        if (!isAtOnce) await turn()
      }
      far.end()
    }
    const sending = send()
    const peek = new Peek(near, bounds)
    t.is(await peek.takeLine(), 'a\u00fcb')
    if (run % 3 === 0) await sending.then(() => turn())
    t.is(String(await peek.take(6)), 'six666')
    t.is(await peek.takeLine(), '')
    peek.release()
    await sending
    t.is(await readAll(near), 'rest')
  }
})

test('all may be taken, and the end follows', async (t) => {
  for (const ends of [true, false]) {
    const [near, far] = duplexPair()
    far.write('token\n')
    if (ends) far.end()
    const peek = new Peek(near, bounds)
    t.is(await peek.takeLine(), 'token')
    peek.release()
    far.end()
    t.is(await readAll(near), '')
  }
})

test('lines up to the bound are taken one after the other, however long all of them are', async (t) => {
  const [near, far] = duplexPair()
  const peek = new Peek(near, bounds)
  const line = 'x'.repeat(bounds.maxSize - 1)
  far.write(`${line}\n`.repeat(100))
  for (let count = 0; count < 100; count++) t.is(await peek.takeLine(), line)
  const next = peek.take(bounds.maxSize)
  far.write('y'.repeat(bounds.maxSize))
  t.is(String(await next), 'y'.repeat(bounds.maxSize))
  peek.release()
  near.destroy()
})

test('what was taken does not hold its chunk in memory, and does not change', async (t) => {
  const [near, far] = duplexPair()
  const peek = new Peek(near, bounds)
  far.write(Buffer.concat([Buffer.from('magic'), Buffer.alloc(100_000)]))
  const magic = await peek.take(5)
  t.true(magic.buffer.byteLength < 100_000, 'the pool of Node, and not the chunk')
  peek.release()
  const rest = near.read() as Buffer
  rest.fill(1)
  t.is(String(magic), 'magic')
  near.destroy()
})

const refused: readonly [what: string, input: Buffer | string, code: string, text: RegExp][] = [
  ['a line that is too long', 'x'.repeat(16), 'ERR_CIO_MESSAGE_TOO_LONG', /longer than 16 bytes/],
  ['one whose end has come', `${'x'.repeat(16)}\n`, 'ERR_CIO_MESSAGE_TOO_LONG', /than 16 bytes/],
  ['no UTF-8', Buffer.from('\xff\n', 'latin1'), 'ERR_CIO_SYNTAX', /not UTF-8/],
  ['an end within a line', 'toke', 'ERR_CIO_TRUNCATED', /before a line: 4 bytes arrived/],
  ['an end without a byte', '', 'ERR_CIO_NOTHING_SAID', /without sending a byte/],
]

for (const [what, input, code, message] of refused) {
  test(`takeLine() rejects ${what}, and leaves it in the stream`, async (t) => {
    for (const pieces of input.length === 0 ? [[]] : everyCut(Buffer.from(input))) {
      const [near, far] = duplexPair()
      const peek = new Peek(near, bounds)
      const line = peek.takeLine()
      for (const piece of pieces) far.write(piece)
      far.end()
      await t.throwsAsync(line, { code, message })
      peek.release()
      const left = await readAll(near)
      t.is(left, code === 'ERR_CIO_SYNTAX' ? '' : String(input))
    }
  })
}

test('one time limits all that is taken', async (t) => {
  const [near, far] = duplexPair()
  const peek = new Peek(near, { maxSize: 16, timeout: 50 })
  far.write('line\nab')
  t.is(await peek.takeLine(), 'line')
  await t.throwsAsync(peek.take(3), {
    code: 'ERR_CIO_PEEK_TIMEOUT',
    message: '3 bytes did not arrive within 50 ms',
  })
  t.is(String(await peek.take(2)), 'ab', 'what has come may still be taken')
  peek.release()
  near.destroy()
})

test('a connection that breaks says so, and an error of the network is the cause', async (t) => {
  const [near, far] = duplexPair()
  near.on('error', () => {})
  const peek = new Peek(near, bounds)
  far.write('ab')
  t.is(String(await peek.take(1)), 'a')
  const rest = peek.take(2)
  const cause = new Error('ECONNRESET')
  near.destroy(cause)
  await t.throwsAsync(rest, { code: 'ERR_CIO_TRUNCATED' })
  const error = await rest.catch((thrown: unknown) => thrown)
  t.is((error as Error).cause, cause)
})

test('after release() nothing is taken', async (t) => {
  const [near, far] = duplexPair()
  const peek = new Peek(near, bounds)
  far.write('ab')
  t.is(String(await peek.take(1)), 'a')
  const waiting = peek.take(2)
  peek.release()
  await t.throwsAsync(waiting, { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(peek.take(1), { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(peek.takeLine(), { code: 'ERR_CIO_CLOSED' })
  peek.release()
  far.end()
  t.is(await readAll(near), 'b')
})

for (const size of [0, -1, 1.5, 17, Number.NaN]) {
  test(`take(${size}) is refused within a bound of 16`, async (t) => {
    const [near] = duplexPair()
    const peek = new Peek(near, bounds)
    await t.throwsAsync(peek.take(size), { code: 'ERR_CIO_OPTION', message: /from 1 to `maxSize`/ })
  })
}

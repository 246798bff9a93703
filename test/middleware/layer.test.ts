import test from 'ava'
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Duplex, Transform } from 'node:stream'
import {
  createBrotliCompress,
  createBrotliDecompress,
  createDeflate,
  createGunzip,
  createGzip,
  createInflate,
  gzipSync,
} from 'node:zlib'
import { Cio, CioError, isCioError, lines, layer } from '../../src/index.ts'
import { StackLayer, chunksOf } from '../../src/kit.ts'
import { identity, path } from '../support/certificates.ts'
import { inUse } from '../support/cost.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { readAll, serve } from '../support/serve.ts'
import { deferred, untilClosed, nextEvent, open, transports } from '../support/transports.ts'

const gzip = () => layer({ decode: () => createGunzip(), encode: () => createGzip() })

/** The events that an app emits for a connection that fails. */
function failure(app: Cio): Promise<[event: string, error: Error]> {
  return new Promise((resolve) => {
    app.on('remoteError', (error) => resolve(['remoteError', error]))
    app.on('error', (error) => resolve(['error', error]))
  })
}

for (const transport of transports) {
  test(`over ${transport}, requests and responses pass, and a side may respond after an end`, async (t) => {
    const app = new Cio().useConnection(gzip()).useConnection(async ({ stream }) => {
      for await (const chunk of chunksOf(stream)) stream.write(`<${String(chunk)}>`)
      stream.write('bye')
    })
    const client = new StackLayer(await open(t, app, transport), {
      decode: [createGunzip()],
      encode: [createGzip()],
    })
    client.write('one')
    t.is(String((await once(client, 'data'))[0]), '<one>')
    client.write('two')
    t.is(String((await once(client, 'data'))[0]), '<two>')
    client.end()
    t.is(await readAll(client), 'bye')
  })
}

const pairs = {
  deflate: { decode: () => createInflate(), encode: () => createDeflate() },
  brotli: { decode: () => createBrotliDecompress(), encode: () => createBrotliCompress() },
}
for (const [name, coders] of Object.entries(pairs)) {
  test(`${name} passes each request and response, on both sides`, async (t) => {
    const app = new Cio()
      .useConnection(layer(coders))
      .useConnection(lines())
      .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
      .useClient(layer(coders))
      .useClient(lines())
    const { port } = await serve(t, app)
    const client = await app.connect({ port, connectTimeout: Infinity })
    for (const word of ['one', 'two', 'three']) {
      await client.messages.send(word)
      t.is((await client.messages.next()).value, word.toUpperCase())
    }
    await client.close()
  })
}

test('layers stack, over TLS too, where ctx.peer stays the verified identity', async (t) => {
  const app = new Cio()
    .useConnection(gzip())
    .useConnection(layer(pairs.brotli), { name: 'inner' })
    .useConnection((ctx) => void ctx.stream.end(ctx.peer?.name))
    .useClient(gzip())
    .useClient(layer(pairs.brotli), { name: 'inner' })
  const { port } = await serve(t, app, {
    ...identity('server'),
    ca: path('root.crt'),
    requestCert: true,
  })
  const client = await app.connect({
    port,
    connectTimeout: Infinity,
    ca: path('root.crt'),
    ...identity('alice'),
  })
  t.is(await readAll(chunksOf(client.stream)), 'alice')
  await client.closed
})

test('a cipher may exchange its initialization vector before it is created', async (t) => {
  const key = randomBytes(32)
  const cipher = layer({
    encode(ctx) {
      const iv = randomBytes(16)
      ctx.stream.write(iv)
      return createCipheriv('aes-256-ctr', key, iv)
    },
    async decode(ctx) {
      const { stream } = ctx
      let iv = stream.read(16) as Buffer | null
      while (!iv) {
        await once(stream, 'readable')
        iv = stream.read(16) as Buffer | null
      }
      return createDecipheriv('aes-256-ctr', key, iv)
    },
  })
  const app = new Cio()
    .useConnection(cipher)
    .useConnection(async ({ stream }) => {
      for await (const chunk of chunksOf(stream)) stream.write(chunk)
    })
    .useClient(cipher)
  const { port } = await serve(t, app)
  const client = await app.connect({ port, connectTimeout: Infinity })
  client.stream.write('secret')
  t.is(String((await once(client.stream, 'data'))[0]), 'secret')
  await client.close()
})

test('ctx.stream is the original stream again when next() has settled', async (t) => {
  const seen: boolean[] = []
  const app = new Cio()
    .useConnection(async (ctx, next) => {
      const { stream } = ctx
      await next()
      seen.push(ctx.stream === stream)
    })
    .useConnection(gzip())
    .useConnection((ctx) => void seen.push(ctx.stream instanceof StackLayer))
  // The client may receive the end before that.
  const over = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp')
  client.end()
  await over
  t.deepEqual(seen, [true, true])
})

test('the last write is encoded and sent, even if its handler has returned', async (t) => {
  const text = 'x'.repeat(10_000_000)
  const app = new Cio().useConnection(gzip()).useConnection((ctx) => void ctx.stream.write(text))
  const client = await open(t, app, 'tcp')
  t.is((await readAll(client.pipe(createGunzip()))).length, text.length)
})

test('input that cannot be decoded is reported by remoteError, whatever the handler does', async (t) => {
  for (const handler of [
    async (ctx: { stream: Parameters<typeof chunksOf>[0] }) => readAll(chunksOf(ctx.stream)),
    async (_: object, next: () => Promise<void>) => next(),
    async ({ signal }: { signal: AbortSignal }) => once(signal, 'abort'),
    async ({ signal }: { signal: AbortSignal }) => {
      await once(signal, 'abort')
      throw new CioError('ERR_CIO_CLOSED', 'the consequence, not the cause')
    },
  ]) {
    const app = new Cio().useConnection(gzip()).useConnection(handler)
    const told = failure(app)
    const client = await open(t, app, 'tcp')
    client.write('this is not gzip')
    const [event, error] = await told
    t.is(event, 'remoteError')
    t.true(isCioError(error, 'ERR_CIO_DECODE'))
    await untilClosed(client)
  }
})

test('an encoder that fails is reported by error', async (t) => {
  const encode = () =>
    new Transform({ transform: (_chunk, _encoding, done) => done(new Error('no')) })
  const app = new Cio()
    .useConnection(layer({ encode }))
    .useConnection((ctx) => void ctx.stream.write('x'))
  const told = failure(app)
  await open(t, app, 'tcp')
  const [event, error] = await told
  t.is(event, 'error')
  t.true(isCioError(error, 'ERR_CIO_ENCODE'))
})

// It measures the memory of the process, so no other test may run beside it.
test.serial('a message that decodes to more than maxLength ends at the limit', async (t) => {
  const app = new Cio().useConnection(gzip()).useConnection(lines({ maxLength: 1024 * 1024 }))
  app.useConnection(async (ctx) => {
    for await (const _ of ctx.messages) t.fail()
  })
  const told = failure(app)
  const client = await open(t, app, 'tcp')
  const bomb = gzipSync(Buffer.alloc(512 * 1024 * 1024, 'x'), { level: 1 })
  const before = process.memoryUsage.rss()
  client.write(bomb)
  const [event, error] = await told
  t.is(event, 'remoteError')
  t.true(isCioError(error, 'ERR_CIO_MESSAGE_TOO_LONG'))
  t.true(process.memoryUsage.rss() - before < 128 * 1024 * 1024)
})

test('compressed line feeds end at maxRatio instead of a billion lines (decompression bomb)', async (t) => {
  const app = new Cio().useConnection(gzip()).useConnection(lines())
  let count = 0
  app.useConnection((ctx) => ctx.messages.each(() => (count += 1)))
  const told = failure(app)
  const client = await open(t, app, 'tcp')
  client.write(gzipSync(Buffer.alloc(32 * 1024 * 1024, '\n'), { level: 9 }))
  const [event, error] = await told
  t.is(event, 'remoteError')
  t.true(isCioError(error, 'ERR_CIO_DECODE_RATIO'))
  t.true(count < 16 * 1024 * 1024, `${count}`)
})

// It measures the memory of the process, so no other test may run beside it.
test.serial(
  'a peer just below maxRatio that sends only line feeds is served in short turns, in bounded memory',
  async (t) => {
    // A member of gzip is as long as the name in its header makes it, so each has this ratio.
    const ratio = 98
    const feeds = 500_000
    const compressed = gzipSync(Buffer.alloc(feeds, '\n'))
    const header = Buffer.from(compressed.subarray(0, 10))
    header[3] = 8
    const name = Buffer.alloc(Math.ceil(feeds / ratio) - compressed.length, 'x')
    const member = Buffer.concat([header, name, Buffer.of(0), compressed.subarray(10)])

    const members = 8
    let sent = 0
    const stream = new Duplex({
      read() {
        this.push(sent++ < members ? member : null)
      },
      write: (_chunk, _encoding, done) => done(),
    })
    let messages = 0
    let seen = 0
    let turns = 0
    let mostInTurn = 0
    let kept = 0
    const before = inUse()
    const look = (): void => {
      mostInTurn = Math.max(mostInTurn, messages - seen)
      seen = messages
      if (turns++ % 32 === 0) kept = Math.max(kept, inUse() - before)
    }
    const watch = setInterval(look, 1)
    const app = new Cio()
      .useConnection(layer({ decode: () => createGunzip() }))
      .useConnection(lines())
      .useConnection((ctx) => ctx.messages.each(() => void messages++))
    const failures: Error[] = []
    for (const event of ['error', 'remoteError'] as const) {
      app.on(event, (error: Error) => failures.push(error))
    }
    const closed = nextEvent(app, 'close')
    app.handle(stream)
    const [, end] = await closed
    clearInterval(watch)
    t.deepEqual(failures, [])
    t.is(messages, members * feeds, end.reason)
    t.true(mostInTurn < messages / 4, `${mostInTurn} messages in one turn`)
    t.true(kept < 20_000_000, `${kept} bytes in use`)
  },
)

test('decoded data that is read slowly is not cut off behind the end of its connection', async (t) => {
  const size = 1_000_000
  const times = { halfOpenTimeout: 40 }
  // Cio's deadlines do not keep the process alive, and nothing else does over memory.
  const alive = setInterval(() => {}, 1_000)
  t.teardown(() => clearInterval(alive))
  const [near, far] = duplexPair()
  const goOn = deferred()
  let came = 0
  const app = new Cio()
    .useConnection(layer({ decode: () => createGunzip() }))
    .useConnection(async (ctx) => {
      for await (const chunk of ctx) {
        came += chunk.length
        if (came > chunk.length) continue
        if (!far.readableEnded) await once(far, 'end')
        ended.resolve()
        await goOn.promise
      }
    })
  const ended = deferred()
  const closed = nextEvent(app, 'close')
  app.handle(far, times)
  near.end(gzipSync(Buffer.alloc(size)))
  await ended.promise

  // Another one, whose time begins later and which is cut off at its end.
  const silent = new Cio().useConnection(({ signal }) => once(signal, 'abort').catch(() => {}))
  const cut = nextEvent(silent, 'close')
  const [other, silentFar] = duplexPair()
  silent.handle(silentFar, times)
  other.end()
  t.is((await cut)[1].code, 'ERR_CIO_HALF_OPEN')

  goOn.resolve()
  const [, end] = await closed
  t.deepEqual([came, end.code], [size, undefined])
})

test('a peer that does not read keeps its connection open for flushTimeout and no longer', async (t) => {
  const app = new Cio()
    .useConnection(layer({ encode: () => createGzip({ level: 0 }), flushTimeout: 50 }))
    .useConnection((ctx) => void ctx.stream.write(Buffer.alloc(32 * 1024 * 1024)))
  const told = failure(app)
  const client = await open(t, app, 'tcp')
  client.pause()
  const [event, error] = await told
  t.is(event, 'remoteError')
  t.true(isCioError(error, 'ERR_CIO_FLUSH_TIMEOUT'))
})

test('a reset of the peer is reported as a reset', async (t) => {
  const app = new Cio().useConnection(gzip()).useConnection(async ({ stream }) => {
    stream.write('hello')
    await readAll(chunksOf(stream))
  })
  const told = failure(app)
  const client = (await open(t, app, 'tcp')) as Socket
  client.write(gzipSync('x').subarray(0, 5))
  await once(client, 'data')
  client.resetAndDestroy()
  const [event, error] = await told
  t.is(event, 'remoteError')
  t.is((error as NodeJS.ErrnoException).code, 'ECONNRESET')
})

test('options of the wrong type are rejected when it is created', (t) => {
  t.throws(() => layer({ maxRatio: 0 }), { code: 'ERR_CIO_OPTION' })
  const code = { code: 'ERR_CIO_OPTION' }
  t.throws(() => layer({ decode: createGunzip() as never }), code)
  t.throws(() => layer({ encoder: () => createGzip() } as never), code)
  t.throws(() => layer({ flushTimeout: -1 }), code)
})

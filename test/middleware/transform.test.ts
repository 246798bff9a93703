import test from 'ava'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Duplex, Readable, Transform } from 'node:stream'
import { createGunzip, createGzip, gunzipSync, gzipSync } from 'node:zlib'
import { Cio, CioError, isCioError, transform } from '../../src/index.ts'
import { readAll, serve } from '../support/serve.ts'
import { untilClosed, open, transports, writeUnread } from '../support/transports.ts'

const upperCase = () =>
  new Transform({
    transform: (chunk, _encoding, done) => done(null, String(chunk).toUpperCase()),
  })

const failing = (error: Error) => () =>
  new Transform({ transform: (_chunk, _encoding, done) => done(error) })

for (const transport of transports) {
  test(`over ${transport}, input passes through it and back, and so does the end`, async (t) => {
    const client = await open(t, new Cio().useConnection(transform(upperCase)), transport)
    client.write('one')
    t.is(String((await once(client, 'data'))[0]), 'ONE')
    client.end('two')
    t.is(await readAll(client), 'TWO')
  })
}

test('factories, arrays of them, and the arrays they return form one pipeline', async (t) => {
  const numbers = () =>
    Duplex.from(async function* (chunks: AsyncIterable<Buffer>) {
      for await (const line of createInterface({ input: Readable.from(chunks) })) {
        yield Number(line)
      }
    })
  const sum = () =>
    Duplex.from(async function* (numbers: AsyncIterable<number>) {
      let total = 0
      for await (const number of numbers) total += number
      yield String(total)
    })
  const app = new Cio().useConnection(
    transform(
      () => createGunzip(),
      [numbers, sum],
      async () => [upperCase(), createGzip()],
    ),
  )
  const client = await open(t, app, 'tcp')
  client.end(gzipSync('1\n2\n3\n'))
  const chunks: Buffer[] = []
  for await (const chunk of client as AsyncIterable<Buffer>) chunks.push(chunk)
  t.is(gunzipSync(Buffer.concat(chunks)).toString(), '6')
})

test('without transforms it is an echo', async (t) => {
  const client = await open(t, new Cio().useConnection(transform()), 'tcp')
  client.end('echo')
  t.is(await readAll(client), 'echo')
})

test('a factory creates transforms for each connection, and gets its context', async (t) => {
  const made: number[] = []
  const app = new Cio().useConnection(
    transform((ctx) => {
      made.push(ctx.id)
      return upperCase()
    }),
  )
  for (const transport of ['memory', 'memory'] as const) {
    const client = await open(t, app, transport)
    client.end('x')
    t.is(await readAll(client), 'X')
  }
  t.is(new Set(made).size, 2)
})

test('a transform object serves one connection, and no second one', async (t) => {
  const app = new Cio().useConnection(transform(upperCase()))
  const first = await open(t, app, 'tcp')
  first.write('mine')
  t.is(String((await once(first, 'data'))[0]), 'MINE')

  const told = once(app, 'error')
  const second = await open(t, app, 'memory')
  const [error] = (await told) as [Error]
  t.true(isCioError(error, 'ERR_CIO_TRANSFORM_USED'))
  t.is(second.read(), null)
})

test("a client is connected at once, and sends back the server's data", async (t) => {
  const app = new Cio().useClient(transform(upperCase))
  const answers: string[] = []
  const server = await serve(
    t,
    app.useConnection(async ({ stream }) => {
      stream.end('question')
      answers.push(await readAll(stream))
    }),
  )
  const client = await app.connect(server.port)
  await client.closed
  await server.close()
  t.deepEqual(answers, ['QUESTION'])
})

test('an error of a transform ends the connection and emits error', async (t) => {
  const app = new Cio().useConnection(transform(failing(new Error('broken'))))
  const told = once(app, 'error')
  const client = await open(t, app, 'tcp')
  client.write('x')
  t.is(((await told) as [Error])[0].message, 'broken')
  await untilClosed(client)
})

test('an error of a transform with a remote fault emits remoteError', async (t) => {
  const error = new CioError('ERR_MINE', 'nonsense', { fault: 'remote' })
  const app = new Cio().useConnection(transform(failing(error)))
  const told = once(app, 'remoteError')
  const client = await open(t, app, 'tcp')
  client.write('x')
  t.is(((await told) as [Error])[0], error)
})

test('an error of a middleware inside ends the connection', async (t) => {
  const app = new Cio().useConnection(transform(upperCase)).useConnection(() => {
    throw new Error('inside')
  })
  const told = once(app, 'error')
  const client = await open(t, app, 'tcp')
  t.is(((await told) as [Error])[0].message, 'inside')
  await untilClosed(client)
})

test('backpressure reaches a peer that does not read', async (t) => {
  const app = new Cio().useConnection(transform(upperCase))
  const client = await open(t, app, 'memory')
  const written = await writeUnread(client)
  t.true(written < 1024 * 1024, `${written}`)
})

test('a value that is neither a transform nor a function is refused', async (t) => {
  t.throws(() => transform('gzip' as never), { code: 'ERR_CIO_OPTION' })
  const app = new Cio().useConnection(transform((() => 'gzip') as never))
  const told = once(app, 'error')
  await open(t, app, 'tcp')
  t.true(isCioError(((await told) as [Error])[0], 'ERR_CIO_OPTION'))
})

import test from 'ava'
import { once } from 'node:events'
import { Duplex, PassThrough } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import {
  Cio,
  type CioError,
  type ConnectionContext,
  frames,
  isCioError,
  json,
  lines,
} from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import {
  deferred,
  dialOver,
  nextEvent,
  networks,
  open,
  reset,
  transports,
} from '../support/transports.ts'

const mebibyte = 1024 * 1024

/** Fails the test with whatever an app tells of errors. */
function strict(t: { fail(message: string): void }, app: Cio): Cio {
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    app.on(event, (error: Error) => {
      // What the end of the test cuts off.
      if (!isCioError(error, 'ERR_CIO_DRAIN_TIMEOUT')) t.fail(`${event}: ${error.stack}`)
    })
  }
  return app
}

for (const transport of transports) {
  test(`await next() returns when all inside is done, over ${transport}`, async (t) => {
    const order: string[] = []
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      order.push(`outer, ${String(ctx.state['who'])}`)
      ctx.state['who'] = 'outer'
      await next()
      order.push(`outer again, ${String(ctx.state['who'])}`)
    })
    app.useConnection(async (ctx) => {
      order.push(`inner, ${String(ctx.state['who'])}`)
      for await (const chunk of ctx) order.push(chunk.toString())
      ctx.state['who'] = 'inner'
      ctx.stream.write('done')
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('question')
    t.is(await readAll(client), 'done')
    await closed
    t.deepEqual(order, ['outer, undefined', 'inner, outer', 'question', 'outer again, inner'])
  })

  // Alone: its bytes are not to wait for the other tests.
  test.serial(`a big reply arrives whole at a slow reader, over ${transport}`, async (t) => {
    const size = 24 * mebibyte
    const app = strict(t, new Cio())
    app.useConnection((ctx) => {
      ctx.stream.write(Buffer.alloc(size, 'x'))
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    let received = 0
    let reads = 0
    for await (const chunk of client) {
      received += (chunk as Buffer).length
      if (++reads % 64 === 0) await new Promise(setImmediate)
    }
    t.is(received, size)
    client.end()
    await closed
  })

  test(`a client that half-closes gets the whole answer, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx) => {
      let size = 0
      for await (const chunk of ctx) size += chunk.length
      // Late: by now the peer's end is long there.
      await delay(20)
      ctx.stream.write(`got ${size}`)
    })
    const client = await open(t, app, transport)
    client.end(Buffer.alloc(mebibyte))
    t.is(await readAll(client), `got ${mebibyte}`)
  })

  test(`a pipe followed by next() answers until the peer ends, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      ctx.stream.pipe(ctx.stream)
      await next()
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end(Buffer.alloc(mebibyte, 'x'))
    t.is((await readAll(client)).length, mebibyte)
    await closed
  })

  test(`a pipe through a slow transform loses nothing, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      const slow = new PassThrough({
        flush: (callback) => void setTimeout(() => callback(null, ' and the rest'), 20),
      })
      ctx.stream.pipe(slow).pipe(ctx.stream)
      await next()
    })
    const client = await open(t, app, transport)
    client.end('first')
    t.is(await readAll(client), 'first and the rest')
  })

  test(`listeners followed by next() end when the peer ends, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      ctx.stream.on('data', (chunk: Buffer) => ctx.stream.write(chunk.toString().toUpperCase()))
      await next()
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('hello')
    t.is(await readAll(client), 'HELLO')
    await closed
  })

  test(`an 'end' listener that answers late is waited for, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async ({ stream }, next) => {
      let size = 0
      stream.on('data', (chunk: Buffer) => (size += chunk.length))
      stream.once('end', () => setTimeout(() => stream.end(`got ${size}`), 20))
      await next()
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('hello')
    t.is(await readAll(client), 'got 5')
    await closed
  })

  test(`the peer's leaving is noticed where nobody reads, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end(Buffer.alloc(mebibyte))
    client.resume()
    await closed
    t.pass()
  })

  test(`the peer's leaving is noticed after a loop that was left, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      for await (const chunk of ctx) if (chunk.length > 0) break
      await next()
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.write('first')
    client.end(Buffer.alloc(mebibyte))
    client.resume()
    await closed
    t.pass()
  })

  test(`a handler that throws destroys the stream, over ${transport}`, async (t) => {
    const mine = new Error('mine')
    const app = new Cio().useConnection(async (ctx) => {
      await once(ctx.stream, 'data')
      ctx.stream.write('half')
      throw mine
    })
    app.on('remoteError', () => t.fail())
    app.on('reject', () => t.fail())
    const told = once(app, 'error')
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    const gone = new Promise((resolve) => client.once('close', resolve))
    client.write('go')
    client.resume()
    const [error, ctx] = (await told) as [Error, ConnectionContext]
    t.is(error, mine)
    t.true(ctx.stream.destroyed)
    t.is(ctx.signal.reason, mine)
    t.is((await closed)[0], ctx)
    client.end()
    await gone
  })

  test(`ctx.destroy(error) ends a handler that reads, over ${transport}`, async (t) => {
    const mine = new Error('mine')
    const app = new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx) ctx.destroy(mine)
    })
    const told = once(app, 'error')
    const client = await open(t, app, transport)
    client.write('go')
    client.resume()
    t.is((await told)[0], mine)
  })
}

test('a loop beside next() that has read to the end is an end', async (t) => {
  const app = strict(t, new Cio())
  app.useConnection(async (ctx, next) => {
    const loop = async (): Promise<void> => {
      for await (const chunk of ctx) ctx.stream.write(chunk)
      ctx.stream.write(' and the rest')
    }
    void loop()
    await next()
  })
  const client = await open(t, app, 'tcp')
  client.end('hello')
  t.is(await readAll(client), 'hello and the rest')
})

// A peer that does not read

for (const transport of networks) {
  test(`a peer that never reads is cut off after flushTimeout, over ${transport}`, async (t) => {
    const size = 32 * mebibyte
    const app = new Cio().useConnection((ctx) => {
      ctx.stream.write(Buffer.alloc(size))
    })
    app.on('error', (error) => t.fail(String(error)))
    const told = once(app, 'remoteError')
    const client = await open(t, app, transport, { flushTimeout: 500 })
    client.pause()
    const [error, ctx] = (await told) as [CioError, ConnectionContext]
    t.is(error.code, 'ERR_CIO_FLUSH_TIMEOUT')
    t.is(error.fault, 'remote')
    t.regex(error.message, /127\.0\.0\.1:\d+ did not read the last \d+ bytes within 500 ms/)
    t.true(ctx.stream.destroyed)
  })
}

test('a peer that has everything and never ends is left without an error', async (t) => {
  const app = strict(t, new Cio())
  app.useConnection((ctx) => {
    ctx.stream.write('all')
  })
  const closed = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp', { flushTimeout: 50 })
  t.is(await readAll(client), 'all')
  const [ctx] = await closed
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
})

// The early return

function warnings(): { codes: () => string[]; messages: string[]; stop: () => void } {
  const seen: (Error & { code?: string })[] = []
  const messages: string[] = []
  const listen = (warning: Error & { code?: string }): void => {
    seen.push(warning)
    if (warning.code === 'CIO_EARLY_RETURN') messages.push(warning.message)
  }
  process.on('warning', listen)
  return {
    codes: () => seen.map(({ code = '' }) => code),
    messages,
    stop: () => process.off('warning', listen),
  }
}

test.serial(
  'a handler that returns while its stream has listeners is warned of, once a name',
  async (t) => {
    const { messages, stop } = warnings()
    t.teardown(stop)
    const app = new Cio().useConnection(function tooEarly({ stream }) {
      stream.on('data', () => {})
    })
    const other = new Cio().useConnection(function pipesTooEarly({ stream }) {
      stream.pipe(stream)
    })
    for (const each of [app, app, other]) {
      const closed = nextEvent(each, 'close')
      const client = await open(t, each, 'tcp')
      client.end()
      client.resume()
      await closed
      await new Promise(setImmediate)
    }
    t.is(messages.length, 2)
    t.true(messages[0]!.includes('`tooEarly`'))
    t.true(messages[0]!.includes('await next()'))
    t.true(messages[1]!.includes('`pipesTooEarly`'))
  },
)

test.serial('a handler that has read, written or called next() is not warned of', async (t) => {
  const { messages, stop } = warnings()
  t.teardown(stop)
  const apps = [
    new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx);
    }),
    new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx) break
    }),
    new Cio().useConnection(async ({ stream }, next) => {
      stream.pipe(stream)
      await next()
    }),
    new Cio().useConnection(async ({ stream }) => {
      await once(stream, 'data')
      stream.write('x')
    }),
    new Cio().useConnection(async ({ stream }) => {
      stream.end('x')
    }),
  ]
  for (const app of apps) {
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, 'TLS 1.3')
    client.end('hello')
    client.resume()
    await closed
    await new Promise(setImmediate)
  }
  t.deepEqual(messages, [])
})

// Signals

test('the signals of a connection tell of close() and of an ordinary end', async (t) => {
  const app = strict(t, new Cio())
  app.useConnection(async (ctx) => {
    t.false(ctx.draining.aborted)
    t.false(ctx.isDraining)
    await once(ctx.draining, 'abort')
    t.like(ctx.draining.reason, { code: 'ERR_CIO_CLOSING' })
    t.false(ctx.signal.aborted)
  })
  const closed = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp')
  await new Promise(setImmediate)
  const closing = app.close()
  client.end()
  client.resume()
  await closing
  const [ctx] = await closed
  t.true(ctx.isClosed)
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
})

test('signals that are first asked for when it is over have aborted', async (t) => {
  const app = strict(t, new Cio())
  const closed = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp')
  client.end()
  client.resume()
  const [ctx] = await closed
  t.like(ctx.draining.reason, { code: 'ERR_CIO_CLOSED' })
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
  t.is(ctx.signal, ctx.signal)
  await ctx.closed
})

for (const transport of networks) {
  test(`signal aborts when the peer resets while the handler awaits something else, over ${transport}`, async (t) => {
    const entered = deferred<ConnectionContext>()
    const app = new Cio().useConnection(async (ctx) => {
      entered.resolve(ctx)
      ctx.stream.write('ready')
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
    })
    app.on('error', (error) => t.fail(String(error)))
    const told = once(app, 'remoteError')
    const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
    const client = await dialOver(t, transport, server)
    const ctx = await entered.promise
    // After the session tickets: where their write meets the reset, Node takes it for an end.
    await once(client, 'data')
    reset(client)
    const [error] = (await told) as [NodeJS.ErrnoException]
    t.is(error.code, 'ECONNRESET')
    t.is(ctx.signal.reason, error)
    t.is(ctx.broken, error)
  })
}

test('an error of the application’s is told by error, also where it looks like the network’s', async (t) => {
  const mine = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  })
  const app = new Cio().useConnection(() => {
    throw mine
  })
  app.on('remoteError', () => t.fail('the peer did nothing'))
  const told = once(app, 'error')
  await open(t, app, 'tcp')
  t.is((await told)[0], mine)
})

test('what is told is the cause, not what it did to the handler', async (t) => {
  const mine = new Error('mine')
  const app = new Cio().useConnection(async (ctx) => {
    ctx.destroy(mine)
    ctx.signal.throwIfAborted()
  })
  const again = new Cio().useConnection(async (ctx) => {
    ctx.destroy(mine)
    ctx.stream.write('x')
    await once(ctx.stream, 'drain', { signal: ctx.signal })
  })
  for (const each of [app, again]) {
    const told = once(each, 'error')
    await open(t, each, 'tcp')
    t.is((await told)[0], mine)
  }
})

test('ctx.destroy() without an error is an end like any other', async (t) => {
  const app = strict(t, new Cio())
  app.useConnection(async (ctx) => {
    ctx.destroy()
    for await (const _ of ctx);
  })
  const closed = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp')
  client.resume()
  const [ctx] = await closed
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
})

// close() of one connection

test('ctx.close() asks to finish, and destroys at its deadline', async (t) => {
  const app = strict(t, new Cio())
  app.useConnection(async (ctx) => {
    await once(ctx.draining, 'abort')
    ctx.stream.write('bye')
  })
  const opened = once(app, 'connection')
  const client = await open(t, app, 'tcp')
  const [ctx] = (await opened) as [ConnectionContext]
  const closing = ctx.close()
  client.end()
  t.is(await readAll(client), 'bye')
  t.deepEqual(await closing, { forced: 0 })

  const stubborn = strict(t, new Cio())
  stubborn.useConnection(async (it) => {
    await once(it.signal, 'abort')
  })
  const again = once(stubborn, 'connection')
  await open(t, stubborn, 'tcp')
  const [late] = (await again) as [ConnectionContext]
  t.deepEqual(await late.close({ timeout: 5 }), { forced: 1 })
})

test('a handler that never returns does not hold up the close of what was given to handle()', async (t) => {
  const app = new Cio().useConnection(async function endless() {
    await new Promise(() => {})
  })
  const told = once(app, 'error')
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const ctx = app.handle(near)
  t.deepEqual(await app.close({ timeout: 5 }), { forced: 1 })
  const [error, about] = (await told) as [CioError, ConnectionContext]
  t.is(error.code, 'ERR_CIO_STUCK')
  t.is(about, ctx)
})

// What is there

test('ids are one of a kind, state is one’s own, and reached is where it waits', async (t) => {
  const reached: string[] = []
  const app = new Cio()
    .useConnection(async function outer(ctx, next) {
      reached.push(ctx.step)
      t.false(ctx.wasReady)
      await next()
      t.true(ctx.wasReady)
    })
    .useConnection(async function inner(ctx, next) {
      reached.push(ctx.step)
      await next()
    })
  const contexts: ConnectionContext[] = []
  app.on('connection', (ctx) => contexts.push(ctx))
  const server = await serve(t, app)
  for (let index = 0; index < 3; index++) {
    const closed = nextEvent(app, 'close')
    const client = await dial(t, server)
    client.end()
    client.resume()
    await closed
  }
  t.is(new Set(contexts.map(({ id }) => id)).size, 3)
  t.is(new Set(contexts.map(({ state }) => state)).size, 3)
  t.deepEqual(reached.slice(0, 2), ['outer', 'inner'])
  t.is(contexts[0]!.step, 'inner')
  t.is(contexts[0]!.server, server)
})

// Layers

for (const transport of networks) {
  test(`a layer that is put on the stream and taken off again serves what is inside, over ${transport}`, async (t) => {
    const app = strict(t, new Cio())
    app.useConnection(async (ctx, next) => {
      const below = ctx.stream
      const shout = upper(below)
      ctx.stream = shout
      try {
        await next()
      } finally {
        ctx.stream = below
        // What the layer still holds goes down before the stream below is ended.
        shout.end()
        await once(shout, 'finish')
      }
    })
    app.useConnection(async (ctx) => {
      for await (const chunk of ctx) ctx.stream.write(`${String(chunk)}!`)
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('hello')
    t.is(await readAll(client), 'HELLO!')
    await closed
  })
}

test('a layer that is not taken off leaves nothing open below', async (t) => {
  const app = strict(t, new Cio())
  let below: Duplex | undefined
  app.useConnection(async (ctx, next) => {
    below = ctx.stream
    ctx.stream = new PassThrough()
    await next()
  })
  app.useConnection((ctx) => {
    ctx.stream.destroy()
  })
  const closed = nextEvent(app, 'close')
  const client = await open(t, app, 'tcp')
  client.end()
  t.is(await readAll(client), '')
  await closed
  t.true(below!.destroyed)
})

test('an error of a layer that nobody listens to ends the connection, not the process', async (t) => {
  const mine = new Error('mine')
  const app = new Cio().useConnection(async (ctx, next) => {
    const layer = new PassThrough()
    ctx.stream = layer
    setImmediate(() => layer.destroy(mine))
    await next()
  })
  const told = once(app, 'error')
  const client = await open(t, app, 'tcp')
  const gone = once(client, 'close')
  client.resume()
  t.is((await told)[0], mine)
  client.end()
  await gone
})

test('ctx.destroy(error) reaches all layers', async (t) => {
  const app = new Cio()
  const streams: Duplex[] = []
  app.useConnection(async (ctx, next) => {
    streams.push(ctx.stream)
    ctx.stream = new PassThrough()
    streams.push(ctx.stream)
    await next()
  })
  app.useConnection((ctx, next) => {
    ctx.destroy(new Error('mine'))
    return next()
  })
  const told = once(app, 'error')
  await open(t, app, 'TLS 1.3')
  await told
  t.deepEqual(
    streams.map(({ destroyed }) => destroyed),
    [true, true],
  )
})

function upper(below: Duplex): Duplex {
  const layer: Duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      below.resume()
    },
    write(chunk: Buffer, _encoding, callback) {
      below.write(chunk.toString().toUpperCase(), callback)
    },
  })
  below.on('data', (chunk: Buffer) => {
    if (!layer.push(chunk)) below.pause()
  })
  below.on('end', () => layer.push(null))
  below.on('close', () => layer.destroy())
  return layer
}

// handle()

test('handle() refuses what is no Duplex', (t) => {
  t.throws(() => new Cio().handle({} as Duplex), { code: 'ERR_CIO_OPTION' })
  t.throws(() => new Cio().handle(undefined as unknown as Duplex), { code: 'ERR_CIO_OPTION' })
})

for (const [name, codec] of Object.entries({ lines, json, frames })) {
  test(`handle() takes a stream of Uint8Array, with ${name} (tomas/needle#37)`, async (t) => {
    const text = name === 'frames' ? '\0\0\0\x01x\0\0\0\x01y' : '1\n2\n'
    const written: Uint8Array[] = []
    const pieces = Array.from(text, (piece) => new TextEncoder().encode(piece))
    const stream = new Duplex({
      objectMode: true,
      read() {
        this.push(pieces.shift() ?? null)
      },
      write(chunk: Uint8Array, _encoding, done) {
        written.push(chunk)
        done()
      },
    })
    const app = new Cio()
      .useConnection(codec() as ReturnType<typeof json>)
      .useConnection((ctx) => ctx.messages.each((message) => ctx.messages.send(message)))
    await app.handle(stream).closed
    t.is(Buffer.concat(written).toString(), text)
  })
}

test('handle() takes what Duplex.from makes of web streams', async (t) => {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
  const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    t.is((await ctx.messages.next()).value, 'a line')
  })
  const { closed } = app.handle(Duplex.from({ readable }))
  const writer = writable.getWriter()
  await writer.write(new TextEncoder().encode('a line\n'))
  await writer.close()
  await closed
})

test('handle() says what is wrong with a stream that is not of bytes', async (t) => {
  const decoded = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  decoded.setEncoding('utf8')
  t.throws(() => new Cio().handle(decoded), { code: 'ERR_CIO_OPTION', message: /setEncoding/ })

  const objects = new Duplex({ objectMode: true, read() {}, write: (_c, _e, done) => done() })
  const app = new Cio().useConnection(lines()).useConnection((ctx) => ctx.messages.each(() => {}))
  const told = once(app, 'error')
  app.handle(objects)
  objects.push({ no: 'bytes' })
  const [error] = (await told) as [Error]
  t.is((error as NodeJS.ErrnoException).code, 'ERR_INVALID_ARG_TYPE')
})

test('handle() over a Duplex that is gone is over at once', async (t) => {
  const app = new Cio().useConnection(async (ctx, next) => {
    await next()
    t.true(ctx.isClosed || ctx.stream.destroyed)
  })
  const [near, far] = duplexPair()
  far.on('error', () => {})
  near.destroy()
  const ctx = app.handle(near)
  await ctx.closed
  t.true(ctx.signal.aborted)
  t.is(ctx.server, null)
  t.is(ctx.socket, null)
  t.is(ctx.peer, null)
})

for (const transport of transports) {
  for (const events of [[], ['close'], ['error'], ['end']]) {
    test(`a library that removes all listeners${events.map((event) => ` of ${event}`).join('')} leaves no connection behind (nodemailer/smtp-server), over ${transport}`, async (t) => {
      const app = new Cio().useConnection(async ({ stream }, next) => {
        stream.removeAllListeners(...events)
        stream.once('data', () => stream.write('taken over'))
        await next()
      })
      app.on('remoteError', () => {})
      for (const leave of [(client: Duplex) => client.destroy(), reset]) {
        const closed = nextEvent(app, 'close')
        const client = await open(t, app, transport)
        client.write('hello')
        await once(client, 'data')
        if (transport === 'memory' || transport === 'unix') client.destroy()
        else leave(client)
        const [ctx] = await closed
        t.true(ctx.isClosed)
        t.is(ctx.server?.connections.size ?? 0, 0)
      }
    })
  }

  test(`an error of a stream whose listeners were all removed ends its own connection alone, over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async ({ stream }, next) => {
      stream.removeAllListeners()
      stream.once('data', () => stream.destroy(new Error('mine')))
      await next()
    })
    app.on('error', () => {})
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.write('hello')
    const [, end] = await closed
    t.is(end.error?.message, 'mine')
  })
}

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { Cio, CioError } from '../../src/index.ts'
import { emitSafely } from '../../src/kit.ts'
import { identity, path as certificate } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent, networks, open, reset } from '../support/transports.ts'

/** Writes down every event of an app, in order. */
function record(app: Cio): string[] {
  const events: string[] = []
  for (const name of ['listening', 'connection', 'secure', 'close'] as const) {
    app.on(name, () => events.push(name))
  }
  for (const name of ['reject', 'remoteError', 'error'] as const) {
    app.on(name, (error: Error & { code?: string }) =>
      events.push(`${name} ${error.code ?? error.message}`),
    )
  }
  return events
}

/** Keeps what is printed from the console, and gives it. */
function printed(t: ExecutionContext): unknown[] {
  const lines: unknown[] = []
  const { error } = console
  console.error = (...line: unknown[]): void => void lines.push(...line)
  t.teardown(() => (console.error = error))
  return lines
}

test('the events of a connection come in the order of its life', async (t) => {
  for (const transport of networks) {
    const app = new Cio().useConnection(async (ctx) => {
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
    const events = record(app)
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('hello')
    t.is(await readAll(client), 'hello')
    await closed
    const secure = transport === 'tcp' ? [] : ['secure']
    t.deepEqual(events, ['listening', 'connection', ...secure, 'close'])
  }
})

const failures: Record<string, { app: () => Cio; told: string }> = {
  'a handler that throws': {
    app: () =>
      new Cio().useConnection(() => {
        throw new Error('mine')
      }),
    told: 'error mine',
  },
  'a handler that throws what is no Error': {
    app: () =>
      new Cio().useConnection(() => {
        // oxlint-disable-next-line no-throw-literal
        throw 'a word'
      }),
    told: 'error ERR_CIO_NOT_AN_ERROR',
  },
  'a handler that rejects with nothing': {
    // oxlint-disable-next-line prefer-promise-reject-errors
    app: () => new Cio().useConnection(() => Promise.reject()),
    told: 'error ERR_CIO_NOT_AN_ERROR',
  },
  'an error whose fault is the peer’s': {
    app: () =>
      new Cio().useConnection(() => {
        throw new CioError('ERR_MINE', 'it sent nonsense', { fault: 'remote' })
      }),
    told: 'remoteError ERR_MINE',
  },
  'an error whose fault is the application’s': {
    app: () =>
      new Cio().useConnection(() => {
        throw new CioError('ERR_MINE', 'it is broken')
      }),
    told: 'error ERR_MINE',
  },
  'a rejection': {
    app: () =>
      new Cio().useConnection(() => {
        throw new CioError('ERR_CIO_REJECTED', 'not you', { fault: 'remote' })
      }),
    told: 'reject ERR_CIO_REJECTED',
  },
  'an error of another copy of Cio': {
    app: () =>
      new Cio().useConnection(() => {
        const error = new Error('from elsewhere')
        throw Object.assign(error, { name: 'CioError', code: 'ERR_THEIRS', fault: 'remote' })
      }),
    told: 'remoteError ERR_THEIRS',
  },
  'a file that is missing': {
    app: () =>
      new Cio().useConnection(async () => {
        const { readFile } = await import('node:fs/promises')
        await readFile('/no/such/file')
      }),
    told: 'error ENOENT',
  },
}

for (const [what, { app: make, told }] of Object.entries(failures)) {
  test(`${what} is told by one event, before close`, async (t) => {
    const app = make()
    const events = record(app)
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, 'tcp')
    client.resume()
    await closed
    await new Promise(setImmediate)
    t.deepEqual(events, ['listening', 'connection', told, 'close'])
  })
}

for (const transport of networks) {
  test(`a reset is told by remoteError alone, over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      ctx.stream.write('ready')
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
    const events = record(app)
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    await once(client, 'data')
    reset(client)
    await closed
    t.deepEqual(events.slice(-2), ['remoteError ECONNRESET', 'close'])
    t.is(events.filter((event) => /^(error|remoteError|reject)/.test(event)).length, 1)
  })
}

test('a bad handshake is told by remoteError alone, and the pipeline does not come to its handler', async (t) => {
  const app = new Cio().useConnection(() => t.fail('it runs'))
  const events = record(app)
  const closed = nextEvent(app, 'close')
  const server = await serve(t, app, identity('server'))
  const socket = await dial(t, server)
  socket.resume()
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await closed
  t.deepEqual(events, ['listening', 'connection', 'remoteError ERR_CIO_HANDSHAKE', 'close'])
})

test('who presents no certificate where one is asked for is told by reject alone', async (t) => {
  const app = new Cio().useConnection(() => t.fail('it runs'))
  const events = record(app)
  const closed = nextEvent(app, 'close')
  const tls = { ...identity('server'), ca: certificate('root.crt'), requestCert: true }
  const server = await serve(t, app, tls)
  const client = new Cio()
  t.teardown(() => client.close({ timeout: 0 }))
  client.on('remoteError', () => {})
  const options = { host: '127.0.0.1', port: server.port, ca: certificate('root.crt') }
  await client.connect(options).catch(() => {})
  await closed
  t.deepEqual(events, ['listening', 'connection', 'reject ERR_CIO_REJECTED', 'close'])
})

// Nobody listens, or not well

test.serial(
  'an error that nobody listens for is printed once a connection, and never thrown',
  async (t) => {
    const lines = printed(t)
    const mine = new Error('mine')
    const app = new Cio().useConnection(() => {
      throw mine
    })
    for (const expected of [1, 2]) {
      const closed = nextEvent(app, 'close')
      await open(t, app, 'tcp')
      await closed
      t.is(lines.length, expected)
    }
    t.deepEqual(lines, [mine, mine])
  },
)

test.serial('remoteError and reject that nobody listens for are not printed', async (t) => {
  const lines = printed(t)
  for (const code of ['ERR_MINE', 'ERR_CIO_REJECTED']) {
    const app = new Cio().useConnection(() => {
      throw new CioError(code, 'the peer did it', { fault: 'remote' })
    })
    const closed = nextEvent(app, 'close')
    await open(t, app, 'tcp')
    await closed
  }
  t.deepEqual(lines, [])
})

for (const kind of ['throws', 'rejects'] as const) {
  const fail = (error: Error): (() => unknown) =>
    kind === 'throws'
      ? () => {
          throw error
        }
      : () => Promise.reject(error)

  for (const event of ['listening', 'connection', 'close'] as const) {
    test(`a listener of ${event} that ${kind} is told by error, and harms nothing`, async (t) => {
      const mine = new Error('mine')
      const app = new Cio().useConnection((ctx) => {
        ctx.stream.write('hello')
      })
      app.once(event, fail(mine))
      const told = nextEvent(app, 'error')
      const client = await open(t, app, 'tcp')
      t.is(await readAll(client), 'hello')
      t.is((await told)[0], mine)
    })
  }

  test.serial(`a listener of error that ${kind} is printed, and harms nothing`, async (t) => {
    const lines = printed(t)
    const mine = new Error('of the listener')
    const app = new Cio().useConnection(() => {
      throw new Error('of the handler')
    })
    app.on('error', fail(mine))
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, 'tcp')
    client.resume()
    await closed
    await new Promise(setImmediate)
    t.deepEqual(lines, [mine])
    await app.close({ timeout: 0 })
  })
}

test('announce tells whether there are listeners or not', (t) => {
  const app = new Cio()
  t.notThrows(() => emitSafely(app, 'error', new Error('nobody listens')))
  const seen: unknown[] = []
  app.on('error', (...details) => seen.push(details))
  const mine = new Error('mine')
  emitSafely(app, 'error', mine)
  t.deepEqual(seen, [[mine]])
})

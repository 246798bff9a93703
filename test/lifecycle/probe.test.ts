import test from 'ava'
import { once } from 'node:events'
import { inspect } from 'node:util'
import {
  Cio,
  CioError,
  type ConnectionEnd,
  type StreamContext,
  json,
  reconnect,
  rpc,
} from '../../src/index.ts'
import type { Probe, ProbedCall } from '../../src/kit.ts'
import { identity, path as certificate } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { deferred, nextEvent, networks, open } from '../support/transports.ts'

const host = '127.0.0.1'

/** What a probe has seen, in order. */
class Notes implements Probe {
  readonly seen: string[] = []
  readonly ends: ConnectionEnd[] = []
  readonly times = new Map<string, number>()
  #stir = (): void => {}

  begin(ctx: StreamContext): void {
    this.seen.push(`begin ${ctx.kind}`)
  }

  step(_ctx: StreamContext, name: string, duration: number): void {
    this.seen.push(`step ${name}`)
    this.times.set(name, duration)
  }

  end(_ctx: StreamContext, end: ConnectionEnd): void {
    this.seen.push(`end ${end.reason}`)
    this.ends.push(end)
    this.#stir()
  }

  /** Waits until so many have ended. */
  async until(count: number): Promise<void> {
    while (this.ends.length < count) await new Promise<void>((resolve) => (this.#stir = resolve))
  }
}

const echo = (): Cio =>
  new Cio().useConnection(async function echo(ctx) {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })

for (const transport of networks) {
  test(`a probe sees begin, steps and end of a connection, over ${transport}`, async (t) => {
    const app = echo()
    const notes = new Notes()
    app.observe(notes)
    const client = await open(t, app, transport)
    client.end('hello')
    t.is(await readAll(client), 'hello')
    await notes.until(1)
    t.deepEqual(notes.seen, ['begin connection', 'step secure', 'end remote_ended'])
    t.true(notes.times.get('secure')! >= 0)
  })
}

test('a probe sees what the event close says, before it', async (t) => {
  const app = new Cio().useConnection(() => {
    throw new CioError('ERR_TEST', 'rude', { fault: 'remote', why: 'rude' })
  })
  app.on('remoteError', () => {})
  const notes = new Notes()
  app.observe(notes)
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  await dial(t, server)
  const [, end] = await closed
  t.is(notes.ends[0], end)
})

test('a probe is called for runs that begin after it, and for the end of those that it saw begin', async (t) => {
  const app = echo()
  const server = await serve(t, app)
  const accepted = once(app, 'connection')
  const before = await dial(t, server)
  await accepted

  const notes = new Notes()
  const observation = app.observe(notes)
  const second = once(app, 'connection')
  const during = await dial(t, server)
  await second
  observation[Symbol.dispose]()
  const third = once(app, 'connection')
  const after = await dial(t, server)
  await third

  for (const client of [before, after, during]) {
    const closed = nextEvent(app, 'close')
    client.resume().end('bye')
    await closed
  }
  t.deepEqual(notes.seen, ['begin connection', 'step secure', 'end remote_ended'])
})

test('a probe that throws is reported by error, and the connection is served', async (t) => {
  const app = echo()
  const errors: string[] = []
  app.on('error', (error) => errors.push(error.message))
  const fail = (what: string) => (): never => {
    throw new Error(what)
  }
  app.observe({ begin: fail('begin'), step: fail('step'), end: fail('end') })
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  const client = await dial(t, server)
  client.end('hello')
  t.is(await readAll(client), 'hello')
  await closed
  t.deepEqual(errors, ['begin', 'step', 'end'])
})

test('a handler that is stuck has its end too', async (t) => {
  const app = new Cio().useConnection((ctx) => {
    ctx.destroy()
    return new Promise(() => {})
  })
  app.on('error', () => {})
  const notes = new Notes()
  app.observe(notes)
  await dial(t, await serve(t, app))
  await notes.until(1)
  t.is(notes.ends[0]!.reason, 'stuck')
})

// Clients

test('each attempt of a client has its begin and its end, also one that fails to connect', async (t) => {
  const port = await ownPort()
  const app = new Cio().useClient(reconnect({ delay: 1, maxDelay: 1 }))
  closeAfter(t, app)
  const notes = new Notes()
  app.observe(notes)
  const retried = once(app, 'reconnect')
  const connected = app.connect({ host, port })
  await retried
  await serve(t, echo(), { port })
  const client = await connected
  await client.close()
  t.is(notes.seen.filter((one) => one === 'begin client').length, notes.ends.length)
  t.is(notes.ends[0]!.reason, 'upstream')
  t.is(notes.ends[0]!.code, 'ECONNREFUSED')
  t.is(notes.ends.at(-1)!.reason, 'drained')
  t.true(notes.seen.includes('step connect'))
})

test('a client whose handshake fails has its end', async (t) => {
  const server = await serve(t, echo(), identity('server'))
  server.app.on('remoteError', () => {})
  const app = new Cio()
  closeAfter(t, app)
  app.on('reject', () => {})
  const notes = new Notes()
  app.observe(notes)
  const stranger = { ca: certificate('other.crt') }
  await t.throwsAsync(app.connect({ host, port: server.port, ...stranger }))
  t.is(notes.ends.length, 1)
  t.is(notes.ends[0]!.reason, 'untrusted')
})

test('a client that is closed while it connects has its end', async (t) => {
  const app = new Cio()
  const notes = new Notes()
  app.observe(notes)
  const begun = deferred()
  app.observe({ begin: () => begun.resolve() })
  const createConnection = (): Promise<never> => new Promise(() => {})
  const connecting = app.connect({ createConnection })
  await begun.promise
  await Promise.all([t.throwsAsync(connecting), app.close()])
  t.is(notes.ends.length, 1)
  t.is(notes.ends[0]!.by, 'local')
})

test('a client whose middleware is stuck has its end, once', async (t) => {
  const app = new Cio().useClient(
    async (_ctx, next) => {
      await next()
      await new Promise(() => {})
    },
    { after: 'connect' },
  )
  app.on('error', () => {})
  const notes = new Notes()
  app.observe(notes)
  const client = await app.connect({ host, port: (await serve(t, echo())).port })
  client.destroy()
  await client.closed
  t.deepEqual(
    notes.ends.map(({ reason }) => reason),
    ['stuck'],
  )
})

// What is no probe

for (const value of [undefined, null, 1, {}, { begin: 1 }, { start() {} }]) {
  test(`${inspect(value)} is refused as a probe`, (t) => {
    t.throws(() => new Cio().observe(value as Probe), { code: 'ERR_CIO_OPTION' })
  })
}

// Generations

test('a connection keeps the generation with which it began', async (t) => {
  const app = echo()
  const server = await serve(t, app)
  const first = nextEvent(app, 'connection')
  await dial(t, server)
  const [old] = await first
  await new Promise(setImmediate)
  const { generation } = app.pipelines.connection
  t.is(old.generation, generation)
  app.useConnection(async function late(_ctx, next) {
    await next()
  })
  const second = nextEvent(app, 'connection')
  await dial(t, server)
  const [fresh] = await second
  await new Promise(setImmediate)
  t.is(old.generation, generation)
  t.is(fresh.generation, generation + 1)
  t.is(server.generation, app.pipelines.server.generation)
})

test('a probe sees calls of rpc on both sides, and may replace what a client sends', async (t) => {
  const app = new Cio()
    .useConnection(json())
    .useConnection(
      rpc({
        methods: {
          echo: (params: unknown) => params,
          fail: () => {
            throw new Error('a secret of the server')
          },
        },
      }),
    )
    .useClient(json())
    .useClient(rpc())
  app.on('error', () => {})
  closeAfter(t, app)
  const over: ProbedCall[] = []
  const observation = app.observe({
    call(_ctx, call, run) {
      if (call.side === 'client' && call.method === 'echo') call.params = ['replaced']
      run()
    },
    called: (_ctx, call) => void over.push(call),
  })
  const server = await app.listen({ host, port: 0 })
  const client = await app.connect({ host, port: server.port })
  t.deepEqual(await client.rpc.call('echo', ['mine']), ['replaced'])
  await t.throwsAsync(client.rpc.call('fail'), { code: 'ERR_CIO_RPC' })
  t.deepEqual(
    over.map(({ side, method, code }) => [side, method, code]),
    [
      ['server', 'echo', undefined],
      ['client', 'echo', undefined],
      ['server', 'fail', -32_603],
      ['client', 'fail', -32_603],
    ],
  )
  t.is(over[2]!.error!.message, 'a secret of the server')
  observation[Symbol.dispose]()
  await client.rpc.call('echo', ['unseen'])
  t.is(over.length, 4)
})

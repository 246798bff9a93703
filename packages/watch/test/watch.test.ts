import test from 'ava'
import {
  Cio,
  CioError,
  type ConnectionContext,
  type ConnectionEnd,
  type StreamContext,
  allowList,
  certs,
  limit,
  multiplex,
  startTls,
} from 'cio'
import { testCertificates } from 'cio/testing'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { ownPort } from '../../../test/support/ports.ts'
import { top } from '../src/cli.ts'
import { type WatchOptions, watch } from '../src/index.ts'
import { handled } from '../src/format.ts'
import {
  accepted,
  closeAfter,
  dial,
  echoApp,
  ended,
  exchange,
  terminal,
  valueOf,
} from './support.ts'

test('open, opened and ended connections are those that the server has', async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const port = { server_port: String(server.port) }
  t.is(valueOf(watching.metrics(), 'cio_connection_active', port), 0)

  const sockets = [await dial(t, server), await dial(t, server), await dial(t, server)]
  for (const socket of sockets) await exchange(socket, 'hello')
  t.is(valueOf(watching.metrics(), 'cio_connection_active', port), server.connections.size)
  t.is(valueOf(watching.metrics(), 'cio_step_active', { cio_step_name: 'echo' }), 3)

  const end = ended(app)
  sockets[0]!.end()
  await end
  const text = watching.metrics()
  t.is(valueOf(text, 'cio_connection_active', port), 2)
  t.is(valueOf(text, 'cio_connection_opened_total', port), 3)
  t.is(
    valueOf(text, 'cio_connection_duration_seconds_count', { cio_end_reason: 'remote_ended' }),
    1,
  )
  const { totals } = watching.snapshot()
  t.deepEqual(totals, { open: 2, accepted: 3, ended: 1, refused: 0, rx: 15, tx: 15 })
})

test('once the last look has ended, no rate of that time is left', async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const socket = await dial(t, server)
  await exchange(socket, 'hello')
  await new Promise<void>((resolve) => {
    let looks = 0
    const stop = watching.look(() => {
      looks += 1
      socket.write('hello')
      const [row] = watching.connections().rows
      if (row!.rate === 0 && looks < 20) return
      stop()
      resolve()
    })
  })
  t.is(watching.connections().rows[0]!.rate, 0)
})

test('a word of a middleware is cut and escaped, in series and in answers', async (t) => {
  const app = new Cio().useConnection(({ state }) => {
    // Both would be the same character in UTF-8, and a scrape with a series twice is refused.
    const word = `${['\ud800', '\ud801'][Number(state['turn'])]}\u202e\u001b[2J"\\\n${'x'.repeat(500)}`
    const refusal = { step: word, why: word, verdict: word }
    throw new CioError('ERR_TEST', 'no', { fault: 'remote', why: word, refusal })
  })
  let turn = 0
  app.on('connection', (ctx) => void (ctx.state['turn'] = turn)).on('reject', () => {})
  app.on('remoteError', () => {})
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  for (; turn < 2; turn++) {
    const end = ended(app)
    await dial(t, server)
    await end
  }
  const series = watching
    .metrics()
    .split('\n')
    .filter((line) => line.includes('refused_total{'))
  t.is(new Set(series.map((line) => Buffer.from(line).toString())).size, 2)
  const harmless = /^[ -~…]*$/
  for (const line of series) {
    t.regex(line, harmless)
    t.true(line.length < 500)
  }
  const all = watching.closed().map(({ why, refusal }) => [why, ...Object.values(refusal!)])
  t.is(all.length, 2)
  for (const text of all.flat()) t.regex(String(text), harmless)
  for (const { step, reason } of watching.refused()) t.regex(step + reason, harmless)
})

test('bytes are counted on the wire and above TLS, and do not fall when a connection ends', async (t) => {
  const { server: identity } = await testCertificates('alice')
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, key: identity.key, cert: identity.cert })
  const socket = connectTls({ port: server.port, rejectUnauthorized: false })
  t.teardown(() => socket.destroy())
  await exchange(socket, 'x'.repeat(1_000))

  const sums = (): number[] =>
    ['plain', 'wire'].flatMap((layer) =>
      ['receive', 'transmit'].map((direction) =>
        valueOf(watching.metrics(), 'cio_connection_io_bytes_total', {
          cio_io_layer: layer,
          network_io_direction: direction,
        }),
      ),
    )
  const open = sums()
  t.deepEqual(open.slice(0, 2), [1_000, 1_000])
  t.true(open[2]! > 1_000 && open[3]! > 1_000, `with the handshake: ${open.join(' ')}`)
  const end = ended(app)
  socket.end()
  await end
  for (const [place, sum] of sums().entries()) t.true(sum >= open[place]!)

  const text = watching.metrics()
  t.is(valueOf(text, 'cio_connection_opened_total', { tls_protocol_version: '1.3' }), 1)
  t.is(valueOf(text, 'cio_connection_opened_total', { tls_resumed: 'false' }), 1)
  t.is(
    valueOf(text, 'cio_tls_handshake_duration_seconds_count', { tls_protocol_version: '1.3' }),
    1,
  )
})

test('a handshake is on the wire alone: the plain bytes of a connection never fall', async (t) => {
  const { server: identity } = await testCertificates('alice')
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, key: identity.key, cert: identity.cert })
  const bytes = (layer: string): number =>
    valueOf(watching.metrics(), 'cio_connection_io_bytes_total', { cio_io_layer: layer })
  // A client that is silent after its first message.
  const socket = await dial(t, server)
  const hello = new Promise<Buffer>((resolve) => {
    const wire = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) })
    connectTls({ socket: wire, rejectUnauthorized: false })
  })
  socket.write(await hello)
  await once(socket, 'data')
  // No series stands for 0.
  t.is(bytes('plain'), Number.NaN)
  t.true(bytes('wire') > 500, String(bytes('wire')))
  const [row] = watching.connections().rows
  t.is(row!.rx + row!.tx, 0)

  const end = ended(app)
  socket.destroy()
  t.is((await end).reason, 'handshake_failed')
  t.is(bytes('plain'), Number.NaN)
  t.true(bytes('wire') > 500, String(bytes('wire')))
  t.deepEqual(watching.snapshot().peers, [])
})

test('bytes before a TLS that startTls began stay counted', async (t) => {
  const { server: identity } = await testCertificates('alice')
  const app = new Cio().useConnection(startTls()).useConnection(async function upgrade(ctx, next) {
    await once(ctx.stream, 'readable')
    ctx.stream.read()
    await ctx.startTls(() => ctx.stream.write('go'))
    ctx.stream.pipe(ctx.stream)
    await next()
  })
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, key: identity.key, cert: identity.cert })
  const socket = await dial(t, server)
  const plain = (): number =>
    valueOf(watching.metrics(), 'cio_connection_io_bytes_total', { cio_io_layer: 'plain' })
  socket.write('x'.repeat(10_000))
  await once(socket, 'data')
  t.is(plain(), 10_002)
  const secured = once(app, 'secure')
  const tls = connectTls({ socket, rejectUnauthorized: false })
  t.teardown(() => tls.destroy())
  await secured
  const before = plain()
  t.true(before >= 10_002, String(before))
  await exchange(tls, 'x'.repeat(100))
  t.is(plain(), before + 200)
  const end = ended(app)
  tls.end()
  await end
  t.is(plain(), before + 200)
})

test('a refused client is explained: its name, the step, the reason, the line, and what it passed', async (t) => {
  const { clients, server: identity } = await testCertificates('alice', 'bob')
  const app = new Cio()
    .useServer(certs(identity))
    .useConnection(allowList(['alice']))
    .useConnection(async function greet({ stream }) {
      stream.end('hello\n')
    })
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const end = ended(app)
  const { key, cert, ca } = clients.bob
  const socket = connectTls({ port: server.port, key, cert, ca, host: 'localhost' })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await end

  const explained = watching.explain({ name: 'bob' })!
  t.is(explained.open, undefined)
  t.is(explained.ended?.reason, 'not_admitted')
  t.is(explained.ended?.peer, 'bob')
  t.is(explained.ended?.refusal?.why, 'not_listed')
  const steps = explained.steps.map(({ name, outcome }) => [name, outcome])
  t.deepEqual(steps, [
    ['secure', 'passed'],
    ['allowList', 'refused here'],
    ['greet', 'not reached'],
  ])
  t.true(explained.steps[0]!.duration! > 0)
  t.regex(explained.steps[1]!.at, /watch\.test\.ts:\d+$/)

  const [group] = watching.refused()
  t.is(group?.who, 'bob')
  t.true(group?.verified)
  t.is(group?.count, 1)
  t.is(group?.reason, 'not_listed')
  const labels = { cio_step_name: 'allowList', cio_refusal_reason: 'not_listed' }
  t.is(valueOf(watching.metrics(), 'cio_connection_refused_total', labels), 1)
  t.notRegex(watching.metrics(), /bob|127\.0\.0\.1/, 'no name and no address in a metric')
})

test('a name that is only claimed is never a verified one', async (t) => {
  const { bad, server: identity } = await testCertificates('alice')
  const app = new Cio().useServer(certs(identity)).useConnection(allowList(['alice']))
  const watching = watch(app, { top: 5 })
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const end = ended(app)
  const { key, cert, ca } = bad.otherCa
  const socket = connectTls({ port: server.port, key, cert, ca, host: 'localhost' })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  t.is((await end).reason, 'untrusted')
  const [closed] = watching.closed({ reason: 'untrusted' })
  t.is(closed?.peer, null)
  t.is(closed?.claimed, 'alice')
  const [group] = watching.refused()
  t.is(group?.verified, false)
  t.is(group?.who, '127.0.0.0/24')
  t.is(watching.explain({ name: 'alice' })?.ended?.id, closed?.id)
})

test('the connection that is refused is explained, and not an older one that is still open', async (t) => {
  const { bad, clients, server: identity } = await testCertificates('alice')
  const app = new Cio()
    .useServer(certs(identity))
    .useConnection(allowList(['alice']))
    .useConnection(async (_, next) => next())
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const dialTls = ({ key, cert }: { key: string; cert: string }): void => {
    const { ca } = clients.alice
    const socket = connectTls({ port: server.port, key, cert, ca, host: 'localhost' })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
  }
  const secured = once(app, 'secure')
  dialTls(clients.alice)
  const [first] = (await secured) as [ConnectionContext]
  t.is(watching.explain({ name: 'alice' })?.open?.id, first.id)
  const end = ended(app)
  dialTls(bad.expired)
  await end
  const { open, ended: refused, others } = watching.explain({ name: 'alice' })!
  t.is(open, undefined)
  t.is(refused?.refusal?.verdict, 'CERT_HAS_EXPIRED')
  t.deepEqual(others, { open: 1, ended: 0 })
  t.is(watching.explain(first.id)?.open?.id, first.id)
})

test('the time of a step is its own, without what is inside it', async (t) => {
  let release = (): void => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  const app = new Cio()
    .useConnection(async function outer(_, next) {
      await next()
    })
    .useConnection(async function slow(_, next) {
      await new Promise((resolve) => setTimeout(resolve, 60))
      await next()
    })
    .useConnection(async function handler() {
      await released
    })
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const socket = await dial(t, server)
  const end = ended(app)
  release()
  await end
  socket.destroy()
  const text = watching.metrics()
  const sum = (step: string): number =>
    valueOf(text, 'cio_step_duration_seconds_sum', { cio_step_name: step })
  t.true(sum('slow') >= 0.05, String(sum('slow')))
  t.true(sum('outer') < sum('slow'))
  t.is(sum('handler'), Number.NaN, 'it never called next()')
})

test('an ended connection is in the ring of its reason, and others do not push it out', async (t) => {
  const app = new Cio()
    .useConnection(limit({ connections: 1 }))
    .useConnection(async function handler({ stream }, next) {
      stream.resume()
      await next()
    })
  const watching = watch(app, { closed: 2 })
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const first = await dial(t, server)
  await exchangeNothing(app, server.connections.size)
  const refusedEnd = ended(app)
  await dial(t, server)
  t.is((await refusedEnd).reason, 'over_limit')
  const firstEnd = ended(app)
  first.end('bye')
  await firstEnd
  for (let one = 0; one < 3; one++) {
    const end = ended(app)
    const socket = await dial(t, server)
    socket.end('bye')
    await end
  }
  t.is(watching.closed({ reason: 'over_limit' }).length, 1)
  t.is(watching.closed({ reason: 'remote_ended' }).length, 2)
  t.is(watching.closed().length, 3)
  t.is(watching.closed({ limit: 1 }).length, 1)

  async function exchangeNothing(watched: Cio, open: number): Promise<void> {
    if (open === 0) await accepted(watched)
  }
})

test('connections that were open before the watch are counted from then on', async (t) => {
  const app = echoApp()
  closeAfter(t, app)
  const server = await app.listen(0)
  const old = await dial(t, server)
  await exchange(old, 'before')
  const watching = watch(app)
  t.teardown(() => watching[Symbol.dispose]())
  const fresh = await dial(t, server)
  await exchange(fresh, 'hello')
  t.is(valueOf(watching.metrics(), 'cio_connection_active'), 2)
  const end = ended(app)
  old.end()
  await end
  t.is(valueOf(watching.metrics(), 'cio_connection_active'), 1)
})

test('a disposed watch counts nothing more, and leaves no listener', async (t) => {
  const app = echoApp()
  const before = app.eventNames()
  const watching = watch(app)
  closeAfter(t, app)
  watching[Symbol.dispose]()
  t.deepEqual(app.eventNames(), before)
  const server = await app.listen(0)
  await exchange(await dial(t, server), 'hello')
  t.is(valueOf(watching.metrics(), 'cio_connection_opened_total'), Number.NaN)
})

test('two watches of one app do not disturb each other', async (t) => {
  const app = echoApp()
  const [one, two] = [watch(app), watch(app)]
  closeAfter(t, app, one)
  const server = await app.listen(0)
  const socket = await dial(t, server)
  await exchange(socket, 'hello')
  const end = ended(app)
  socket.end()
  await end
  two[Symbol.dispose]()
  for (const each of [one, two]) t.is(each.snapshot().totals.ended, 1)
})

test('peers are told apart by verified name alone, those with most', async (t) => {
  const names = ['ann', 'bob', 'cat'] as const
  const { clients, server: identity } = await testCertificates(...names)
  const app = echoApp().useServer(certs(identity))
  const watching = watch(app, { top: 2 })
  closeAfter(t, app, watching)
  const ends: string[] = []
  app.on('close', (ctx, { reason }) => {
    ends.push(`${ctx.peer?.name} ${reason} ${ctx.socket?.bytesRead} ${ctx.socket?.bytesWritten}`)
  })
  const server = await app.listen(0)
  for (const [index, name] of names.entries()) {
    const { key, cert, ca } = clients[name]
    // An address, since Node connects to a name twice if the first attempt is slow.
    const at = { port: server.port, host: '127.0.0.1', servername: 'localhost' }
    const socket = connectTls({ ...at, key, cert, ca })
    t.teardown(() => socket.destroy())
    await exchange(socket, 'x'.repeat(100 * (index + 1)))
    const end = ended(app)
    socket.end()
    await end
  }
  const expected = [
    { name: 'cat', bytes: 600 },
    { name: 'bob', bytes: 400 },
    { name: '_OTHER', bytes: 200 },
  ]
  t.deepEqual(watching.snapshot().peers, expected, ends.join('\n'))
})

test('streams of multiplex are connections of their own, beside the one that carries them', async (t) => {
  const streams = echoApp()
  const app = new Cio().useConnection(multiplex(streams)).useClient(multiplex(streams))
  const watching = watch([app, streams])
  closeAfter(t, streams)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await app.connect({ port: server.port, host: '127.0.0.1' })
  const [first] = await Promise.all(
    ['one', 'two', 'three'].map(async (name) => {
      const stream = await client.mux.open(name)
      stream.on('error', () => {})
      stream.write('hello')
      await once(stream, 'data')
      return stream
    }),
  )
  const open = watching.snapshot()
  t.is(open.servers[0]!.connections, server.connections.size)
  t.is(handled(open), 3)
  t.is(open.totals.open, 4)
  t.is(valueOf(watching.metrics(), 'cio_connection_active', { network_transport: 'pipe' }), 3)
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  const shown = terminal()
  await top({ at: admin.url, json: false, terminal: shown })
  t.regex(shown.text(), /^3 open as streams of others$/m)

  const end = ended(streams)
  first!.destroy()
  await end
  const over = ended(app)
  client.destroy()
  await over
  const { totals, ended: reasons } = watching.snapshot()
  t.is(totals.open, 0)
  t.is(totals.accepted, 4)
  t.is(totals.ended, 4)
  t.is(
    Object.values(reasons).reduce((sum, one) => sum + one.all, 0),
    4,
  )
})

test('a client counts for its target: connected, attempts that failed, ends', async (t) => {
  const app = echoApp()
  const clients = new Cio()
  const watching = watch(clients)
  closeAfter(t, app)
  closeAfter(t, clients, watching)
  // No other process gets this port when the server has left it.
  const server = await app.listen({ port: await ownPort(), host: '127.0.0.1' })
  const client = await clients.connect({ port: server.port, host: '127.0.0.1' })
  const target = { server_address: '127.0.0.1', server_port: String(server.port) }
  t.is(valueOf(watching.metrics(), 'cio_client_connection_active', target), 1)
  await client.close()
  t.is(valueOf(watching.metrics(), 'cio_client_connection_duration_seconds_count', target), 1)
  const { port } = server
  await server.close()
  await t.throwsAsync(clients.connect({ port, host: '127.0.0.1' }), { code: 'ECONNREFUSED' })
  const failed = { ...target, error_type: 'ECONNREFUSED' }
  t.is(valueOf(watching.metrics(), 'cio_client_connect_duration_seconds_count', failed), 1)
})

test('a change of a pipeline is a generation, with the line that made it and who runs on the old one', async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  await exchange(await dial(t, server), 'hello')
  app.useConnection(async function added(_, next) {
    await next()
  })
  await exchange(await dial(t, server), 'hello')
  const [change, first] = watching
    .snapshot()
    .generations.filter(({ pipeline }) => pipeline === 'connection')
  t.deepEqual(change?.added, ['added'])
  t.regex(change?.at[0] ?? '', /watch\.test\.ts:\d+$/)
  t.is(change?.running, 1)
  t.is(first?.running, 1)
  t.is(first?.generation, change!.generation - 1)
})

test('connections are sorted and filtered, and one is shown in full', async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const small = await dial(t, server)
  await exchange(small, 'x')
  const large = await dial(t, server)
  await exchange(large, 'x'.repeat(5_000))
  const { rows, open, matching } = watching.connections({ sort: 'bytes' })
  t.deepEqual([open, matching], [2, 2])
  t.deepEqual(
    rows.map(({ rx, tx }) => rx + tx),
    [10_000, 2],
  )
  t.is(watching.connections({ sort: 'age' }).rows[0]?.id, rows[1]?.id)
  t.is(watching.connections({ filter: '127.0.0.1' }).matching, 2)
  t.is(watching.connections({ filter: '192.0.2.1' }).matching, 0)
  t.is(watching.connections({ step: 'secure' }).matching, 0)
  t.is(watching.connections({ step: 'echo', limit: 1, after: 1 }).rows.length, 1)
  const detail = watching.connection(rows[0]!.id)
  t.is(detail?.rx, 5_000)
  t.deepEqual(
    detail?.steps.map(({ name }) => name),
    ['secure', 'echo'],
  )
  t.is(watching.connection(-1), undefined)
  t.throws(() => watching.connections({ sort: 'name' as 'age' }), { code: 'ERR_CIO_OPTION' })
})

test('no address is kept where none is wanted, and its network where that is enough', async (t) => {
  for (const [address, kept] of [
    ['full', '127.0.0.1'],
    ['network', '127.0.0.0/24'],
    ['none', null],
  ] as const) {
    const app = echoApp()
    const watching = watch(app, { address })
    closeAfter(t, app, watching)
    const server = await app.listen({ port: 0, host: '127.0.0.1' })
    const end = ended(app)
    const socket = await dial(t, server)
    await exchange(socket, 'hello')
    t.is(watching.connections().rows[0]?.address, kept)
    socket.end()
    await end
    t.is(watching.closed()[0]?.address, kept)
  }
})

test('options that are unknown or out of range are refused', (t) => {
  const app = new Cio()
  for (const options of [
    { clsoed: 1 },
    { closed: -1 },
    { closed: Infinity },
    { top: 0.5 },
    { refused: 0 },
    { maxSeries: 1 },
    { address: 'some' },
    { steps: 1 },
    { peer: 'name' },
  ]) {
    t.throws(() => watch(app, options as WatchOptions), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => watch({} as Cio), { code: 'ERR_CIO_OPTION' })
})

test('a rule of its own may name the peers, and one that throws ends no connection', async (t) => {
  const { clients, server: identity } = await testCertificates('alice')
  const app = echoApp().useServer(certs(identity))
  const errors: Error[] = []
  app.on('error', (error) => errors.push(error))
  const watching = watch(app, {
    peer: ({ spki }, ctx: StreamContext) => {
      if (ctx.id > 0) throw new Error('no name today')
      return spki
    },
  })
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const { key, cert, ca } = clients.alice
  const socket = connectTls({ port: server.port, key, cert, ca, host: 'localhost' })
  t.teardown(() => socket.destroy())
  await exchange(socket, 'hello')
  // Not by `once`, which rejects on `error`.
  const end = new Promise<ConnectionEnd>((resolve) => app.once('close', (_, one) => resolve(one)))
  socket.end()
  t.is((await end).reason, 'remote_ended')
  t.is(errors[0]?.message, 'no name today')
})

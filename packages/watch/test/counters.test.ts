/**
 * Servers go through everything while their metrics are scraped continually: no counter falls, and in
 * the end each number is what has happened.
 */

import test from 'ava'
import {
  Cio,
  type ServerContext,
  allowList,
  certs,
  multiplex,
  proxyProtocol,
  reconnect,
  startTls,
} from 'cio'
import { testCertificates } from 'cio/testing'
import { websocket } from 'cio/websocket'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { type ConnectionOptions, type TLSSocket, connect as connectTls } from 'node:tls'
import { WebSocket } from 'ws'
import { type Watch, watch } from '../src/index.ts'
import { closeAfter, dial, echoApp, ended, exchange, valueOf } from './support.ts'

/** Series of counters and histograms that must not fall, from one scrape to the next. */
class Scrapes {
  readonly faults: string[] = []
  count = 0
  readonly #watching: Watch
  #before = new Map<string, number>()
  #isOver = false

  constructor(watching: Watch) {
    this.#watching = watching
    const again = (): void => {
      if (this.#isOver) return
      this.scrape()
      setImmediate(again)
    }
    again()
  }

  /** Also from listeners: a reader may ask at any time. */
  readonly scrape = (): void => {
    const now = new Map<string, number>()
    const grows = new Set<string>()
    for (const line of this.#watching.metrics().split('\n')) {
      const [, name, kind] = /^# TYPE (\S+) (\S+)/.exec(line) ?? []
      if (kind === 'counter' || kind === 'histogram') grows.add(name!)
      const [, series, value] = /^([^#].*) (\S+)$/.exec(line) ?? []
      const family = series?.replace(/\{.*/, '').replace(/_(bucket|sum|count)$/, '')
      if (series && grows.has(family!)) now.set(series, Number(value))
    }
    for (const [series, value] of this.#before) {
      const after = now.get(series)
      if (after === undefined || after < value)
        this.faults.push(`${series}: ${value}, then ${after}`)
    }
    this.#before = now
    this.count += 1
  }

  stop(): void {
    this.scrape()
    this.#isOver = true
  }
}

/** The raw sockets of the clients, with the bytes they have sent and received. */
class Wire {
  readonly sockets: Socket[] = []
  payload = { sent: 0, received: 0 }

  async dial(server: ServerContext): Promise<Socket> {
    const socket = connect({ port: server.port, host: '127.0.0.1' })
    this.sockets.push(socket)
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }

  /** Sends as much, and waits for the echo. */
  async exchange(socket: Socket, text: string): Promise<void> {
    await exchange(socket, text)
    this.payload.sent += text.length
    this.payload.received += text.length
  }

  get sent(): number {
    return this.sockets.reduce((sum, { bytesWritten }) => sum + bytesWritten, 0)
  }

  get received(): number {
    return this.sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0)
  }
}

/** TLS over a socket whose bytes count. */
async function secured(socket: Socket, identity: ConnectionOptions): Promise<TLSSocket> {
  const tls = connectTls({ socket, servername: 'localhost', ...identity })
  tls.on('error', () => {})
  await once(tls, 'secureConnect')
  return tls
}

/** Ends a connection, and waits until the server has noticed. */
async function finish(app: Cio, socket: Socket): Promise<void> {
  const end = ended(app)
  socket.end()
  await end
}

/** An app whose clients ask for TLS by a line. */
function upgradingApp(): Cio {
  return new Cio().useConnection(startTls()).useConnection(async function upgrade(ctx) {
    await once(ctx.stream, 'readable')
    ctx.stream.read()
    await ctx.startTls(() => ctx.stream.write('go'))
    ctx.stream.pipe(ctx.stream)
    await once(ctx.stream, 'end')
  })
}

function io(watching: Watch, direction: string, layer: string): number {
  return valueOf(watching.metrics(), 'cio_connection_io_bytes_total', {
    network_io_direction: direction,
    cio_io_layer: layer,
  })
}

const header = 'PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n'

test('no counter falls, whatever happens, and each number is what has happened', async (t) => {
  const { server: identity, clients, bad } = await testCertificates('alice', 'bob')
  const listed = allowList(['alice', 'bob'], { revoked: 'destroy' })
  const plain = echoApp()
  const mutual = echoApp().useServer(certs(identity)).useConnection(listed)
  const upgrading = upgradingApp()
  const proxied = echoApp().useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
  const streams = echoApp()
  const carrier = new Cio().useConnection(multiplex(streams)).useClient(multiplex(streams))
  const socketEcho = echoApp()
  const web = new Cio().useConnection(websocket(socketEcho))
  const dialling = new Cio().useClient(reconnect({ delay: 1 }))
  const apps = [plain, mutual, upgrading, proxied, streams, carrier, socketEcho, web, dialling]
  const watching = watch(apps)
  for (const app of apps) closeAfter(t, app)
  t.teardown(() => watching[Symbol.dispose]())
  const scrapes = new Scrapes(watching)
  for (const app of apps) {
    for (const event of [
      'connection',
      'secure',
      'close',
      'reject',
      'remoteError',
      'error',
    ] as const) {
      app.on(event, scrapes.scrape)
    }
  }
  const host = '127.0.0.1'
  const { key, cert, ca } = identity
  const at = { port: 0, host }
  const servers = {
    plain: await plain.listen(at),
    mutual: await mutual.listen(at),
    upgrading: await upgrading.listen({ ...at, key, cert, ca, requestCert: true }),
    proxied: await proxied.listen({ ...at, key, cert }),
    carrier: await carrier.listen(at),
    web: await web.listen(at),
  }
  const alice = { ...clients.alice }

  // Short ones, and one that is reset.
  for (let count = 0; count < 20; count++) {
    const socket = await dial(t, servers.plain)
    await exchange(socket, 'short')
    await finish(plain, socket)
  }
  const reset = await dial(t, servers.plain)
  await exchange(reset, 'x')
  const resetEnd = ended(plain)
  reset.resetAndDestroy()
  t.is((await resetEnd).reason, 'remote_reset')

  // One that does not read, and is destroyed with much in its queue, of characters of two bytes.
  const deaf = await dial(t, servers.plain)
  await exchange(deaf, 'x')
  deaf.pause()
  const [writer] = servers.plain.connections
  for (let count = 0; count < 200; count++) writer!.stream.write('é'.repeat(65_536))
  await new Promise((resolve) => setImmediate(resolve))
  scrapes.scrape()
  const deafEnd = ended(plain)
  writer!.destroy()
  await deafEnd

  // Mutual TLS: accepted, refused by its CA, closed amid the handshake; a reload, and an eviction.
  const secure = await secured(await dial(t, servers.mutual), alice)
  await exchange(secure, 'secure')
  const refusedEnd = ended(mutual)
  connectTls({ ...at, port: servers.mutual.port, ...bad.otherCa }).on('error', () => {})
  t.is((await refusedEnd).reason, 'untrusted')
  for (const begins of ['\u0016\u0003\u0001\u0002\u0000', 'no handshake at all']) {
    const half = await dial(t, servers.mutual)
    const halfEnd = ended(mutual)
    half.write(begins)
    half.end()
    await halfEnd
  }
  await servers.mutual.reload()
  const bob = await secured(await dial(t, servers.mutual), { ...clients.bob })
  await exchange(bob, 'bob')
  const evicted = ended(mutual)
  await listed.update(['alice'])
  t.is((await evicted).reason, 'not_admitted')
  await exchange(secure, 'still here')
  await finish(mutual, secure)

  // STARTTLS: accepted, refused, closed amid the handshake.
  for (const how of ['accepted', 'refused', 'closed'] as const) {
    const socket = await dial(t, servers.upgrading)
    socket.write('please'.repeat(1_000))
    await once(socket, 'data')
    const end = ended(upgrading)
    if (how === 'closed') {
      socket.write('\u0016\u0003\u0001')
      socket.end()
    } else if (how === 'refused') {
      connectTls({ socket, ...bad.otherCa, servername: 'localhost' }).on('error', () => {})
    } else {
      const tls = await secured(socket, alice)
      await exchange(tls, 'over TLS')
      tls.end()
    }
    await end
  }

  // Behind a balancer, over a WebSocket, and as streams of a multiplex.
  const balanced = await dial(t, servers.proxied)
  balanced.write(header)
  await finish(proxied, await secured(balanced, { ca, rejectUnauthorized: false }))
  const socket = new WebSocket(`ws://${host}:${servers.web.port}`)
  await once(socket, 'open')
  socket.send('hello')
  await once(socket, 'message')
  const socketEnds = Promise.all([ended(socketEcho), ended(web)])
  socket.close()
  await socketEnds
  const carrying = await carrier.connect({ port: servers.carrier.port, host })
  for (const name of ['one', 'two']) {
    const stream = await carrying.mux.open(name)
    stream.write('hello')
    await once(stream, 'data')
    const end = ended(streams)
    stream.end()
    stream.resume()
    await end
  }
  const carrierEnd = ended(carrier)
  await carrying.close()
  await carrierEnd

  // A client whose connection is lost, and which connects again.
  const client = await dialling.connect({ port: servers.plain.port, host })
  const again = once(dialling, 'reconnect')
  for (const one of servers.plain.connections) one.destroy()
  await again
  await client.close()

  // A drain, with connections that are still open.
  const open = await dial(t, servers.plain)
  await exchange(open, 'open')
  await Promise.all(apps.map((app) => app.close({ timeout: 10 })))
  scrapes.stop()
  t.deepEqual([...new Set(scrapes.faults)], [])
  t.true(scrapes.count > 100, String(scrapes.count))

  const text = watching.metrics()
  const { totals, ended: reasons } = watching.snapshot()
  const opened = valueOf(text, 'cio_connection_opened_total')
  t.is(opened, valueOf(text, 'cio_connection_duration_seconds_count'))
  t.is(opened, totals.accepted)
  t.is(totals.open, 0)
  t.is(totals.ended, totals.accepted)
  const byReason = Object.values(reasons).reduce((sum, { all }) => sum + all, 0)
  t.is(byReason, totals.ended)
  const refused = watching.refused().reduce((sum, { count }) => sum + count, 0)
  t.is(valueOf(text, 'cio_connection_refused_total'), refused)
  t.is(refused, totals.refused)
})

test('bytes are those that the clients have sent and received, on the wire and above TLS', async (t) => {
  const { server: identity, clients } = await testCertificates('alice')
  const { key, cert, ca } = identity
  const at = { port: 0, host: '127.0.0.1' }
  const kinds: Record<string, [Cio, object]> = {
    plain: [echoApp(), {}],
    tls: [echoApp(), { key, cert }],
    startTls: [upgradingApp(), { key, cert }],
    proxied: [echoApp().useConnection(proxyProtocol({ trusted: ['127.0.0.1'] })), { key, cert }],
  }
  for (const [kind, [app, options]] of Object.entries(kinds)) {
    const watching = watch(app)
    closeAfter(t, app, watching)
    const server = await app.listen({ ...at, ...options })
    const wire = new Wire()
    for (let size = 1; size <= 100_000; size *= 10) {
      let socket = await wire.dial(server)
      if (kind === 'startTls') {
        socket.write('please')
        await once(socket, 'data')
        wire.payload.sent += 'please'.length
        wire.payload.received += 'go'.length
      }
      if (kind === 'proxied') socket.write(header)
      if (kind !== 'plain') socket = await secured(socket, { ...clients.alice, ca })
      await wire.exchange(socket, 'x'.repeat(size))
      t.is(io(watching, 'receive', 'plain'), wire.payload.sent, `${kind}, open`)
      await finish(app, socket)
    }
    const handshakes = valueOf(watching.metrics(), 'cio_tls_handshake_duration_seconds_count')
    // Of startTls none is counted, instead of the time of a step that does nothing.
    t.is(handshakes, kind === 'tls' || kind === 'proxied' ? wire.sockets.length : Number.NaN)
    t.is(io(watching, 'receive', 'plain'), wire.payload.sent, kind)
    t.is(io(watching, 'transmit', 'plain'), wire.payload.received, kind)
    t.is(io(watching, 'receive', 'wire'), wire.sent, kind)
    t.is(io(watching, 'transmit', 'wire'), wire.received, kind)
  }
})

test('streams that a connection carries have no bytes of their own: they count once', async (t) => {
  const streams = echoApp()
  const app = new Cio().useConnection(multiplex(streams)).useClient(multiplex(streams))
  const watching = watch([app, streams])
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const client = await app.connect({ port: server.port, host: '127.0.0.1' })
  for (const name of ['one', 'two', 'three']) {
    const stream = await client.mux.open(name)
    stream.on('error', () => {})
    stream.write('x'.repeat(1_000))
    await once(stream, 'data')
  }
  const [carrier] = server.connections
  t.is(io(watching, 'receive', 'wire'), carrier!.socket!.bytesRead)
})

test('connections that a server dropped at accept are counted, and stay counted after its end', async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const servers = [await app.listen(0), await app.listen(0)]
  // A test of the acceptor of Cio takes all descriptors; here it is the number that counts.
  for (const [index, server] of servers.entries()) {
    Object.defineProperty(server, 'dropped', { value: index + 2 })
  }
  const ports = servers.map(({ port }) => ({ server_port: String(port) }))
  const dropped = (): number[] => {
    const text = watching.metrics()
    return ports.map((port) => valueOf(text, 'cio_connection_dropped_total', port))
  }
  t.deepEqual(dropped(), [2, 3])
  await servers[1]!.close()
  t.deepEqual(dropped(), [2, 3])
})

/** What `multiplex.ts` measures: many streams to one server, by each library. */

import type { Stream } from '@libp2p/interface'
import multiplexPackage from 'multiplex'
import muxDemux from 'mux-demux/msgpack.js'
import muxrpc, { type Pair, type Source } from 'muxrpc'
import { once } from 'node:events'
import http2 from 'node:http2'
import { type Socket, connect } from 'node:net'
import type { Duplex } from 'node:stream'
import toPull from 'stream-to-pull-stream'
import { Client as YamuxClient, Server as YamuxServer } from 'yamux-js'
import { Cio, multiplex } from 'cio'

/** One stream, of whatever kind. */
export interface Channel {
  /** Fulfils when more may be sent. */
  send(bytes: Buffer): Promise<void> | void
  receive(take: (bytes: Uint8Array) => void): void
  end(): void
}

/** One way to have many streams. */
export interface Library {
  /** Takes a connection that was accepted. */
  serve(this: void, socket: Socket, take: (channel: Channel) => void): void
  /** Connects, and fulfils with what opens streams. */
  connect(this: void, port: number): Promise<() => Channel | Promise<Channel>>
  /** Loses a stream that takes the number of one that was ended in the same chunk. */
  readonly mixesNumbers?: boolean
}

const silent = (): void => {}
// Only where it is measured: with the heap of all its packages, V8 collects more often than in a server
// without them, in full, and a MiB costs twice as much.
const libp2p = () => import('./libp2p.ts')
const host = '127.0.0.1'
const window = 256 * 1024

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host, noDelay: true })
  await once(socket, 'connect')
  return socket
}

/** A stream of Node's, or one that looks like it. */
function ofDuplex(stream: Duplex): Channel {
  stream.on('error', () => {})
  return {
    async send(bytes) {
      if (!stream.write(bytes)) await once(stream, 'drain')
    },
    receive: (take) => void stream.on('data', take),
    end: () => void stream.end(),
  }
}

function ofLibp2p(stream: Stream): Channel {
  return {
    async send(bytes) {
      if (!stream.send(bytes)) await stream.onDrain()
    },
    receive(take) {
      stream.addEventListener('message', ({ data }) => {
        take(data instanceof Uint8Array ? data : data.subarray())
      })
    },
    end: () => void stream.close(),
  }
}

/** A pair of pull-streams, of which at most one chunk is under way. */
function ofPull({ source, sink }: Pair): Channel {
  let ask: ((end: true | null, bytes?: Buffer) => void) | undefined
  let offered: { bytes: Buffer; taken: () => void } | undefined
  let ended = false
  const hand = (): void => {
    if (!ask || (!offered && !ended)) return
    const [answer, offer] = [ask, offered]
    ask = offered = undefined
    if (!offer) return answer(true)
    offer.taken()
    answer(null, offer.bytes)
  }
  sink((_, answer) => {
    ask = answer
    hand()
  })
  return {
    send: (bytes) =>
      new Promise((taken) => {
        offered = { bytes, taken }
        hand()
      }),
    receive(take) {
      const next = (): void => {
        source(null, (end, bytes) => {
          if (end || !bytes) return
          take(bytes)
          next()
        })
      }
      next()
    },
    end() {
      ended = true
      hand()
    },
  }
}

/** Two ends of pull-streams that face each other. */
function pullChannel(take: (channel: Channel) => void): Pair {
  let given: Source | undefined
  let asked: Parameters<Source> | undefined
  let peer: Source | undefined
  let waiting: Parameters<Source> | undefined
  const pair: Pair = {
    source: (...request) => (given ? given(...request) : (asked = request)),
    sink: (source) => {
      peer = source
      if (waiting) source(...waiting)
    },
  }
  take(
    ofPull({
      source: (...request) => (peer ? peer(...request) : (waiting = request)),
      sink: (source) => {
        given = source
        if (asked) source(...asked)
      },
    }),
  )
  return pair
}

const manifest = { echo: 'duplex' }
const settings = { initialWindowSize: window, maxConcurrentStreams: 1_000, maxFrameSize: 65_536 }

export const libraries: Readonly<Record<string, Library>> = {
  'separate connections': {
    serve: (socket, take) => take(ofDuplex(socket)),
    connect: async (port) => async () => ofDuplex(await dial(port)),
  },
  cio: {
    serve: (socket, take) => {
      const app = cioServers.get(take) ?? cioServer(take)
      app.handle(socket)
    },
    async connect(port) {
      const app = new Cio().useClient(multiplex(new Cio()))
      const { mux } = await app.connect({ port, host })
      return async () => ofDuplex(await mux.open('bench'))
    },
  },
  'node:http2': {
    serve: (socket, take) => {
      const session = http2.performServerHandshake(socket, { settings })
      session.setLocalWindowSize(2 ** 30)
      session.on('stream', (stream) => {
        stream.respond({ ':status': 200 })
        take(ofDuplex(stream))
      })
      session.on('error', () => {})
    },
    async connect(port) {
      const socket = await dial(port)
      const session = http2.connect('http://bench', { createConnection: () => socket, settings })
      await once(session, 'remoteSettings')
      session.setLocalWindowSize(2 ** 30)
      session.on('error', () => {})
      return () => ofDuplex(session.request({ ':method': 'POST' }, { endStream: false }))
    },
  },
  '@libp2p/yamux': {
    serve(socket, take) {
      void libp2p().then(({ libp2pMuxer }) => {
        const muxer = libp2pMuxer(socket, 'inbound')
        muxer.addEventListener('stream', ({ detail }) => take(ofLibp2p(detail)))
      })
    },
    async connect(port) {
      const { libp2pMuxer } = await libp2p()
      const muxer = libp2pMuxer(await dial(port), 'outbound')
      return async () => ofLibp2p(await muxer.createStream())
    },
  },
  'yamux-js': {
    serve: (socket, take) => {
      const session = new YamuxServer((stream) => take(ofDuplex(stream)), {
        enableKeepAlive: false,
        logger: silent,
      })
      session.on('error', () => {})
      socket.pipe(session).pipe(socket)
    },
    async connect(port) {
      const session = new YamuxClient({ enableKeepAlive: false, logger: silent })
      session.on('error', () => {})
      const socket = await dial(port)
      socket.pipe(session).pipe(socket)
      return () => ofDuplex(session.open())
    },
  },
  multiplex: {
    mixesNumbers: true,
    serve: (socket, take) => {
      const plex = multiplexPackage({}, (stream) => take(ofDuplex(stream)))
      socket.pipe(plex).pipe(socket)
    },
    async connect(port) {
      // Else it ends a stream by itself, and its number comes again.
      const plex = multiplexPackage({ halfOpen: true })
      const socket = await dial(port)
      socket.pipe(plex).pipe(socket)
      return () => ofDuplex(plex.createStream())
    },
  },
  'mux-demux': {
    serve: (socket, take) => {
      const mux = muxDemux((stream) => take(ofDuplex(stream)))
      socket.pipe(mux).pipe(socket)
    },
    async connect(port) {
      const mux = muxDemux()
      const socket = await dial(port)
      socket.pipe(mux).pipe(socket)
      return () => ofDuplex(mux.createStream('bench'))
    },
  },
  muxrpc: {
    serve: (socket, take) => {
      const rpc = muxrpc(null, manifest, { echo: () => pullChannel(take) })
      connectPull(toPull.duplex(socket), rpc.stream)
    },
    async connect(port) {
      const rpc = muxrpc(manifest, null)
      connectPull(toPull.duplex(await dial(port)), rpc.stream)
      return () => ofPull(rpc.echo())
    },
  },
}

function connectPull(one: Pair, other: Pair): void {
  other.sink(one.source)
  one.sink(other.source)
}

const cioServers = new Map<(channel: Channel) => void, Cio>()

/** One app for all connections, as in life. */
function cioServer(take: (channel: Channel) => void): Cio {
  const inner = new Cio().useConnection(async function bench(ctx, next) {
    take(ofDuplex(ctx.stream))
    await next()
  })
  const app = new Cio().useConnection(multiplex(inner))
  cioServers.set(take, app)
  return app
}

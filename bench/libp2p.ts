/** `@libp2p/yamux` over a socket, without the rest of libp2p. */

import type { Logger, StreamMuxer } from '@libp2p/interface'
import { AbstractMultiaddrConnection, type SendResult } from '@libp2p/utils'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import type { Socket } from 'node:net'

// It asks for Node 22.
const promises = Promise as unknown as { withResolvers?: () => object }
promises.withResolvers ??= () => {
  let settle = {}
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }))
  return { promise, ...settle }
}

/** A socket, as libp2p has them: this is all that it needs beside its own packages. */
class Libp2pConnection extends AbstractMultiaddrConnection {
  readonly #socket: Socket

  constructor(socket: Socket, direction: 'inbound' | 'outbound') {
    super({ remoteAddr: multiaddr('/ip4/127.0.0.1/tcp/1'), direction, log })
    this.#socket = socket
    socket.on('data', (chunk) => this.onData(chunk))
    socket.on('drain', () => this.safeDispatchEvent('drain'))
    socket.on('close', () => this.onTransportClosed())
  }

  override sendData(bytes: Iterable<Uint8Array> & { byteLength: number }): SendResult {
    let canSendMore = true
    this.#socket.cork()
    for (const chunk of bytes) canSendMore = this.#socket.write(chunk)
    process.nextTick(() => this.#socket.uncork())
    return { sentBytes: bytes.byteLength, canSendMore }
  }

  override async sendClose(): Promise<void> {
    this.#socket.end()
  }

  override sendReset(): void {
    this.#socket.destroy()
  }

  override sendPause(): void {
    this.#socket.pause()
  }

  override sendResume(): void {
    this.#socket.resume()
  }
}

const silent = (): void => {}
const log: Logger = Object.assign(silent, {
  enabled: false,
  error: silent,
  trace: silent,
  newScope: () => log,
})

/** A muxer of theirs over a socket. */
export function libp2pMuxer(socket: Socket, direction: 'inbound' | 'outbound'): StreamMuxer {
  const connection = new Libp2pConnection(socket, direction)
  const options = { enableKeepAlive: false, maxInboundStreams: 1_000, maxOutboundStreams: 1_000 }
  return yamux(options)().createStreamMuxer(connection)
}

/** What a multiplexed connection sends: frames of all its streams, in turns. */

import type { Duplex } from 'node:stream'
import type { MuxStream } from './stream.ts'
import { Type, headerSize, writeHeader } from './wire.ts'

/** Bytes of the longest payload that is sent at once: others wait for so long. */
const longestPayload = 64 * 1024
/** Bytes that may wait in the stream beneath, before the streams above have to. */
const highWater = 128 * 1024
/** The same, with what answers the peer: it asks, and does not read. */
const flooded = 1024 * 1024
/** Up to here, a header and its payload are cheaper to copy than to write one by one. */
const smallPayload = 1024

/** The writing side: frames that say something go at once, payloads when there is room. */
export class Outgoing {
  readonly #transport: Duplex
  readonly #waiting = new Set<MuxStream>()
  #isFull = false
  #isCorked = false
  #isPumping = false

  constructor(transport: Duplex) {
    this.#transport = transport
    transport.on('drain', this.#drain)
  }

  /** Whether so much waits to be read by the peer that it cannot be reading at all. */
  get isFlooded(): boolean {
    return this.#transport.writableLength > flooded
  }

  /** Sends a frame. */
  send(type: number, flags: number, id: number, length: number, payload?: Buffer): void {
    const transport = this.#transport
    if (transport.destroyed || transport.writableEnded) return
    this.#cork()
    const size = payload?.length ?? 0
    const isSmall = size <= smallPayload
    const head = Buffer.allocUnsafe(isSmall ? headerSize + size : headerSize)
    writeHeader(head, type, flags, id, length)
    if (isSmall) payload?.copy(head, headerSize)
    let hasRoom = transport.write(head)
    if (payload && !isSmall) hasRoom = transport.write(payload)
    this.#isFull = !hasRoom && transport.writableLength >= highWater
  }

  /** Sends what a stream has, in its turn. */
  schedule(stream: MuxStream): void {
    this.#waiting.add(stream)
    this.#pump()
  }

  /** Nothing of this stream is to be sent any more. */
  forget(stream: MuxStream): void {
    this.#waiting.delete(stream)
  }

  /** Leaves the stream beneath as it was. */
  stop(): void {
    this.#transport.off('drain', this.#drain)
    this.#waiting.clear()
    this.#uncork()
  }

  readonly #drain = (): void => {
    this.#isFull = false
    this.#pump()
  }

  #pump(): void {
    // Who is told that all was sent may have more at once.
    if (this.#isPumping) return
    this.#isPumping = true
    for (const stream of this.#waiting) {
      if (this.#isFull) break
      this.#waiting.delete(stream)
      if (!stream.isReady) continue
      const payload = stream.cut(longestPayload)
      this.send(Type.data, 0, stream.id, payload.length, payload)
      // At the end of the row: the loop comes to it again.
      if (stream.isReady) this.#waiting.add(stream)
      stream.taken()
    }
    this.#isPumping = false
  }

  /** What is sent in one turn is written together. */
  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#transport.cork()
    process.nextTick(this.#uncork)
  }

  readonly #uncork = (): void => {
    if (!this.#isCorked) return
    this.#isCorked = false
    this.#transport.uncork()
  }
}

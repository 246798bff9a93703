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
/** Up to here, a payload is cheaper to copy than to write by itself. */
const smallPayload = 1024
/** Bytes of the first block of a turn, which are those of a few small frames, and of the largest. */
const firstBlockSize = 256
const largestBlockSize = 16 * 1024

/**
 * The writing side: frames that say something go at once, payloads when there is room.
 *
 * What is sent in one turn of the event loop is written together, headers and small payloads in the
 * same block: a buffer for each costs more than its bytes do.
 */
export class Outgoing {
  readonly #transport: Duplex
  readonly #waiting = new Set<MuxStream>()
  /** By how much windows were widened in this turn. */
  readonly #grants = new Map<MuxStream, number>()
  #granting: NodeJS.Immediate | undefined
  #block: Buffer | undefined
  #used = 0
  #blockSize = firstBlockSize
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
    const isSmall = payload !== undefined && payload.length <= smallPayload
    const size = isSmall ? headerSize + payload.length : headerSize
    const block = this.#room(size)
    writeHeader(block, this.#used, type, flags, id, length)
    if (isSmall) payload.copy(block, this.#used + headerSize)
    this.#used += size
    if (!payload || isSmall) return
    this.#writeBlock()
    this.#write(payload)
  }

  /**
   * Lets the peer send so many bytes more. At the end of the turn of the event loop: what has come by
   * then may be the end of the stream, and a peer warns of windows for a stream that is over.
   */
  grant(stream: MuxStream, bytes: number): void {
    this.#grants.set(stream, (this.#grants.get(stream) ?? 0) + bytes)
    this.#granting ??= setImmediate(this.#sendGrants)
  }

  /** Sends what was granted to a stream in this turn. */
  sendGrant(stream: MuxStream): void {
    const bytes = this.#grants.get(stream)
    this.#grants.delete(stream)
    if (bytes !== undefined && !stream.peerHasFinished) this.send(Type.window, 0, stream.id, bytes)
  }

  /** Sends what a stream has, in its turn. */
  schedule(stream: MuxStream): void {
    this.#waiting.add(stream)
    this.#pump()
  }

  /** Writes what was sent in this turn. */
  readonly flush = (): void => {
    if (!this.#isCorked) return
    this.#writeBlock()
    this.#blockSize = firstBlockSize
    this.#isCorked = false
    this.#transport.uncork()
  }

  /** Nothing of this stream is to be sent any more. */
  forget(stream: MuxStream): void {
    this.#waiting.delete(stream)
    this.#grants.delete(stream)
  }

  /** Leaves the stream beneath as it was. */
  stop(): void {
    this.#transport.off('drain', this.#drain)
    this.#waiting.clear()
    this.#grants.clear()
    clearImmediate(this.#granting)
    this.flush()
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

  readonly #sendGrants = (): void => {
    this.#granting = undefined
    for (const stream of this.#grants.keys()) this.sendGrant(stream)
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#transport.cork()
    process.nextTick(this.flush)
  }

  /** The block that has room for so many bytes. */
  #room(size: number): Buffer {
    if (this.#block && this.#block.length - this.#used >= size) return this.#block
    this.#writeBlock()
    this.#block = Buffer.allocUnsafe(Math.max(size, this.#blockSize))
    this.#blockSize = Math.min(2 * this.#block.length, largestBlockSize)
    return this.#block
  }

  #writeBlock(): void {
    const block = this.#block
    if (!block) return
    this.#block = undefined
    this.#write(this.#used === block.length ? block : block.subarray(0, this.#used))
    this.#used = 0
  }

  #write(bytes: Buffer): void {
    const transport = this.#transport
    if (transport.destroyed || transport.writableEnded) return
    const hasRoom = transport.write(bytes)
    this.#isFull = !hasRoom && transport.writableLength >= highWater
  }
}

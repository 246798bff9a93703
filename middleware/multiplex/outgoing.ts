/** The sending side of a multiplexed connection: frames of all its streams, in turns. */

import type { Duplex } from 'node:stream'
import type { MuxStream } from './stream.ts'
import { Type, headerSize, writeHeader } from './wire.ts'

/** Maximum bytes of a payload in one frame. The other streams wait until it is sent. */
const longestPayload = 64 * 1024
/** Maximum unsent bytes in the underlying stream before the streams above have to wait. */
const highWater = 128 * 1024
/**
 * The same limit, including replies to the peer. Beyond it, the peer sends requests but does not
 * read.
 */
const flooded = 1024 * 1024
/** Up to this size, copying a payload is cheaper than a separate write. */
const smallPayload = 1024
/** Bytes of the first block of a turn, enough for a few small frames; and of the largest block. */
const firstBlockSize = 256
const largestBlockSize = 16 * 1024

/**
 * The sending side: control frames go out at once, payloads when there is room.
 *
 * All frames of one turn of the event loop are written together, headers and small payloads in the
 * same block: a buffer for each would cost more than its bytes do.
 */
export class Outgoing {
  readonly #transport: Duplex
  // Arrays, not a Set and a Map: once old, those allocate in the old space of V8 after every few
  // entries. There V8 looks at its limits, counts each chunk that was read, and collects in full.
  #waiting: MuxStream[] = []
  /** Streams whose windows were increased in this turn. */
  #granted: MuxStream[] = []
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

  /** Whether so many bytes are unsent that the peer cannot be reading. */
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
   * Lets the peer send that many more bytes. The update goes out at the end of this turn of the
   * event loop: the stream may end in this turn, and peers warn about window updates for ended
   * streams.
   */
  grant(stream: MuxStream, bytes: number): void {
    if (stream.granted === 0) this.#granted.push(stream)
    stream.granted += bytes
    this.#granting ??= setImmediate(this.#sendGrants)
  }

  /** Sends the window update of a stream that was granted in this turn. */
  sendGrant(stream: MuxStream): void {
    const bytes = stream.granted
    stream.granted = 0
    if (bytes > 0 && !stream.peerHasFinished) this.send(Type.window, 0, stream.id, bytes)
  }

  /** Queues a stream that has data to send. */
  schedule(stream: MuxStream): void {
    this.#queue(stream)
    this.#pump()
  }

  /** Writes all frames of this turn. */
  readonly flush = (): void => {
    if (!this.#isCorked) return
    this.#writeBlock()
    this.#blockSize = firstBlockSize
    this.#isCorked = false
    this.#transport.uncork()
  }

  /** Drops everything queued for a stream. */
  forget(stream: MuxStream): void {
    const at = stream.isWaiting ? this.#waiting.indexOf(stream) : -1
    if (at >= 0) this.#waiting.splice(at, 1)
    stream.isWaiting = false
    stream.granted = 0
  }

  /** Removes all listeners from the underlying stream. */
  stop(): void {
    this.#transport.off('drain', this.#drain)
    this.#waiting = []
    this.#granted = []
    clearImmediate(this.#granting)
    this.flush()
  }

  readonly #drain = (): void => {
    this.#isFull = false
    this.#pump()
  }

  #pump(): void {
    // A write callback may schedule more data while this loop runs; the loop sends it too.
    if (this.#isPumping) return
    this.#isPumping = true
    for (let stream; !this.#isFull && (stream = this.#waiting.shift());) {
      stream.isWaiting = false
      if (!stream.isReady) continue
      const payload = stream.cut(longestPayload)
      this.send(Type.data, 0, stream.id, payload.length, payload)
      // To the end of the queue: the loop reaches it again.
      if (stream.isReady) this.#queue(stream)
      stream.taken()
    }
    this.#isPumping = false
  }

  #queue(stream: MuxStream): void {
    if (stream.isWaiting) return
    stream.isWaiting = true
    this.#waiting.push(stream)
  }

  readonly #sendGrants = (): void => {
    const streams = this.#granted
    this.#granting = undefined
    this.#granted = []
    for (const stream of streams) this.sendGrant(stream)
  }

  #cork(): void {
    if (this.#isCorked) return
    this.#isCorked = true
    this.#transport.cork()
    process.nextTick(this.flush)
  }

  /** A block with room for that many bytes. */
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

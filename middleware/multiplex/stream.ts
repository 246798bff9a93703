/** One stream of a multiplexed connection. */

import { Duplex } from 'node:stream'
import { asError } from '../../src/errors.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import { initialWindow, largest } from './wire.ts'

type Done = (error?: Error | null) => void

/** The connection, as its streams see it. */
export interface Carrier {
  /** The stream has data to send; the carrier calls `cut()` when there is room. */
  schedule(stream: MuxStream): void
  /** The stream has room for that many more bytes. */
  grant(stream: MuxStream, bytes: number): void
  /** The stream sends no more data. */
  finish(stream: MuxStream): void
  /** The stream is destroyed. */
  forget(stream: MuxStream): void
}

const ignore = (): void => {}

/** A Duplex with flow control in both directions. */
export class MuxStream extends Duplex {
  readonly id: number
  /** Bytes that the peer can still receive. */
  sendWindow: number = initialWindow
  /** Bytes that the peer may still send. */
  receiveWindow: number
  /** State of each direction: no more data follows, or the stream is closed. */
  hasFinished = false
  peerHasFinished = false
  isReset = false
  /** Whether the other side has accepted the stream. */
  isAccepted = false
  /** Whether the carrier has queued the stream, which has data to send. */
  isWaiting = false
  /** Bytes by which the peer's window grows at the end of this turn. */
  granted = 0

  readonly #carrier: Carrier
  readonly #window: number
  readonly #backlog = new ReceiveBuffer()
  #wants = false
  /** Bytes that were read and not yet granted to the peer again. */
  #read = 0
  #chunk: Buffer | undefined
  #done: Done = ignore
  /** The reason why no more data can be sent. */
  #lost: Error | undefined

  constructor(id: number, window: number, carrier: Carrier) {
    // One piece is enough: all other data stays in the receive buffer.
    super({ allowHalfOpen: true, readableHighWaterMark: 1 })
    this.id = id
    this.receiveWindow = window
    this.#window = window
    this.#carrier = carrier
    // A reset by the peer must not end the process as an unhandled error.
    this.on('error', ignore)
  }

  /** Whether there is data to send, and room for it. */
  get isReady(): boolean {
    return this.#chunk !== undefined && this.sendWindow > 0
  }

  /** The peer has room for more bytes; false if the window is larger than allowed. */
  widen(bytes: number): boolean {
    this.sendWindow += bytes
    return this.sendWindow <= largest
  }

  /** The next bytes to send, at most `max`. */
  cut(max: number): Buffer {
    const chunk = this.#chunk!
    const size = Math.min(chunk.length, this.sendWindow, max)
    this.sendWindow -= size
    if (size === chunk.length) {
      this.#chunk = undefined
      return chunk
    }
    this.#chunk = chunk.subarray(size)
    return chunk.subarray(0, size)
  }

  /** The bytes that `cut()` returned are written. */
  taken(): void {
    if (this.#chunk || this.destroyed) return
    const done = this.#done
    this.#done = ignore
    done()
  }

  /** Takes data from the peer. */
  receive(piece: Buffer, of: number): void {
    if (this.destroyed) return
    if (this.#wants) this.#give(piece)
    else this.#backlog.add(piece, of)
  }

  /** The peer will send no more data. */
  receiveEnd(): void {
    this.peerHasFinished = true
    if (this.destroyed) return
    // Also delivers data that nothing has asked for yet, so that the end behind it is noticed. That
    // data is in memory anyway.
    for (const block of this.#backlog.drain()) this.#give(block)
    this.push(null)
  }

  /**
   * The connection is closed, so the stream fails. But after an orderly close, a stream that the
   * peer had ended is complete, and can still be read.
   */
  lose(error: Error, isOrderly: boolean): void {
    const isWhole = this.peerHasFinished && !this.readableEnded && !this.#chunk
    if (!isWhole || !isOrderly) return void this.destroy(error)
    this.#lost = error
    // No reply is possible any more: close at the end of input.
    this.allowHalfOpen = false
  }

  override _read(): void {
    this.#wants = true
    for (const block of this.#backlog.drain()) this.#give(block)
    if (this.peerHasFinished) this.push(null)
  }

  #give(piece: Buffer): void {
    this.#wants = false
    this.#read += piece.length
    // After our end, the peer's end is probably on its way, and peers warn about window updates
    // after it.
    const due = this.hasFinished ? this.#window : this.#window / 2
    if (this.#read >= due && !this.peerHasFinished) {
      this.#carrier.grant(this, this.#read)
      this.#read = 0
    }
    try {
      this.push(piece)
    } catch (thrown) {
      // A listener that throws fails its own stream only, not the others.
      this.destroy(asError(thrown))
    }
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    if (this.#lost || chunk.length === 0) return done(this.#lost)
    this.#chunk = chunk
    this.#done = done
    this.#carrier.schedule(this)
  }

  override _final(done: Done): void {
    if (!this.#lost) this.#carrier.finish(this)
    done()
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#chunk = undefined
    this.#backlog.drain()
    this.#carrier.forget(this)
    done(error)
  }
}

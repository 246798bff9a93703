/** One stream of a multiplexed connection. */

import { Duplex } from 'node:stream'
import { asError } from '../../src/errors.ts'
import { ReceiveBuffer } from './receive-buffer.ts'
import { initialWindow, largest } from './wire.ts'

type Done = (error?: Error | null) => void

/** What a stream needs of the connection that it is in. */
export interface Carrier {
  /** There is something to send; `cut()` is called when there is room for it. */
  schedule(stream: MuxStream): void
  /** There is room for so many bytes more. */
  grant(stream: MuxStream, bytes: number): void
  /** Nothing more will be sent. */
  finish(stream: MuxStream): void
  /** It is destroyed. */
  forget(stream: MuxStream): void
}

const ignore = (): void => {}

/** A Duplex with a window each way. */
export class MuxStream extends Duplex {
  readonly id: number
  /** Bytes that the peer has room for. */
  sendWindow: number = initialWindow
  /** Bytes that the peer may still send. */
  receiveWindow: number
  /** What each side has said: that nothing more follows, or that all is over. */
  hasFinished = false
  peerHasFinished = false
  isReset = false
  /** Whether the side that did not open it has taken it. */
  isAccepted = false

  readonly #carrier: Carrier
  readonly #window: number
  readonly #backlog = new ReceiveBuffer()
  #wants = false
  /** Bytes that were read, which the peer has not been told of. */
  #read = 0
  #chunk: Buffer | undefined
  #done: Done = ignore
  /** Why nothing can be sent any more. */
  #lost: Error | undefined

  constructor(id: number, window: number, carrier: Carrier) {
    // One piece is enough: what else there is stays in the backlog.
    super({ allowHalfOpen: true, readableHighWaterMark: 1 })
    this.id = id
    this.receiveWindow = window
    this.#window = window
    this.#carrier = carrier
    // The peer must not be able to end the process by a reset.
    this.on('error', ignore)
  }

  /** Whether something waits to be sent, and there is room for it. */
  get isReady(): boolean {
    return this.#chunk !== undefined && this.sendWindow > 0
  }

  /** The peer has room for more; false if that is more than there can be. */
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

  /** What `cut()` gave has been written. */
  taken(): void {
    if (this.#chunk || this.destroyed) return
    const done = this.#done
    this.#done = ignore
    done()
  }

  /** Takes what the peer has sent. */
  receive(piece: Buffer, of: number): void {
    if (this.destroyed) return
    if (this.#wants) this.#give(piece)
    else this.#backlog.add(piece, of)
  }

  /** The peer will send nothing more. */
  receiveEnd(): void {
    this.peerHasFinished = true
    if (this.#backlog.isEmpty) this.push(null)
  }

  /**
   * The connection is gone: it ends by an error. But where that was orderly and the peer had ended
   * the stream, all of it is here, for its reader.
   */
  lose(error: Error, isOrderly: boolean): void {
    const isWhole = this.peerHasFinished && !this.readableEnded && !this.#chunk
    if (!isWhole || !isOrderly) return void this.destroy(error)
    this.#lost = error
    // Nothing can answer: at the end of input it is over.
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
    // After our end the peer's is likely to be under way, and it warns of windows that come after it.
    const due = this.hasFinished ? this.#window : this.#window / 2
    if (this.#read >= due && !this.peerHasFinished) {
      this.#carrier.grant(this, this.#read)
      this.#read = 0
    }
    try {
      this.push(piece)
    } catch (thrown) {
      // A listener's failure is its own stream's, and not that of all the others.
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

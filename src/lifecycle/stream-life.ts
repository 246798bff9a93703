/**
 * The life of a run with a stream: its streams, from the transport at the bottom to the top, and
 * their end.
 *
 * The end of a stream has one owner: this class. At the end of its pipeline a run waits until
 *
 * - the stream on top has closed, or
 * - its input has ended and no listener remains that could still answer.
 *
 * A listener for `end` that the application attached may still write, so it keeps the stream open.
 * A listener that is removed later, such as that of a loop after its end, is done. A listener that
 * removed itself on `end` (a pipe, for example) may still reply, and ends the stream itself.
 * Listeners of Cio and Node do not count.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type CioError, asError, isCioError } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import { HalfOpenWatch } from '../streams/half-open.ts'
import { hasUnreadEnd, isAttached, isIdle, isOver } from '../streams/reading.ts'
import { resetOnDestroy } from '../streams/reset.ts'
import { Lifecycle } from './lifecycle.ts'
import { Deferred } from './deferred.ts'
import { type StreamOwner, own } from './stream-events.ts'

/** The common part of connections and clients. */
export abstract class StreamLife extends Lifecycle implements StreamOwner {
  /** The stream on top. */
  stream: Duplex | undefined
  /** The stream at the bottom; its end ends all layers above it. */
  transport: Duplex | undefined
  /** Bytes that came before the client's own bytes: those of a PROXY header. */
  preambleSize = 0
  /** The error that was the last reason to ask it to finish, if there was one. */
  evictedBy: CioError | undefined
  /** The socket of another connection, which carries it: Cio never destroys it. */
  lent: Socket | undefined
  #brokenLayer: Error | undefined
  /** Number of `end` listeners that do not belong to the application. */
  #ownEnds = 0
  #whenOver: (() => void) | undefined
  #halfOpen: HalfOpenWatch | undefined
  /**
   * Whether nothing will read the input, so that an end behind unread bytes ends the connection.
   */
  #readsAhead = false
  /** Whether the input has ended behind bytes that nothing reads. */
  #endedUnread = false
  /** True once secured. Before that, the promise of `secured`, if it was read. */
  #secured: true | Deferred | undefined

  /** Begins with a stream at the bottom. */
  begin(transport: Duplex): void {
    this.transport = transport
    this.put(transport)
  }

  /** Puts a stream on top. */
  put(stream: Duplex): void {
    // The error of a layer is the error of the connection, even after the layer was removed.
    this.#brokenLayer ??= this.stream?.errored ?? undefined
    own(stream, this)
    this.#ownEnds = stream.listenerCount('end')
    this.stream = stream
  }

  /**
   * Counts again the listeners that do not belong to the application, after all others were
   * removed.
   */
  recount(stream: Duplex): void {
    if (stream === this.stream) this.#ownEnds = stream.listenerCount('end')
  }

  /** Forgets the streams and their errors. */
  detach(): void {
    this.#halfOpen?.stop()
    this.#halfOpen = undefined
    this.#readsAhead = false
    this.#endedUnread = false
    this.stream = undefined
    this.transport = undefined
    this.#brokenLayer = undefined
    this.#secured = undefined
  }

  /**
   * The cause of the end: the argument of `destroy()`, or the error of a stream. The first counts.
   */
  get cause(): Error | undefined {
    const own = this.destroyedWith ?? this.#brokenLayer
    const error = own ?? this.stream?.errored ?? this.transport?.errored ?? undefined
    // A stream may be destroyed with anything.
    return error === undefined ? undefined : asError(error)
  }

  /** Notes the error of a middleware as the cause, unless there is one already. */
  blame(error: Error | undefined): void {
    if (!this.cause) this.destroyedWith = error
    this.abort(this.cause)
  }

  /** Whether the other side has ended, or the connection is lost. */
  get hasEnded(): boolean {
    return this.#endedUnread || isOver(this.stream) || isOver(this.transport)
  }

  /** Fulfils when the stream is over; see above. */
  over(): Promise<void> {
    const stream = this.stream!
    const hasEnded = stream.readableEnded && !this.#isAnswered
    if (stream.destroyed || hasEnded || this.#endedUnread) return Promise.resolve()
    return new Promise((resolve) => (this.#whenOver = resolve))
  }

  /**
   * Reads ahead while nothing reads, up to one high-water mark in each layer, so that an end or a reset
   * behind that is noticed. Node reads nothing from a stream without a reader.
   */
  readAhead(): void {
    const stream = this.stream!
    if (stream.destroyed || isAttached(stream)) return
    this.#readsAhead = true
    stream.read(0)
    if (hasUnreadEnd(stream)) this.inputEnded(stream)
  }

  /** The last bytes of the input have arrived; they may be unread. */
  inputEnded(stream: Duplex): void {
    if (this.isSettled || stream !== this.stream || isAttached(stream)) return
    // If nothing is left to read, a read makes Node emit `end`; `net` reads by itself.
    if (!hasUnreadEnd(stream)) stream.read(0)
    else if (!this.#readsAhead) this.#halfOpen ??= this.#watchHalfOpen()
    else {
      this.#endedUnread = true
      this.#finished()
    }
  }

  /** Whether a listener is left that could still answer the end of input. */
  get #isAnswered(): boolean {
    return this.stream!.listenerCount('end') > this.#ownEnds
  }

  /** The input of a stream has ended. */
  ended(stream: Duplex): void {
    if (this.isSettled || (stream !== this.stream && stream !== this.transport)) return
    // The time begins again: the handler has just read the input to its end.
    if (stream === this.stream) this.#halfOpen?.stop()
    if (stream === this.stream || !this.#halfOpen) this.#halfOpen = this.#watchHalfOpen()
    if (stream !== this.stream || !this.#whenOver) return
    if (!this.#isAnswered) return this.#finished()
    const before = stream.listenerCount('end')
    process.nextTick(() => {
      // A listener that removed itself on `end` (a pipe, for example) may still reply, and ends the
      // stream itself.
      if (stream.listenerCount('end') === before) this.#whenUnanswered(stream)
    })
  }

  /** Waits until the listeners that could still answer are removed. */
  #whenUnanswered(stream: Duplex): void {
    const left = (): void => {
      if (stream === this.stream && this.#isAnswered) return
      stream.off('removeListener', left)
      this.#finished()
    }
    stream.on('removeListener', left)
  }

  /** A stream has closed. */
  gone(stream: Duplex): void {
    if (stream === this.transport) {
      this.#halfOpen?.stop()
      this.transportClosed()
    }
    if (stream === this.stream) this.#finished()
  }

  #finished(): void {
    this.#whenOver?.()
    this.#whenOver = undefined
  }

  #watchHalfOpen(): HalfOpenWatch | undefined {
    const { halfOpen, flush } = this.times()
    if (halfOpen === Infinity || halfOpen === 0) return undefined
    const { stream, transport } = this
    // A socket counts what was written.
    const bottom = stream instanceof Socket ? stream : transport!
    return new HalfOpenWatch(bottom, halfOpen, flush, () => {
      if (isIdle(this.stream!)) this.halfOpenFor(halfOpen)
      // The time begins when the input has been read to its end.
      else this.#halfOpen = undefined
    })
  }

  override destroy(cause?: Error): void {
    // The first cause counts, and that may be an error of the network.
    const first = this.cause
    if (first) {
      this.abort(first)
      this.watch()
    } else super.destroy(cause)
    this.disconnect(cause)
  }

  /**
   * Destroys the stream and all streams beneath it, but does not end the run. Truncated data must
   * not look whole: the other side sees a reset if bytes still wait, or if this side failed after
   * it began to write. Unix sockets have no reset.
   */
  disconnect(cause?: Error): void {
    if (cause && this.#isAmidst(cause)) resetOnDestroy(this.transport)
    this.stream?.destroy(cause)
    const socket = this.socket()
    if (socket !== this.lent) socket?.destroy()
    this.transport?.destroy()
  }

  /** Whether anything was written to the other side, except a handshake. */
  get hasWritten(): boolean {
    const socket = this.socket()
    return this.stream!.writableLength > 0 || (socket !== null && socket.bytesWritten > 0)
  }

  #isAmidst(cause: Error): boolean {
    const { stream, transport } = this
    if (!stream || !transport || transport.destroyed) return false
    if (stream.writableLength + transport.writableLength > 0) return true
    if (stream.writableEnded || !this.hasWritten) return false
    return !(isCioError(cause) && cause.fault === 'remote')
  }

  /** Resets a stream that did not flush in time. */
  cut(cause?: Error): void {
    resetOnDestroy(this.transport)
    this.disconnect(cause)
  }

  /** Fulfils when the TLS handshake is done, or when it is clear that there is none. */
  get secured(): Promise<void> {
    if (this.#secured === true) return Promise.resolve()
    if (!this.#secured) {
      this.#secured = new Deferred()
      if (this.isSettled) this.#secured.settle(this.signal.reason as Error)
    }
    return this.#secured.promise
  }

  /**
   * Whether `secured` has fulfilled. A connection does one handshake, in however many pipelines it
   * is.
   */
  get isSecured(): boolean {
    return this.#secured === true
  }

  /** Notes that the handshake is done, or that there is none. */
  secure(): void {
    if (this.#secured instanceof Deferred) this.#secured.settle()
    this.#secured = true
  }

  override settle(cause?: Error): void {
    if (this.isSettled) return
    super.settle(cause)
    this.#halfOpen?.stop()
    if (this.#secured instanceof Deferred) this.#secured.settle(this.signal.reason as Error)
  }

  /** Destroys the stream at a deadline, after a short time to flush, if there is one. */
  override cutOff(patience: number, cause?: Error): number {
    if (this.phase === 'closed') {
      this.destroy(cause)
      return 0
    }
    const { stream } = this
    const waits = stream !== undefined && !stream.destroyed && stream.writableLength > 0
    if (patience === 0 || !waits) this.destroy(cause)
    else {
      super.destroy(cause)
      void endGracefully(stream, patience, { linger: 0, cut: () => this.cut() }).then(() =>
        this.disconnect(),
      )
    }
    return 1
  }

  /** The socket that the context shows. */
  protected abstract socket(): Socket | null

  /** The timeouts in milliseconds: for silence when half open, and for flushing. */
  abstract times(): { readonly halfOpen: number; readonly flush: number }

  /** The transport has closed. */
  protected abstract transportClosed(): void

  /** The half-open connection was silent for too long. */
  protected abstract halfOpenFor(timeout: number): void
}

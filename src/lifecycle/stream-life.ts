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
import { type CioError, type Fault, isCioError } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import { HalfOpenWatch } from '../streams/half-open.ts'
import { Lifecycle } from './lifecycle.ts'

/** The property of a stream that holds its life. */
const owner = Symbol('cio.life')
/** The lives of runs outside that one, over the same stream. */
const outer = Symbol('cio.outerLives')
type Owned = Duplex & { [owner]?: StreamLife; [outer]?: StreamLife[] }

// One function for all streams: closures for each idle connection cost heap.

/** Destroy a stream on `error` even if Node keeps it open, as it does after a TLS alert. */
function destroyBy(this: Duplex, error: Error): void {
  this.destroy(error)
}

function onEnd(this: Owned): void {
  this[owner]?.ended(this)
  this[outer]?.forEach((life) => life.ended(this))
}

function onClose(this: Owned): void {
  this[owner]?.gone(this)
  this[outer]?.forEach((life) => life.gone(this))
}

const listeners = { error: destroyBy, end: onEnd, close: onClose } as const

/** Adds Cio's listeners, where they are not there. */
function listenTo(stream: Owned): void {
  for (const [event, listener] of Object.entries(listeners)) {
    if (!stream.listeners(event).includes(listener)) stream.on(event, listener)
  }
}

/**
 * In place of that of a stream in use. A library that takes a socket over may remove all listeners, as
 * smtp-server does for STARTTLS. Without Cio's an error would end the process, and the end of the
 * connection would go unnoticed.
 */
function removeListenersButOurs(this: Owned, ...events: string[]): Owned {
  const prototype = Object.getPrototypeOf(this) as Owned
  prototype.removeAllListeners.apply(this, events as [])
  const lives = [this[owner], ...(this[outer] ?? [])]
  if (lives.every((life) => !life || life.isSettled)) return this
  listenTo(this)
  for (const life of lives) life?.recount(this)
  return this
}

/** Whether the application reads a stream. */
export function isRead(stream: Duplex): boolean {
  return stream.listenerCount('data') > 0 || stream.listenerCount('readable') > 0
}

/** Whether a stream has listeners or pipes of the application. */
export function isAttached(stream: Duplex): boolean {
  return isRead(stream) || stream.listenerCount('unpipe') > 0
}

interface WithState {
  readonly _readableState?: { readonly ended: boolean }
}

/** Whether the end of input has come, behind bytes that nothing has read. */
export function hasUnreadEnd(stream: Duplex): boolean {
  const { _readableState: state } = stream as WithState
  return state?.ended === true && stream.readableLength > 0 && !stream.destroyed
}

/** The common part of connections and clients. */
export abstract class StreamLife extends Lifecycle {
  /** The stream on top. */
  stream: Duplex | undefined
  /** The stream at the bottom; its end ends all layers above it. */
  transport: Duplex | undefined
  /** Bytes that came before the first of the client's own: those of a PROXY header. */
  preambleSize = 0
  /** The error for which it was last asked to finish, where it was for one. */
  evictedBy: CioError | undefined
  #lent: Socket | undefined
  #brokenLayer: Error | undefined
  /** Number of `end` listeners that do not belong to the application. */
  #ownEnds = 0
  #whenOver: (() => void) | undefined
  #halfOpen: HalfOpenWatch | undefined
  /** Whether the input has ended behind bytes that nothing reads. */
  #endedUnread = false
  /** True once secured; before that, what waits for it, if anything does. */
  #secured: true | { promise: Promise<void>; settle: (error?: Error) => void } | undefined

  /** Begins with a stream at the bottom. */
  begin(transport: Duplex): void {
    this.transport = transport
    this.put(transport)
  }

  /** Puts a stream on top. */
  put(stream: Duplex): void {
    // The error of a layer is the error of the connection, even after the layer was removed.
    this.#brokenLayer ??= this.stream?.errored ?? undefined
    this.#own(stream)
    this.#ownEnds = stream.listenerCount('end')
    this.stream = stream
  }

  #own(stream: Owned): void {
    const before = stream[owner]
    if (before === this) return
    if (!before) {
      stream.on('error', destroyBy)
      stream.on('end', onEnd)
      stream.on('close', onClose)
      stream.removeAllListeners = removeListenersButOurs
    }
    if (!before || before.isSettled) stream[owner] = this
    // A run within a run over the same stream: the outer one gets its events, too.
    else if (!stream[outer]?.includes(this)) (stream[outer] ??= []).push(this)
  }

  /** Counts again which listeners are not of the application, once all others were removed. */
  recount(stream: Duplex): void {
    if (stream === this.stream) this.#ownEnds = stream.listenerCount('end')
  }

  /** Notes a socket beneath that belongs to the caller: Cio never destroys it. */
  lend(socket: Socket): void {
    this.#lent = socket
  }

  /** Forgets the streams and their errors. */
  detach(): void {
    this.#halfOpen?.stop()
    this.#halfOpen = undefined
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
    const error = this.destroyedWith ?? this.#brokenLayer ?? this.stream?.errored
    return error ?? this.transport?.errored ?? undefined
  }

  /** Notes the error of a middleware as the cause, unless there is one already. */
  blame(error: Error | undefined): void {
    if (!this.cause) this.destroyedWith = error
    this.abort(this.cause)
  }

  /** Whether the other side has ended, or the connection is lost. */
  get hasEnded(): boolean {
    const { stream, transport } = this
    if (this.#endedUnread) return true
    return [stream, transport].some((each) => each && (each.destroyed || each.readableEnded))
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
    const push = stream.push.bind(stream)
    stream.push = (chunk, encoding) => {
      const hasRoom = push(chunk, encoding)
      if (chunk === null) process.nextTick(() => this.#inputEnded(stream))
      return hasRoom
    }
    stream.read(0)
    if (hasUnreadEnd(stream)) this.#inputEnded(stream)
  }

  #inputEnded(stream: Duplex): void {
    if (this.isSettled || stream !== this.stream || isAttached(stream)) return
    // Node emits `end` where nothing is left to read.
    if (!hasUnreadEnd(stream)) return void stream.read(0)
    this.#endedUnread = true
    this.#finished()
  }

  /** Whether a listener is left that could still answer the end of input. */
  get #isAnswered(): boolean {
    return this.stream!.listenerCount('end') > this.#ownEnds
  }

  /** The input of a stream has ended. */
  ended(stream: Duplex): void {
    if (this.isSettled || (stream !== this.stream && stream !== this.transport)) return
    this.#halfOpen ??= this.#watchHalfOpen()
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
    const bottom = this.#carrier()
    return new HalfOpenWatch(bottom, halfOpen, flush, () => this.halfOpenFor(halfOpen))
  }

  /** Its counters show what was written. */
  #carrier(): Duplex {
    const { stream, transport } = this
    return stream instanceof Socket ? stream : transport!
  }

  override destroy(cause?: Error): void {
    // The first cause counts, which may be the network.
    const first = this.cause
    if (first) {
      this.abort(first)
      this.watch()
    } else super.destroy(cause)
    this.disconnect(cause)
  }

  /**
   * Destroys the stream and all beneath it, and leaves the run as it is. Truncated data must not
   * look whole: the other side sees a reset if bytes still wait, or if this side failed after it
   * began to write. Unix sockets have no reset.
   */
  disconnect(cause?: Error): void {
    if (cause && this.#isAmidst(cause)) this.#resetOnDestroy()
    this.stream?.destroy(cause)
    const socket = this.socket()
    if (socket !== this.#lent) socket?.destroy()
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
    return !(isCioError(cause) && isRemote(cause.fault))
  }

  /** Resets a stream that did not flush in time. */
  cut(cause?: Error): void {
    this.#resetOnDestroy()
    this.disconnect(cause)
  }

  /** Not `resetAndDestroy()`, which waits until everything is sent. */
  #resetOnDestroy(): void {
    const { transport } = this
    if (!(transport instanceof Socket) || !isTcp(transport)) return
    ;(transport as unknown as { resetAndClosing: boolean }).resetAndClosing = true
  }

  /** Fulfils when the TLS handshake is done, or when it is clear that there is none. */
  get secured(): Promise<void> {
    if (this.#secured === true) return Promise.resolve()
    if (!this.#secured) {
      let settle: (error?: Error) => void = () => {}
      const promise = new Promise<void>((resolve, reject) => {
        settle = (error) => (error ? reject(error) : resolve())
      })
      // It may be read and not awaited.
      promise.catch(() => {})
      this.#secured = { promise, settle }
      if (this.isSettled) settle(this.signal.reason as Error)
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
    if (this.#secured === true) return
    this.#secured?.settle()
    this.#secured = true
  }

  override settle(cause?: Error): void {
    if (this.isSettled) return
    super.settle(cause)
    this.#halfOpen?.stop()
    if (this.#secured && this.#secured !== true) {
      this.#secured.settle(this.signal.reason as Error)
    }
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

/** Whether it is the other side's fault. */
function isRemote(fault: Fault): boolean {
  return fault === 'remote'
}

interface WithHandle {
  readonly _handle?: { readonly constructor: { readonly name: string } } | null
}

/** Whether it is an open TCP socket. */
function isTcp(socket: Socket): boolean {
  return (socket as unknown as WithHandle)._handle?.constructor.name === 'TCP'
}

/** The state of a multiplexed connection. */

import type { Duplex } from 'node:stream'
import { CioError } from '../../src/errors.ts'
import { Idle } from './idle.ts'
import { Quota } from './quota.ts'
import { type StreamHeader, writeOpening } from './stream-header.ts'
import { Outgoing } from './outgoing.ts'
import { Pings } from './pings.ts'
import { Receiver } from './receiver.ts'
import { ProtocolErrors } from './protocol-errors.ts'
import type { SessionOptions } from './session-options.ts'
import { type Carrier, MuxStream } from './stream.ts'
import { Flag, Reason, Type, initialWindow, largest } from './wire.ts'

/** All streams of one connection. */
export class Session implements Carrier {
  readonly options: SessionOptions
  readonly transport: Duplex
  readonly out: Outgoing
  readonly pings: Pings
  readonly streams: Map<number, MuxStream> = new Map()
  readonly rules: ProtocolErrors
  /** The reason why there are no more streams. */
  lost: CioError | undefined
  isLeaving = false
  peerIsLeaving = false

  readonly #receiver: Receiver
  readonly #quota: Quota
  /** Idle: no stream is open, and no handler of the peer's streams runs. */
  readonly idle: Idle = new Idle(() => this.streams.size === 0 && !this.#receiver.isBusy)
  #nextId: number

  constructor(transport: Duplex, options: SessionOptions) {
    this.options = options
    this.rules = new ProtocolErrors(options)
    this.out = new Outgoing(transport)
    this.pings = new Pings(options.remote, (id) => this.out.send(Type.ping, Flag.syn, 0, id))
    this.transport = transport
    this.#receiver = new Receiver(this)
    this.#quota = new Quota({ ...options, check: () => this.#check() })
    this.#nextId = options.initiator ? 1 : 2
    transport.on('data', this.#take)
    transport.on('end', this.#end)
    transport.on('close', this.#close)
  }

  /** Opens a stream. Waits while the peer has not accepted `maxPending` others. */
  async open(opening: StreamHeader): Promise<MuxStream> {
    const { maxHeadersSize, window } = this.options
    const bytes = writeOpening(opening, maxHeadersSize)
    await this.#quota.enter()
    const stream = new MuxStream(this.#nextId, window, this)
    this.#nextId += 2
    this.streams.set(stream.id, stream)
    // Without the payload: implementations differ in whether they read one in this frame.
    this.out.send(Type.window, Flag.syn, stream.id, window - initialWindow)
    stream.sendWindow -= bytes.length
    this.out.send(Type.data, 0, stream.id, bytes.length, bytes)
    return stream
  }

  /** From now on, neither side opens new streams. */
  leave(): void {
    if (this.isLeaving) return
    this.isLeaving = true
    this.out.send(Type.goAway, 0, 0, Reason.ordinary)
    this.#receiver.refuseOpenings()
    this.#quota.wake()
  }

  /** The peer accepts no new streams from now on. */
  peerLeaves(): void {
    this.peerIsLeaving = true
    this.#quota.wake()
  }

  /**
   * Fails all streams with an error; does not touch the connection.
   *
   * @param isOrderly Whether complete streams can still be read.
   */
  lose(error: CioError, isOrderly = false): void {
    if (this.lost) return
    this.lost = error
    this.#quota.wake()
    this.pings.lose(error)
    for (const stream of this.streams.values()) {
      stream.isReset = true
      this.#remove(stream)
      stream.lose(error, isOrderly)
    }
    this.options.gone(error, isOrderly)
  }

  /** Closes the connection of a peer that violated the protocol. */
  fail(error: CioError): void {
    this.out.send(Type.goAway, 0, 0, Reason.protocol)
    this.out.stop()
    this.lose(error)
    this.options.fail(error)
  }

  /** Ends the underlying stream, after all queued frames. */
  end(): void {
    this.out.flush()
    this.transport.end()
  }

  /** Removes all listeners from the underlying stream. */
  stop(): void {
    this.transport.off('data', this.#take)
    this.transport.off('end', this.#end)
    this.transport.off('close', this.#close)
    this.#close()
    this.out.stop()
  }

  /** Whether a stream number belongs to this side. */
  readonly isOwn = (id: number): boolean => id % 2 === this.#nextId % 2

  /** Whether this side has already opened a stream with that number. */
  readonly hasOpened = (id: number): boolean => id < this.#nextId

  /** The peer has accepted a stream. */
  taken(stream: MuxStream): void {
    if (stream.isAccepted || !this.isOwn(stream.id)) return
    stream.isAccepted = true
    this.#quota.taken()
  }

  schedule(stream: MuxStream): void {
    if (!this.lost && stream.isReady) this.out.schedule(stream)
  }

  grant(stream: MuxStream, bytes: number): void {
    if (this.lost || stream.isReset) return
    stream.receiveWindow += bytes
    this.out.grant(stream, bytes)
  }

  finish(stream: MuxStream): void {
    stream.hasFinished = true
    // Before the end: for the peer the stream may be closed after it.
    this.out.sendGrant(stream)
    this.out.send(Type.window, Flag.fin, stream.id, 0)
    this.release(stream)
  }

  /**
   * Frees the place of a stream that both sides have ended. Its unread data stays available to its
   * reader, whatever happens to the connection.
   */
  release(stream: MuxStream): void {
    if (stream.hasFinished && stream.peerHasFinished) this.#remove(stream)
  }

  forget(stream: MuxStream): void {
    if (this.#remove(stream) && !stream.isReset) this.out.send(Type.window, Flag.rst, stream.id, 0)
  }

  /** False if the stream is no longer open. Another stream may use its number by then. */
  #remove(stream: MuxStream): boolean {
    this.out.forget(stream)
    if (this.streams.get(stream.id) !== stream) return false
    this.streams.delete(stream.id)
    this.#receiver.forget(stream.id)
    if (this.isOwn(stream.id)) {
      this.taken(stream)
      this.#quota.leave()
    }
    this.idle.wake()
    return true
  }

  readonly #take = (chunk: Buffer): void => {
    if (!this.lost) this.#receiver.take(chunk)
  }

  readonly #end = (): void => {
    this.#close()
    // No more requests or replies are possible.
    this.end()
  }

  readonly #close = (): void => {
    const { errored, readableEnded } = this.transport
    this.lose(this.options.carrierError(), readableEnded && !errored)
  }

  #check(): void {
    const { remote } = this.options
    if (this.lost) throw this.lost
    if (this.isLeaving) throw new CioError('ERR_CIO_CLOSING', 'no streams are opened any more')
    // Stream numbers are never reused.
    if (!this.peerIsLeaving && this.#nextId <= largest) return
    const message = `the connection to ${remote} takes no new streams; connect again`
    throw new CioError('ERR_CIO_GOING_AWAY', message, { fault: 'remote' })
  }
}

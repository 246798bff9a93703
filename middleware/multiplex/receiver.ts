/** The receiving side of a multiplexed connection, and the rules for the peer. */

import { isCioError } from '../../src/errors.ts'
import { type Opened, OpeningReader } from './stream-header.ts'
import type { ProtocolErrors } from './protocol-errors.ts'
import type { Session } from './session.ts'
import { MuxStream } from './stream.ts'
import { Flag, type FrameSink, Frames, type Header, Reason, Type, initialWindow } from './wire.ts'

/** Takes chunks of the underlying stream. */
export class Receiver implements FrameSink {
  readonly #session: Session
  readonly #frames = new Frames(this)
  readonly #rules: ProtocolErrors
  /** Streams whose headers are incomplete. */
  readonly #openings = new Map<number, OpeningReader>()
  /** Streams of the peer that are open or whose handlers still run. */
  #count = 0
  #highestId = 0

  constructor(session: Session) {
    this.#session = session
    this.#rules = session.rules
  }

  /** Whether streams of the peer are open or their handlers still run. */
  get isBusy(): boolean {
    return this.#count > 0
  }

  /** Takes a chunk. */
  take(chunk: Buffer): void {
    try {
      this.#frames.take(chunk)
    } catch (error) {
      // Any other error comes from a write callback of the application.
      if (!isCioError(error)) throw error
      this.#session.fail(error)
    }
  }

  /** A stream is closed. */
  forget(id: number): void {
    if (this.#openings.delete(id)) this.#count--
  }

  /** Refuses all streams whose headers are incomplete. */
  refuseOpenings(): void {
    for (const id of this.#openings.keys()) this.#session.streams.get(id)?.destroy()
  }

  frame(header: Header): void {
    const { type, flags, id, length } = header
    const { out, streams, lost } = this.#session
    if (lost) return
    if (out.isFlooded) throw this.#rules.flood('does not read the replies to its requests')
    if (type === Type.ping) return this.#takePing(flags, length)
    if (type === Type.goAway) return this.#takeGoAway(length)
    if (type > Type.goAway || id === 0) throw this.#rules.noFrame(header)

    if (flags & Flag.syn) this.#takeSyn(id)
    const stream = streams.get(id)
    // A stream that is closed here may still be open on the other side.
    if (!stream) return this.#checkOptionNames(id, flags)
    if (flags & Flag.ack) this.#session.taken(stream)
    if (flags & Flag.rst) return this.#takeReset(stream)
    if (flags === 0 && length === 0) this.#rules.spend('frames that say nothing')
    if (type === Type.window) this.#takeWindow(stream, flags, length)
    else this.#expect(stream, length)
  }

  piece(id: number, bytes: Buffer, of: number): void {
    const stream = this.#session.streams.get(id)
    if (!stream || this.#session.lost) return
    const reader = this.#openings.get(id)
    if (!reader) return stream.receive(bytes, of)
    const taken = reader.take(bytes)
    if (taken === 'too long') this.#refuse(stream)
    else if (taken) this.#accept(stream, taken)
  }

  done({ id, flags }: Header): void {
    const stream = this.#session.streams.get(id)
    if (stream && !this.#session.lost && flags & Flag.fin) this.#takeEnd(stream)
  }

  #takeSyn(id: number): void {
    const { streams, out, isLeaving, options } = this.#session
    const { maxStreams, maxPending, maxHeadersSize, window } = options
    if (this.#session.isOwn(id)) {
      throw this.#rules.wrong(
        'sent a stream with a number of ours; one end, and one only, is the `initiator`',
      )
    }
    // Ids may come out of order: a multi-threaded peer opens several streams at once.
    if (streams.has(id)) throw this.#rules.wrong(`opened stream ${id}, which is open`)
    this.#highestId = Math.max(this.#highestId, id)
    if (isLeaving || this.#count >= maxStreams || this.#openings.size >= maxPending) {
      // Streams that crossed our go-away on the wire are not the peer's fault.
      if (!isLeaving) this.#rules.spend('streams beyond what is open to it')
      out.send(Type.window, Flag.rst, id, 0)
      return
    }
    const stream = new MuxStream(id, window, this.#session)
    // The peer learns of a larger window when the stream is accepted.
    stream.receiveWindow = initialWindow
    streams.set(id, stream)
    this.#openings.set(id, new OpeningReader(maxHeadersSize))
    this.#count++
  }

  #accept(stream: MuxStream, { opening, size, rest }: Opened): void {
    const { options, out } = this.#session
    // Plus the bytes that the stream header used.
    const more = options.window - initialWindow + size
    this.#openings.delete(stream.id)
    stream.isAccepted = true
    stream.receiveWindow += more
    out.send(Type.window, Flag.ack, stream.id, more)
    if (rest.length > 0) stream.receive(rest, rest.buffer.byteLength)
    void options.accept(stream, opening).then(() => {
      this.#count--
      this.#session.idle.wake()
    })
  }

  #refuse(stream: MuxStream): void {
    this.#rules.spend('streams that are refused')
    stream.destroy()
  }

  #takeWindow(stream: MuxStream, flags: number, length: number): void {
    if (!stream.widen(length)) throw this.#rules.wrong('sent a window that is too large')
    this.#session.schedule(stream)
    if (flags & Flag.fin) this.#takeEnd(stream)
  }

  #expect(stream: MuxStream, length: number): void {
    if (length > 0 && stream.peerHasFinished)
      throw this.#rules.wrong('sent more after the end of a stream')
    stream.receiveWindow -= length
    if (stream.receiveWindow < 0) throw this.#rules.wrong('sent more than the window of a stream')
  }

  #takeEnd(stream: MuxStream): void {
    if (stream.peerHasFinished) return
    // Its header is incomplete.
    if (this.#openings.has(stream.id)) this.#refuse(stream)
    else {
      stream.receiveEnd()
      this.#session.release(stream)
    }
  }

  #takeReset(stream: MuxStream): void {
    const own = this.#session.isOwn(stream.id)
    if (!own) this.#rules.spend('resets')
    stream.isReset = true
    stream.destroy(this.#rules.reset(own && !stream.isAccepted))
  }

  #takePing(flags: number, id: number): void {
    const { pings, out } = this.#session
    if (flags & Flag.ack) return pings.answer(id)
    this.#rules.spend('pings')
    out.send(Type.ping, Flag.ack, 0, id)
  }

  #takeGoAway(reason: number): void {
    if (reason !== Reason.ordinary) throw this.#rules.wrong(`goes away for reason ${reason}`)
    if (this.#session.peerIsLeaving) this.#rules.spend('goodbyes')
    this.#session.peerLeaves()
  }

  #checkOptionNames(id: number, flags: number): void {
    const known = this.#session.isOwn(id) ? this.#session.hasOpened(id) : id <= this.#highestId
    if (!known) throw this.#rules.wrong(`sent a frame for stream ${id}, which was never opened`)
    if (flags & Flag.rst) this.#rules.spend('resets')
  }
}

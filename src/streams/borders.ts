/** Message borders beside a stream of bytes, for a carrier that has them, such as a WebSocket. */

import type { Duplex } from 'node:stream'
import { hasInputEnded } from './reading.ts'

/** Where a received message ends. */
export interface Border {
  /** The position after its last byte, counted from the first byte of the stream. */
  readonly end: number
  /** Whether the sender marked it as text. */
  readonly isText: boolean
  /**
   * Whether it has no bytes. If its end differs from that of the message before, the stream has one
   * byte in its place.
   */
  readonly isEmpty: boolean
}

/**
 * Maximum empty messages that are kept before a codec reads: a client could send any number of
 * them.
 */
const mostUnread = 64
/** Minimum number of borders that are kept after something else has read their bytes. */
const mostForgotten = 1024
const standIn = Buffer.of(0)
const byStream = new WeakMap<Duplex, Borders>()

/**
 * The borders of the messages that a carrier has put into its stream, and that were not read yet.
 *
 * The stream remains a stream of bytes, since a layer or `Peek` may read it first. A codec without
 * framing reads the borders here. The carrier calls `add()` for each message, and pushes its bytes
 * in the same turn, all at once. It sends one message for each `write()`.
 *
 * @example
 * import type { Duplex } from 'node:stream'
 * import { Borders } from 'cio/kit'
 *
 * function receive(stream: Duplex, borders: Borders, message: Buffer, isText: boolean): void {
 *   borders.add(message.length, isText)
 *   if (message.length > 0) stream.push(message)
 * }
 */
export class Borders {
  readonly #stream: Duplex
  #all: Border[] = []
  #at = 0
  #pushed = 0
  #empty = 0
  #isRead = false

  /** The borders of a stream; undefined for a stream without borders. */
  static of(stream: Duplex): Borders | undefined {
    return byStream.get(stream)
  }

  constructor(stream: Duplex) {
    this.#stream = stream
    byStream.set(stream, this)
  }

  /** Notes a message that the carrier is about to push. */
  add(size: number, isText: boolean): void {
    // Not at once: `Peek` may hold bytes, and put them back later.
    if (!this.#isRead && this.#all.length > mostForgotten) this.#forget()
    const isEmpty = size === 0
    if (isEmpty && !this.#isRead && ++this.#empty > mostUnread) return
    this.#pushed += size
    this.#all.push({ end: this.#pushed, isText, isEmpty })
    if (isEmpty && this.#isRead) this.#wake()
  }

  /** Begins to read the borders; returns the position of the next byte of the stream. */
  read(): number {
    this.#forget()
    const position = this.#position
    this.#isRead = true
    if (this.#all.at(-1)?.isEmpty && !hasInputEnded(this.#stream)) this.#wake()
    return position
  }

  /** The border of the next message. */
  get next(): Border | undefined {
    return this.#all[this.#at]
  }

  /** Removes it. */
  shift(): void {
    // The most common case: an array that is emptied keeps its memory for the next message.
    if (this.#all.length === 1) return void this.#all.pop()
    this.#at += 1
    if (this.#at < this.#all.length && this.#at < mostForgotten) return
    this.#all = this.#all.slice(this.#at)
    this.#at = 0
  }

  /**
   * Node ignores empty chunks, so without this byte a reader would not notice that the last message
   * is empty.
   */
  #wake(): void {
    const { isText } = this.#all.pop()!
    this.#pushed += standIn.length
    this.#all.push({ end: this.#pushed, isText, isEmpty: true })
    this.#stream.push(standIn)
  }

  get #position(): number {
    return this.#pushed - this.#stream.readableLength
  }

  /** Forgets the messages that something else has read as bytes. */
  #forget(): void {
    const position = this.#position
    for (let next; (next = this.next);) {
      if (next.end > position || (next.isEmpty && next.end === position)) return
      this.shift()
    }
  }
}

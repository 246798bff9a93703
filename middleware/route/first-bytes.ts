/** The first bytes of a connection, inspected as they arrive. */

import { TLSSocket } from 'node:tls'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import type { Peek } from '../../src/streams/peek.ts'
import { canonicalName } from '../../src/tls/sni.ts'
import { type ClientHello, ClientHelloReader } from './client-hello.ts'

const lineEnd = /[^\t\v\f\r\x20-\x7e\x80-\xff]/
/** Maximum bytes of a first line to inspect. */
export const longestLine = 2_048

const lineFeed = 0x0a
const carriageReturn = 0x0d

/** The first line of a connection, or the part of it that has arrived. */
export interface FirstLine {
  /** The line without its end, at most {@link longestLine} bytes. */
  readonly line: string
  /** Whether no more of it will be inspected. */
  readonly isWhole: boolean
  /** Whether its end is known: the line, or the input, has ended there. */
  readonly isFinal: boolean
}

/**
 * The first bytes of a connection, parsed. Each byte is read once, however many routes there are; a
 * check that needs all bytes again runs only if `isDue`.
 */
export class FirstBytes {
  readonly ctx: ConnectionContext
  /**
   * Whether to check all bytes again: another sixteenth has arrived, the first line is complete, or
   * no more bytes will arrive. Checking at each byte would make the cost quadratic.
   */
  isDue = true

  readonly #peek: Peek
  readonly #hello = new ClientHelloReader()
  #lookedAt = 0
  #searched = 0
  #lineEnd = -1

  constructor(ctx: ConnectionContext, peek: Peek) {
    this.ctx = ctx
    this.#peek = peek
  }

  get bytes(): Buffer {
    return this.#peek.bytes
  }

  /** Whether no more bytes will arrive. */
  get isOver(): boolean {
    return this.#peek.isOver
  }

  /** Waits for more bytes. */
  async more(): Promise<void> {
    await this.#peek.more()
    const { length } = this.bytes
    const wasLineWhole = this.#isLineWhole
    this.#searchLineEnd()
    this.isDue =
      this.isOver ||
      length >= this.#lookedAt + (this.#lookedAt >> 4) ||
      this.#isLineWhole !== wasLineWhole
    if (this.isDue) this.#lookedAt = length
  }

  /**
   * The client's ClientHello: before `secure` from its first message, after it from the result of
   * the handshake. Undefined while unknown; null if there is none.
   */
  hello(): ClientHello | null | undefined {
    const { socket, alpnProtocol } = this.ctx
    if (!(socket instanceof TLSSocket)) return this.#hello.read(this.bytes)
    const { servername } = socket as TLSSocket & { servername?: string | false | null }
    return {
      servername: (servername && canonicalName(servername)) || null,
      alpn: alpnProtocol === null ? [] : [alpnProtocol],
    }
  }

  /** The first line, without its end. */
  firstLine(): FirstLine {
    this.#searchLineEnd()
    const { bytes } = this
    const isTooLong = this.#lineEnd === -1 && this.#searched === longestLine
    const isFinal = this.#lineEnd !== -1 || (this.#peek.hasEnded && !isTooLong)
    let end = this.#lineEnd === -1 ? this.#searched : this.#lineEnd
    // A line feed may follow, and the answer must not change then.
    const isLineEnd = bytes[end] === lineFeed || !isFinal
    if (isLineEnd && bytes[end - 1] === carriageReturn) end -= 1
    return { line: bytes.toString('latin1', 0, end), isWhole: this.#isLineWhole, isFinal }
  }

  get #isLineWhole(): boolean {
    return this.#lineEnd !== -1 || this.#searched === longestLine
  }

  #searchLineEnd(): void {
    if (this.#isLineWhole) return
    const found = this.bytes.toString('latin1', this.#searched, longestLine).search(lineEnd)
    if (found !== -1) this.#lineEnd = this.#searched + found
    this.#searched = Math.min(this.bytes.length, longestLine)
  }
}

/** Parses a TLS ClientHello, before anything is verified. */

import { GrowingBuffer } from '../../src/streams/growing-buffer.ts'
import { serverNameOf } from '../../src/tls/sni.ts'

/** The client's claims in its ClientHello; they are unverified. */
export interface ClientHello {
  /** The host name of SNI, in lower case; null if the client sent none. */
  readonly servername: string | null
  /** The protocols of ALPN, in the client's order of preference. */
  readonly alpn: readonly string[]
}

const handshakeRecord = 0x16
const majorVersion = 3
const recordHeader = 5
const longestRecord = 2 ** 14
const messageHeader = 4
const clientHello = 1
const extensions = { serverName: 0, alpn: 16 } as const
const hostName = 0

/** Whether bytes begin like TLS; undefined while they are too few to decide. */
export function beginsTls(bytes: Buffer): boolean | undefined {
  if (bytes.length > 0 && bytes[0] !== handshakeRecord) return false
  if (bytes.length > 1 && bytes[1] !== majorVersion) return false
  return bytes.length > 1 ? true : undefined
}

/**
 * Reads a ClientHello, which may span several records. It continues where it stopped, so that the
 * cost is linear in the bytes, however they arrive.
 *
 * RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3; RFC 7301, section 3.1.
 */
export class ClientHelloReader {
  /** The number of bytes read, and the rest of the current record. */
  #at = 0
  #left = 0
  #message: GrowingBuffer | undefined
  #hello: ClientHello | null | undefined

  /**
   * Undefined while the message is incomplete; null if it is not a ClientHello.
   *
   * @param bytes All input so far, which begins with the bytes passed before.
   */
  read(bytes: Buffer): ClientHello | null | undefined {
    while (this.#hello === undefined && this.#takeRecord(bytes));
    return this.#hello
  }

  /** Takes the available part of a record; false if there is too little to continue. */
  #takeRecord(bytes: Buffer): boolean {
    if (this.#left === 0 && !this.#takeHeader(bytes)) return false
    const fragment = bytes.subarray(this.#at, this.#at + this.#left)
    if (fragment.length === 0) return false
    this.#at += fragment.length
    this.#left -= fragment.length
    if (this.#message) this.#message.append(fragment)
    else this.#message = new GrowingBuffer(fragment)
    this.#hello = helloIn(this.#message.bytes)
    return true
  }

  #takeHeader(bytes: Buffer): boolean {
    const begins = beginsTls(bytes.subarray(this.#at))
    if (begins === false) this.#hello = null
    if (!begins || bytes.length < this.#at + recordHeader) return false
    this.#left = bytes.readUInt16BE(this.#at + 3)
    this.#at += recordHeader
    // RFC 8446, section 5.1: handshake records have no empty fragments.
    if (this.#left > 0 && this.#left <= longestRecord) return true
    this.#hello = null
    return false
  }
}

/** Undefined while the message is incomplete; null if it is not a ClientHello. */
function helloIn(message: Buffer): ClientHello | null | undefined {
  if (message[0] !== clientHello) return null
  if (message.length < messageHeader) return undefined
  const end = messageHeader + message.readUIntBE(1, 3)
  if (message.length < end) return undefined
  try {
    return parse(new Reader(message.subarray(messageHeader, end)))
  } catch (thrown) {
    if (thrown instanceof RangeError) return null
    throw thrown
  }
}

/** Reads fields in order; throws a RangeError if there are too few bytes. */
class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  number(size: number): number {
    return this.take(size).readUIntBE(0, size)
  }

  take(size: number): Buffer {
    const end = this.#at + size
    if (end > this.#bytes.length) throw new RangeError('the message is too short')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }

  /** A vector: its length in `size` bytes, and then its content. */
  vector(size: number): Buffer {
    return this.take(this.number(size))
  }
}

function parse(message: Reader): ClientHello | null {
  // Version, random, session, cipher suites, compression.
  message.take(2 + 32)
  message.vector(1)
  message.vector(2)
  message.vector(1)
  let servername: string | null = null
  let alpn: readonly string[] = []
  const seen = new Set<number>()
  // A client without extensions may omit their length, too.
  const all = new Reader(message.isAtEnd ? Buffer.alloc(0) : message.vector(2))
  if (!message.isAtEnd) return null
  while (!all.isAtEnd) {
    const type = all.number(2)
    const extension = new Reader(all.vector(2))
    // Reject duplicates: two parsers could disagree on which one is valid.
    if (seen.has(type)) return null
    seen.add(type)
    if (type === extensions.serverName) servername = readName(extension)
    if (type === extensions.alpn) alpn = readProtocols(extension)
  }
  return { servername, alpn }
}

/** Null for a value that is not a host name, such as an address: it counts as no SNI. */
function readName(extension: Reader): string | null {
  const names = new Reader(extension.vector(2))
  const type = names.number(1)
  const name = names.vector(2).toString('latin1')
  if (type !== hostName || !names.isAtEnd || !extension.isAtEnd)
    throw new RangeError('a second name')
  return serverNameOf(name)
}

function readProtocols(extension: Reader): string[] {
  const list = new Reader(extension.vector(2))
  const protocols: string[] = []
  while (!list.isAtEnd) protocols.push(list.vector(1).toString('latin1'))
  return protocols
}

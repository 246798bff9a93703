/** What a client asks for in the first message of TLS, before anything is verified. */

import { GrowingBuffer } from '../../src/streams/growing-buffer.ts'
import { serverNameOf } from '../../src/tls/sni.ts'

/** What a client claims to want: nothing of it is verified. */
export interface ClientHello {
  /** The host name that it asks for by SNI, in lower case; null where it asks for none. */
  readonly servername: string | null
  /** The protocols that it offers by ALPN, the one that it likes best first. */
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

/** Whether bytes begin as TLS does; undefined as long as they could. */
export function beginsTls(bytes: Buffer): boolean | undefined {
  if (bytes.length > 0 && bytes[0] !== handshakeRecord) return false
  if (bytes.length > 1 && bytes[1] !== majorVersion) return false
  return bytes.length > 1 ? true : undefined
}

/**
 * Reads the first message of a client, which may be spread over several records. Goes on where it
 * was, so that the cost is linear in the bytes, however they arrive.
 *
 * RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3; RFC 7301, section 3.1.
 */
export class ClientHelloReader {
  /** How much was read, and how much of the current record is left. */
  #at = 0
  #left = 0
  #message: GrowingBuffer | undefined
  #hello: ClientHello | null | undefined

  /**
   * Undefined while the message is not whole; null where it is none.
   *
   * @param bytes All that has arrived, which begins with what was passed before.
   */
  read(bytes: Buffer): ClientHello | null | undefined {
    while (this.#hello === undefined && this.#takeRecord(bytes));
    return this.#hello
  }

  /** Takes what there is of a record; false where there is too little to go on. */
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
    // RFC 8446, section 5.1: there are no empty fragments of a handshake.
    if (this.#left > 0 && this.#left <= longestRecord) return true
    this.#hello = null
    return false
  }
}

/** Undefined while the message is not whole; null where it is none. */
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

/** Reads from the beginning; throws a RangeError where there is too little. */
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

  /** A vector: its length in so many bytes, and then itself. */
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
  // A client without extensions may leave out their length, too.
  const all = new Reader(message.isAtEnd ? Buffer.alloc(0) : message.vector(2))
  if (!message.isAtEnd) return null
  while (!all.isAtEnd) {
    const type = all.number(2)
    const extension = new Reader(all.vector(2))
    // What one side reads first, another might read last.
    if (seen.has(type)) return null
    seen.add(type)
    if (type === extensions.serverName) servername = readName(extension)
    if (type === extensions.alpn) alpn = readProtocols(extension)
  }
  return { servername, alpn }
}

/** Null for what is no host name, such as an address: such a client asks for none. */
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

/** What a header of the PROXY protocol says. */

import type { Endpoint } from '../../src/streams/endpoint.ts'
import { CioError } from '../../src/errors.ts'

/** What a trusted sender says about the connection that it relays. */
export interface Proxied {
  readonly version: 1 | 2
  /** `'local'`: the sender speaks for itself, such as by a health check. */
  readonly command: 'proxy' | 'local'
  /** What the addresses are, as the header has it; null where it does not say. */
  readonly family: 'IPv4' | 'IPv6' | 'Unix' | null
  readonly protocol: 'stream' | 'datagram' | null
  /** The client; null where the header does not say. */
  readonly source: Endpoint | null
  /** What the client has connected to; null where the header does not say. */
  readonly destination: Endpoint | null
  /** The protocol that ALPN has chosen, between the client and the sender. */
  readonly alpn: string | null
  /** The host name that the client has asked for, such as by SNI. */
  readonly authority: string | null
  /** What the sender calls the connection, at most 128 bytes. */
  readonly uniqueId: Buffer | null
  /** TLS between the client and the sender; null where there is none, or nothing is said of it. */
  readonly ssl: ProxiedSsl | null
  /** The network namespace. */
  readonly netns: string | null
  /** Whether the header had a checksum. It was right, or the connection would be gone. */
  readonly crc32c: boolean
  /** All type-length-values, in order, those of no known type among them. */
  readonly tlvs: readonly ProxyTlv[]
}

/** TLS between the client and the sender of the header, as the sender saw it. */
export interface ProxiedSsl {
  /** Whether the client came by TLS, and whether it sent a certificate: now, or in this session. */
  readonly client: {
    readonly ssl: boolean
    readonly certConn: boolean
    readonly certSess: boolean
  }
  /** 0 if the sender has verified the certificate; also 0 from some senders if there was none. */
  readonly verify: number
  /** Such as `'TLSv1.3'`. */
  readonly version: string | null
  /**
   * The common name of the client's certificate, if the sender says that there was one and that it
   * was verified; or else null.
   */
  readonly cn: string | null
  /** The common name, verified or not. */
  readonly claimedCn: string | null
  readonly cipher: string | null
  /** How the certificate of the sender is signed, such as `'SHA256'`. */
  readonly sigAlg: string | null
  /** The key of the certificate of the sender, such as `'RSA2048'`. */
  readonly keyAlg: string | null
  /** All type-length-values within, in order. */
  readonly tlvs: readonly ProxyTlv[]
}

/** One type-length-value of version 2. */
export interface ProxyTlv {
  readonly type: number
  readonly value: Buffer
}

/** A header that was read, and its length in bytes: what follows it is not part of it. */
export interface ParsedHeader {
  readonly proxied: Proxied
  readonly length: number
}

/** What a header that says nothing says. */
export const nothingSaid: Omit<Proxied, 'version' | 'command'> = {
  family: null,
  protocol: null,
  source: null,
  destination: null,
  alpn: null,
  authority: null,
  uniqueId: null,
  ssl: null,
  netns: null,
  crc32c: false,
  tlvs: [],
}

/** The types of type-length-values; those of `ssl` are within its own. */
export const tlvTypes = {
  alpn: 0x01,
  authority: 0x02,
  crc32c: 0x03,
  noop: 0x04,
  uniqueId: 0x05,
  ssl: 0x20,
  sslVersion: 0x21,
  sslCn: 0x22,
  sslCipher: 0x23,
  sslSigAlg: 0x24,
  sslKeyAlg: 0x25,
  netns: 0x30,
} as const

/** The bits of the first byte of `ssl`. */
export const sslFlags = { ssl: 0x01, certConn: 0x02, certSess: 0x04 } as const

export const longestUniqueId = 128

/** The bytes that every header of version 2 begins with. */
export const signature: Buffer = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** And those of version 1. */
export const word: Buffer = Buffer.from('PROXY ', 'latin1')

/** The error of a header that is not one. */
export function malformed(why: string): CioError {
  return new CioError('ERR_CIO_PROXY_HEADER', why, { fault: 'remote' })
}

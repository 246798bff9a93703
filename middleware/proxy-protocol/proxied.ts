/** The content of a PROXY protocol header. */

import type { Endpoint } from '../../src/streams/endpoint.ts'
import { CioError } from '../../src/errors.ts'

/** The report of a trusted sender about the connection that it relays. */
export interface Proxied {
  /** The version of the header. */
  readonly version: 1 | 2
  /** `'local'`: a connection of the sender itself, such as a health check. */
  readonly command: 'proxy' | 'local'
  /** The address family in the header; null if unspecified. */
  readonly family: 'IPv4' | 'IPv6' | 'Unix' | null
  /** The transport protocol in the header; null if unspecified. */
  readonly protocol: 'stream' | 'datagram' | null
  /** The client; null if the header does not name it. */
  readonly source: Endpoint | null
  /** The address that the client connected to; null if the header does not name it. */
  readonly destination: Endpoint | null
  /** The protocol chosen by ALPN between the client and the sender. */
  readonly alpn: string | null
  /** The host name that the client asked for, such as by SNI. */
  readonly authority: string | null
  /** The sender's connection id, at most 128 bytes. */
  readonly uniqueId: Buffer | null
  /**
   * TLS between the client and the sender; null without TLS, or if the header does not report it.
   */
  readonly ssl: ProxiedSsl | null
  /** The network namespace. */
  readonly netns: string | null
  /** Whether the header had a checksum. A wrong one has already closed the connection. */
  readonly crc32c: boolean
  /** All type-length-values in order, unknown types included. */
  readonly tlvs: readonly ProxyTlv[]
}

/** TLS between the client and the sender of the header, as the sender reports it. */
export interface ProxiedSsl {
  /** Whether the client used TLS, and whether it sent a certificate: now, or in this session. */
  readonly client: {
    readonly ssl: boolean
    readonly certConn: boolean
    readonly certSess: boolean
  }
  /** 0 if the sender verified the certificate; some senders also send 0 without a certificate. */
  readonly verify: number
  /** For example `'TLSv1.3'`. */
  readonly version: string | null
  /**
   * The common name of the client's certificate, if the sender reports a verified certificate;
   * otherwise null.
   */
  readonly cn: string | null
  /** The common name, verified or not. */
  readonly claimedCn: string | null
  /** The cipher, if the sender reports it; otherwise null. */
  readonly cipher: string | null
  /** The signature algorithm of the sender's own certificate, such as `'SHA256'`. */
  readonly sigAlg: string | null
  /** The key type of the sender's own certificate, such as `'RSA2048'`. */
  readonly keyAlg: string | null
  /** All nested type-length-values, in order. */
  readonly tlvs: readonly ProxyTlv[]
}

/** One type-length-value of version 2. */
export interface ProxyTlv {
  /** The type. */
  readonly type: number
  /** The bytes of the value. */
  readonly value: Buffer
}

/** A parsed header, and its length in bytes: the bytes after it are not part of it. */
export interface ParsedHeader {
  readonly proxied: Proxied
  readonly length: number
}

/** The content of an empty header. */
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

/** The types of type-length-values; those of `ssl` are nested in it. */
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

/** The first bytes of every version 2 header. */
export const signature: Buffer = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** The first bytes of every version 1 header. */
export const word: Buffer = Buffer.from('PROXY ', 'latin1')

/** The error for a malformed header. */
export function malformed(why: string): CioError {
  return new CioError('ERR_CIO_PROXY_HEADER', why, { fault: 'remote' })
}

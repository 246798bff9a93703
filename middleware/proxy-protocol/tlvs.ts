/** The type-length-values of version 2. */

import { isUtf8 } from 'node:buffer'
import { crc32c } from './crc32c.ts'
import {
  type Proxied,
  type ProxiedSsl,
  type ProxyTlv,
  longestUniqueId,
  malformed,
  sslFlags,
  tlvTypes,
} from './proxied.ts'

/** One byte for the type, two for the length. */
const headSize = 3
const checksumSize = 4
/** A byte of flags, and four bytes for the verification result. */
const sslHeadSize = 5

type Said = Pick<Proxied, 'alpn' | 'authority' | 'uniqueId' | 'ssl' | 'netns' | 'crc32c' | 'tlvs'>

/**
 * Parses the part of a header after its addresses.
 *
 * @throws `ERR_CIO_PROXY_HEADER` (remote): the last one does not end with the header, one is
 *   malformed, a known type occurs twice, or the checksum is wrong
 */
export function readTlvs(header: Buffer, at: number): Said {
  const tlvs = split(header, at)
  const checksum = one(tlvs, tlvTypes.crc32c)
  if (checksum) check(header, checksum)
  const uniqueId = one(tlvs, tlvTypes.uniqueId)
  if (uniqueId && uniqueId.length > longestUniqueId) {
    throw malformed(`its unique ID is longer than ${longestUniqueId} bytes`)
  }
  const ssl = one(tlvs, tlvTypes.ssl)
  return {
    tlvs,
    uniqueId,
    alpn: text(tlvs, tlvTypes.alpn),
    authority: text(tlvs, tlvTypes.authority),
    netns: text(tlvs, tlvTypes.netns),
    ssl: ssl && readSsl(ssl),
    crc32c: checksum !== null,
  }
}

function readSsl(value: Buffer): ProxiedSsl {
  if (value.length < sslHeadSize) throw malformed('what it says about TLS is too short')
  const tlvs = split(value, sslHeadSize)
  const flags = value.readUInt8(0)
  const verify = value.readUInt32BE(1)
  const client = {
    ssl: (flags & sslFlags.ssl) !== 0,
    certConn: (flags & sslFlags.certConn) !== 0,
    certSess: (flags & sslFlags.certSess) !== 0,
  }
  // Some senders send 0 without a certificate.
  const verified = client.ssl && (client.certConn || client.certSess) && verify === 0
  const claimedCn = text(tlvs, tlvTypes.sslCn)
  return {
    client,
    verify,
    version: text(tlvs, tlvTypes.sslVersion),
    cn: verified ? claimedCn : null,
    claimedCn,
    cipher: text(tlvs, tlvTypes.sslCipher),
    sigAlg: text(tlvs, tlvTypes.sslSigAlg),
    keyAlg: text(tlvs, tlvTypes.sslKeyAlg),
    tlvs,
  }
}

function split(bytes: Buffer, start: number): readonly ProxyTlv[] {
  const tlvs: ProxyTlv[] = []
  for (let at = start; at < bytes.length;) {
    const from = at + headSize
    const end = from <= bytes.length ? from + bytes.readUInt16BE(at + 1) : Infinity
    if (end > bytes.length) throw malformed('its last type-length-value does not end with it')
    tlvs.push({ type: bytes.readUInt8(at), value: bytes.subarray(from, end) })
    at = end
  }
  return tlvs
}

/**
 * The value of a type, null without one. Throws on two, because it would be unclear which is valid.
 */
function one(tlvs: readonly ProxyTlv[], wanted: number): Buffer | null {
  const [first, second] = tlvs.filter(({ type }) => type === wanted)
  if (second) throw malformed(`it has the type-length-value ${wanted} twice`)
  return first?.value ?? null
}

function text(tlvs: readonly ProxyTlv[], wanted: number): string | null {
  const value = one(tlvs, wanted)
  if (!value) return null
  if (!isUtf8(value)) throw malformed(`its type-length-value ${wanted} is not UTF-8`)
  if (value.includes(0)) throw malformed(`its type-length-value ${wanted} has a NUL in it`)
  return value.toString()
}

/** The checksum is computed over the header with zeros in place of the checksum. */
function check(header: Buffer, value: Buffer): void {
  if (value.length !== checksumSize) throw malformed('its checksum is not one of 4 bytes')
  const before = header.subarray(0, value.byteOffset - header.byteOffset)
  const after = header.subarray(before.length + checksumSize)
  const sum = crc32c(after, crc32c(Buffer.alloc(checksumSize), crc32c(before)))
  if (sum !== value.readUInt32BE(0)) throw malformed('its checksum is wrong')
}

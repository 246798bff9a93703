/** Encodes PROXY protocol headers. */

import { optionError } from '../../src/options.ts'
import { crc32c } from '../proxy-protocol/crc32c.ts'
import {
  type Proxied,
  type ProxiedSsl,
  longestUniqueId,
  signature,
  sslFlags,
  tlvTypes,
} from '../proxy-protocol/proxied.ts'
import { addressesOf, endsOf, owner, written } from './endpoints.ts'

/** The content of a header. Without both endpoints, the header says that they are unknown. */
export interface ProxyHeader extends Partial<
  Omit<Proxied, 'version' | 'family' | 'ssl' | 'crc32c'>
> {
  /** TLS between the client and this side; null or undefined writes none. */
  readonly ssl?: Partial<Omit<ProxiedSsl, 'claimedCn' | 'tlvs'>> | null
}

const versionAndCommand = { local: 0x20, proxy: 0x21 } as const
const families = { IPv4: 0x10, IPv6: 0x20, Unix: 0x30 } as const
const protocols = { stream: 0x1, datagram: 0x2 } as const
const longestRest = 0xffff

/**
 * Encodes a version 1 header: only IP addresses and ports, for stream protocols.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function encodeV1(header: ProxyHeader): Buffer {
  const ends = endsOf(header)
  const local = header.command === 'local' || header.protocol === 'datagram'
  if (!ends || local || ends.family === 'Unix') return Buffer.from('PROXY UNKNOWN\r\n')
  const { family, source, destination } = ends
  const addresses = `${written(source, family)} ${written(destination, family)}`
  const protocol = family === 'IPv4' ? 'TCP4' : 'TCP6'
  return Buffer.from(`PROXY ${protocol} ${addresses} ${source.port} ${destination.port}\r\n`)
}

/**
 * Encodes a version 2 header. Without addresses, it contains no other field either.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function encodeV2(header: ProxyHeader, checksum: boolean): Buffer {
  const { command = 'proxy', protocol = 'stream' } = header
  if (!Object.hasOwn(versionAndCommand, command)) {
    throw optionError(owner, 'command', `'proxy' or 'local'`, command)
  }
  if (protocol !== null && !Object.hasOwn(protocols, protocol)) {
    throw optionError(owner, 'protocol', `'stream', 'datagram' or null`, protocol)
  }
  const ends = command === 'local' ? null : endsOf(header)
  const kind = ends && protocol ? families[ends.family] | protocols[protocol] : 0
  const parts = [...(kind !== 0 ? addressesOf(ends!) : []), ...(kind !== 0 ? tlvsOf(header) : [])]
  if (checksum) parts.push(tlv(tlvTypes.crc32c, Buffer.alloc(4)))
  const rest = Buffer.concat(parts)
  if (rest.length > longestRest) {
    throw optionError(owner, 'header', `at most ${longestRest} bytes`, rest.length)
  }
  const bytes = Buffer.concat([
    signature,
    Buffer.from([versionAndCommand[command], kind, rest.length >> 8, rest.length & 0xff]),
    rest,
  ])
  if (checksum) bytes.writeUInt32BE(crc32c(bytes), bytes.length - 4)
  return bytes
}

function tlvsOf({ alpn, authority, uniqueId, ssl, netns, tlvs = [] }: ProxyHeader): Buffer[] {
  if (uniqueId && uniqueId.length > longestUniqueId) {
    throw optionError(owner, 'uniqueId', `at most ${longestUniqueId} bytes`, uniqueId.length)
  }
  const named = new Set<number>(Object.values(tlvTypes))
  return [
    ...text(tlvTypes.alpn, alpn),
    ...text(tlvTypes.authority, authority),
    ...(uniqueId ? [tlv(tlvTypes.uniqueId, uniqueId)] : []),
    ...(ssl ? [tlv(tlvTypes.ssl, sslOf(ssl))] : []),
    ...text(tlvTypes.netns, netns),
    // The `tlvs` of a received header include the named ones; do not send those twice.
    ...tlvs.filter(({ type }) => !named.has(type)).map(({ type, value }) => tlv(type, value)),
  ]
}

function sslOf(ssl: NonNullable<ProxyHeader['ssl']>): Buffer {
  const { ssl: byTls = true, certConn = false, certSess = false } = ssl.client ?? {}
  const head = Buffer.alloc(5)
  head.writeUInt8(
    (byTls ? sslFlags.ssl : 0) |
      (certConn ? sslFlags.certConn : 0) |
      (certSess ? sslFlags.certSess : 0),
  )
  head.writeUInt32BE(ssl.verify ?? 1, 1)
  return Buffer.concat([
    head,
    ...text(tlvTypes.sslVersion, ssl.version),
    ...text(tlvTypes.sslCn, ssl.cn),
    ...text(tlvTypes.sslCipher, ssl.cipher),
    ...text(tlvTypes.sslSigAlg, ssl.sigAlg),
    ...text(tlvTypes.sslKeyAlg, ssl.keyAlg),
  ])
}

function text(type: number, value: string | null | undefined): Buffer[] {
  if (value === undefined || value === null) return []
  if (typeof value === 'string' && !value.includes('\0')) return [tlv(type, Buffer.from(value))]
  throw optionError(owner, 'header', 'of texts without a NUL', value)
}

function tlv(type: number, value: Uint8Array): Buffer {
  if (!Number.isInteger(type) || type < 0 || type > 0xff || !(value instanceof Uint8Array)) {
    throw optionError(owner, 'tlvs', 'types from 0 to 255, with values of bytes', type)
  }
  const head = Buffer.from([type, value.length >> 8, value.length & 0xff])
  return Buffer.concat([head, value])
}

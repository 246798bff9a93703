/** Version 2 of the PROXY protocol: binary, with type-length-values. */

import { type Endpoint, canonicalAddress } from '../../src/streams/endpoint.ts'
import { type ParsedHeader, type Proxied, malformed, nothingSaid, signature } from './proxied.ts'
import { readTlvs } from './tlvs.ts'

/** The signature, version and command, family and protocol, and the length of the rest. */
export const fixedSize = 16
const version = 2
const commands = ['local', 'proxy'] as const
const protocols = [null, 'stream', 'datagram'] as const

interface Family {
  readonly name: NonNullable<Proxied['family']>
  readonly addressSize: number
  readonly portSize: number
  readonly address: (bytes: Buffer) => string
}

/** By number; 0 is unspecified. */
const families: readonly (Family | null)[] = [
  null,
  { name: 'IPv4', addressSize: 4, portSize: 2, address: (bytes) => bytes.join('.') },
  { name: 'IPv6', addressSize: 16, portSize: 2, address: ipv6 },
  { name: 'Unix', addressSize: 108, portSize: 0, address: unixPath },
]

/**
 * Parses a version 2 header. If the bytes are too few, returns how many bytes it needs to continue.
 *
 * @throws `ERR_CIO_PROXY_HEADER` (remote): it is not a header, as soon as that is certain, or it is
 *   longer than `maxSize`
 */
export function parseV2(bytes: Buffer, maxSize: number): ParsedHeader | number {
  const begun = Math.min(bytes.length, signature.length)
  if (signature.compare(bytes, 0, begun, 0, begun) !== 0) throw malformed('its signature is wrong')
  const [first, second] = bytes.subarray(signature.length)
  if (first !== undefined && first >> 4 !== version) {
    throw malformed(`its version is ${first >> 4}`)
  }
  const command = commands[(first ?? 0) & 0xf]
  if (command === undefined) throw malformed(`its command is ${first! & 0xf}`)
  // For a local connection, the specification says to ignore the rest.
  const kind = command === 'local' ? 0 : (second ?? 0)
  const family = families[kind >> 4]
  const protocol = protocols[kind & 0xf]
  if (family === undefined) throw malformed(`its address family is ${kind >> 4}`)
  if (protocol === undefined) throw malformed(`its transport protocol is ${kind & 0xf}`)
  if (bytes.length < fixedSize) return bytes.length + 1

  const length = fixedSize + bytes.readUInt16BE(fixedSize - 2)
  if (length > maxSize) throw malformed(`it has ${length} bytes, more than ${maxSize}`)
  const unspecified = family === null || protocol === null
  const tlvsAt = fixedSize + (unspecified ? 0 : 2 * (family.addressSize + family.portSize))
  if (length < tlvsAt) throw malformed(`it has ${length} bytes, too few for its addresses`)
  if (bytes.length < length) return length

  // A copy: the parsed header must not keep the whole chunk in memory.
  const header = Buffer.from(bytes.subarray(0, length))
  // If these are unspecified, the end of the addresses is unknown, too.
  if (unspecified) return { length, proxied: { ...nothingSaid, version, command } }
  return {
    length,
    proxied: {
      ...nothingSaid,
      version,
      command,
      family: family.name,
      protocol,
      source: endpointOf(header, family, 0),
      destination: endpointOf(header, family, 1),
      ...readTlvs(header, tlvsAt),
    },
  }
}

/** The first or the second endpoint: both addresses come before both ports. */
function endpointOf(header: Buffer, family: Family, which: 0 | 1): Endpoint {
  const { addressSize, portSize, address } = family
  const at = fixedSize + which * addressSize
  const portAt = fixedSize + 2 * addressSize + which * portSize
  const port = portSize > 0 ? header.readUInt16BE(portAt) : 0
  return { address: address(header.subarray(at, at + addressSize)), port }
}

function ipv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, at) => bytes.readUInt16BE(2 * at).toString(16))
  return canonicalAddress(groups.join(':'))
}

/** Up to the NUL; a path that begins with a NUL is in the abstract namespace, as in Node. */
function unixPath(bytes: Buffer): string {
  const end = bytes.indexOf(0, 1)
  const path = bytes.subarray(0, end === -1 ? bytes.length : end)
  return path.length === 1 && path[0] === 0 ? '' : path.toString()
}

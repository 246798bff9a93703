/** The two endpoints in a header, and their bytes. */

import { isIPv4, isIPv6 } from 'node:net'
import { type Endpoint, canonicalAddress, groupsOf } from '../../src/streams/endpoint.ts'
import { optionError } from '../../src/options.ts'
import type { Proxied } from '../proxy-protocol/proxied.ts'

/** The name in errors about the content of a header. */
export const owner = 'proxyHeader'
const unixSize = 108

/** Both endpoints, and the address family of the header. */
export interface Ends {
  readonly family: NonNullable<Proxied['family']>
  readonly source: Endpoint
  readonly destination: Endpoint
}

/** Both endpoints in one family: if one is IPv4 and one is IPv6, both are written as IPv6. */
export function endsOf({
  source,
  destination,
}: Partial<Pick<Proxied, 'source' | 'destination'>>): Ends | null {
  if (!source || !destination) return null
  const endpoints = [checked('source', source), checked('destination', destination)] as const
  const all = endpoints.map(({ address }) => familyOf(address))
  const unix = all.filter((family) => family === 'Unix').length
  if (unix === 1) throw optionError(owner, 'destination', 'an address, as the source', destination)
  const family = unix > 0 ? 'Unix' : all.includes('IPv6') ? 'IPv6' : 'IPv4'
  return { family, source: endpoints[0], destination: endpoints[1] }
}

function checked(name: string, { address, port }: Endpoint): Endpoint {
  const known = typeof address === 'string' && (isPath(address) || familyOf(address) !== 'Unix')
  if (!known) throw optionError(owner, `${name}.address`, 'an IP address or a path', address)
  if (!Number.isInteger(port) || port < 0 || port > 0xffff) {
    throw optionError(owner, `${name}.port`, 'a port', port)
  }
  return { address: canonicalAddress(address), port }
}

function familyOf(address: string): Ends['family'] {
  if (isIPv4(address)) return 'IPv4'
  return isIPv6(address) ? 'IPv6' : 'Unix'
}

/** An absolute path, one in the abstract namespace, or that of an unnamed socket. */
function isPath(address: string): boolean {
  return /^[/\0]|^$/.test(address) && Buffer.byteLength(address) <= unixSize
}

/** An address in the notation of its family. */
export function written({ address }: Endpoint, family: Ends['family']): string {
  return family === 'IPv6' && isIPv4(address) ? `::ffff:${address}` : address
}

/** Both addresses, then both ports, as in version 2. */
export function addressesOf({ family, source, destination }: Ends): Buffer[] {
  const ends = [source, destination]
  if (family === 'Unix') {
    return ends.map(({ address }) => {
      const path = Buffer.alloc(unixSize)
      path.write(address)
      return path
    })
  }
  const addresses = ends.map((end) => ipBytes(written(end, family)))
  return [...addresses, ...ends.map(({ port }) => Buffer.from([port >> 8, port & 0xff]))]
}

function ipBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  const groups = groupsOf(address)
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

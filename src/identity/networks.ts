/** Lists of networks in CIDR notation, to look up addresses. */

import { BlockList, isIP } from 'node:net'
import { optionError } from '../options.ts'
import { canonicalAddress } from '../streams/endpoint.ts'

/** Whether an address is in one of several networks. False for null, which means no address. */
export type Networks = (address: string | null) => boolean

const form = /^([\da-f:.]+)(?:\/(\d{1,3}))?$/i
const bitsOf = { 4: 32, 6: 128 } as const
/** The bits before an IPv4 address that is written as IPv6. */
const mappedBits = 96

/**
 * Compiles addresses and networks in CIDR notation, such as `10.0.0.0/8`, into one test. IPv4
 * addresses that are written as IPv6 (`::ffff:10.1.2.3`) are IPv4, on both sides. An empty list
 * matches nothing.
 *
 * @throws `ERR_CIO_OPTION`: not an array, or an element is neither an address nor a network
 */
export function compileNetworks(
  owner: string,
  option: string,
  networks: readonly string[],
): Networks {
  // A single BlockList would find IPv4 addresses in IPv6 networks.
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() }
  if (!Array.isArray(networks)) {
    throw optionError(owner, option, 'an array of addresses and networks', networks)
  }
  for (const network of networks as readonly unknown[]) {
    const { address, bits } = parse(network) ?? {}
    if (address === undefined || bits === undefined) {
      throw optionError(owner, option, 'addresses and networks, such as 10.0.0.0/8', network)
    }
    const family = familyOf(address)
    lists[family].addSubnet(address, bits, family)
  }
  return (address) => {
    if (address === null || isIP(address) === 0) return false
    const canonical = canonicalAddress(address)
    const family = familyOf(canonical)
    return lists[family].check(canonical, family)
  }
}

function parse(network: unknown): { address: string; bits: number } | undefined {
  const [, text = '', length] = (typeof network === 'string' && form.exec(network)) || []
  const version = isIP(text)
  if (version !== 4 && version !== 6) return undefined
  const bits = length === undefined ? bitsOf[version] : Number(length)
  if (bits > bitsOf[version]) return undefined
  const address = canonicalAddress(text)
  if (version === 4 || isIP(address) === 6) return { address, bits }
  return bits < mappedBits ? undefined : { address, bits: bits - mappedBits }
}

/** Without the family, `BlockList` treats every address as IPv4, and misses the others. */
function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

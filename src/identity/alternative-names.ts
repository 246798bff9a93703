/** The subject alternative names of a certificate. */

import { canonicalAddress } from '../streams/endpoint.ts'
import { children, sequence } from './der.ts'

/** Subject alternative names by kind, as in the certificate; addresses in canonical form. */
export interface PeerNames {
  /** DNS names, wildcards included. */
  readonly dns: readonly string[]
  /** URIs. */
  readonly uri: readonly string[]
  /** E-mail addresses. */
  readonly email: readonly string[]
  /** IP addresses, in canonical form. */
  readonly ip: readonly string[]
}

// The tags of GeneralName (RFC 5280, section 4.2.1.6).
const kinds: Readonly<Record<number, keyof PeerNames>> = {
  0x81: 'email',
  0x82: 'dns',
  0x86: 'uri',
  0x87: 'ip',
}
// otherName, x400Address, directoryName, ediPartyName and registeredID.
const passedOver: ReadonlySet<number> = new Set([0xa0, 0xa3, 0xa4, 0xa5, 0x88])

/**
 * Reads the value of the extension, from its DER. Node's text for it has had ambiguous quotes (CVE-2021-44532).
 *
 * @throws if it is malformed, or has no name at all
 */
export function alternativeNamesOf(der: Buffer): PeerNames {
  const [list, ...more] = children(der)
  if (list?.tag !== sequence || more.length > 0) throw new Error('its DER has no names')
  const found = children(der, list)
  if (found.length === 0) throw new Error('its DER has no names')
  const names = { dns: [], uri: [], email: [], ip: [] } as Record<keyof PeerNames, string[]>
  for (const { tag, start, end } of found) {
    const kind = kinds[tag]
    const value = der.subarray(start, end)
    if (kind) names[kind].push(kind === 'ip' ? addressOf(value) : value.toString('latin1'))
    else if (!passedOver.has(tag)) throw new Error('its DER has a name of no known kind')
  }
  return names
}

const [lengthOfV4, lengthOfV6] = [4, 16]

function addressOf(bytes: Buffer): string {
  if (bytes.length === lengthOfV4) return bytes.join('.')
  if (bytes.length !== lengthOfV6) throw new Error('its DER has an address of no known length')
  return canonicalAddress(bytes.toString('hex').replace(/(.{4})(?!$)/g, '$1:'))
}

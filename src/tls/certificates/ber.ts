/**
 * Reads BER, the superset of DER. Some programs write indefinite lengths, and split strings into
 * pieces.
 */

import { type Element, children, element, objectIdentifier } from '../../identity/der.ts'

const constructed = 0x20
const endOfContents = 0x00

/** An element, and its bytes. */
export interface Value {
  readonly tag: number
  /** The element with its tag and length. */
  readonly whole: Buffer
  readonly content: Buffer
  /** An object identifier in hexadecimal; empty for any other element. */
  readonly id: string
  readonly within: () => Value[]
}

/** @throws if the input is truncated */
export function read(ber: Buffer): Value {
  const der = definiteAt(ber, 0).der
  const whole = element(der, 0)
  if (!whole) throw new Error('its DER is truncated')
  return valueOf(der, whole, 0)
}

function valueOf(der: Buffer, at: Element, begin: number): Value {
  const content = der.subarray(at.start, at.end)
  return {
    tag: at.tag,
    whole: der.subarray(begin, at.end),
    content,
    id: at.tag === objectIdentifier ? content.toString('hex') : '',
    within: () => {
      let from = at.start
      return children(der, at).map((child) => {
        const value = valueOf(der, child, from)
        from = child.end
        return value
      })
    },
  }
}

/** The bytes of an OCTET STRING, joined if it is split into pieces. */
export function octets({ tag, content, within }: Value): Buffer {
  return tag & constructed ? Buffer.concat(within().map(octets)) : content
}

/** Converts BER to definite lengths, as in DER. */
function definiteAt(ber: Buffer, at: number): { readonly der: Buffer; readonly end: number } {
  const known = element(ber, at)
  if (known && !(known.tag & constructed))
    return { der: ber.subarray(at, known.end), end: known.end }
  const tag = ber[at]
  if (tag === undefined || !(tag & constructed) || (!known && ber[at + 1] !== 0x80)) {
    throw new Error('its BER is truncated')
  }
  const parts: Buffer[] = []
  let next = known?.start ?? at + 2
  while (known ? next < known.end : ber[next] !== endOfContents) {
    const part = definiteAt(ber, next)
    parts.push(part.der)
    next = part.end
  }
  return { der: encode(tag, Buffer.concat(parts)), end: known ? next : next + 2 }
}

function encode(tag: number, content: Buffer): Buffer {
  const { length } = content
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content])
  const hex = length.toString(16)
  const size = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | size.length]), size, content])
}

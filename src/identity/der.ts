/** Just enough of DER to find one's way in what OpenSSL has read before. */

/** Where the contents of an element are. */
export interface Element {
  readonly tag: number
  readonly start: number
  readonly end: number
}

export const integer = 0x02
export const objectIdentifier = 0x06
export const sequence = 0x30
const bmpString = 0x1e
const constructed = 0x20

/** The element that begins at a place; undefined if none does. */
export function element(der: Buffer, at: number): Element | undefined {
  const tag = der[at]
  const first = der[at + 1]
  if (tag === undefined || first === undefined) return undefined
  const long = first > 0x80 ? first - 0x80 : 0
  const start = at + 2 + long
  if (long > 4 || start > der.length) return undefined
  const end = start + (long > 0 ? der.readUIntBE(at + 2, long) : first)
  return end > der.length ? undefined : { tag, start, end }
}

/**
 * The elements within an element, or of the whole.
 *
 * @throws where something is cut off
 */
export function children(der: Buffer, within?: Element): Element[] {
  const { start, end } = within ?? { start: 0, end: der.length }
  const found: Element[] = []
  for (let at = start; at < end;) {
    const child = element(der, at)
    if (!child || child.end > end) throw new Error('its DER is cut off')
    found.push(child)
    at = child.end
  }
  return found
}

/** The bytes of an INTEGER, in hexadecimal, without leading zeros. */
export function integerOf(der: Buffer, { start, end }: Element): string {
  return der.toString('hex', start, end).replace(/^(?:00)+(?=.)/, '')
}

/**
 * A distinguished name in one spelling, as OpenSSL compares names: in any encoding and case, with
 * any white space.
 */
export function nameOf(der: Buffer, name: Element): string {
  const parts = children(der, name).map((part) => {
    if (part.tag & constructed) return `{${nameOf(der, part)}}`
    if (part.tag === objectIdentifier) return der.toString('hex', part.start, part.end)
    const bytes = Buffer.from(der.subarray(part.start, part.end))
    const wide = part.tag === bmpString && bytes.length % 2 === 0
    const text = wide ? bytes.swap16().toString('utf16le') : bytes.toString()
    return JSON.stringify(text.toLowerCase().trim().replace(/\s+/g, ' '))
  })
  return parts.join()
}

/** A minimal DER parser, for input that OpenSSL has already parsed. */

/** The position of the contents of an element. */
export interface Element {
  readonly tag: number
  readonly start: number
  readonly end: number
}

export const integer = 0x02
export const objectIdentifier = 0x06
export const sequence = 0x30
const set = 0x31
const constructed = 0x20

/** The types of strings that a name may have, as OpenSSL reads them: how many bytes a character has. */
const widths: Readonly<Record<number, number>> = {
  0x0c: 0, // UTF8String: variable
  0x12: 1, // NumericString
  0x13: 1, // PrintableString
  0x14: 1, // T61String: Latin 1, by common usage
  0x16: 1, // IA5String
  0x1a: 1, // VisibleString
  0x1c: 4, // UniversalString
  0x1e: 2, // BMPString
}

/** The element that begins at a place; undefined if none does. */
export function element(der: Buffer, at: number): Element | undefined {
  const tag = der[at]
  const first = der[at + 1]
  // Indefinite lengths and multi-byte tags: neither occurs in what Cio reads.
  if (tag === undefined || first === undefined || first === 0x80 || (tag & 0x1f) === 0x1f) {
    return undefined
  }
  const long = first > 0x80 ? first - 0x80 : 0
  const start = at + 2 + long
  if (long > 4 || start > der.length) return undefined
  const end = start + (long > 0 ? der.readUIntBE(at + 2, long) : first)
  return end > der.length ? undefined : { tag, start, end }
}

/**
 * The elements within an element, or of the whole.
 *
 * @throws if something is truncated
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

/** The fields of a TBSCertificate (RFC 5280, section 4.1), up to the extensions. */
export interface CertificateFields {
  readonly serial: Element
  readonly issuer: Element
  readonly validity: Element
  readonly subject: Element
  /** The optional fields, each in a tag of its own. */
  readonly rest: readonly Element[]
}

// Of one certificate the dates, names and extensions are read one after another.
let lastDer: Buffer | undefined
let lastFields: CertificateFields | undefined

/**
 * @throws if it is truncated, or is not a certificate
 */
export function certificateFields(der: Buffer): CertificateFields {
  if (der === lastDer) return lastFields!
  lastFields = fieldsOf(der)
  lastDer = der
  return lastFields
}

function fieldsOf(der: Buffer): CertificateFields {
  const [whole] = children(der)
  const [body] = children(der, whole)
  const fields = children(der, body)
  // The version, in a tag of its own, is omitted if it is 1.
  const at = fields.findIndex(({ tag }) => tag === integer)
  const [serial, , issuer, validity, subject] = fields.slice(at)
  if (at < 0 || !serial || !issuer || !validity || !subject)
    throw new Error('its DER is no certificate')
  return { serial, issuer, validity, subject, rest: fields.slice(at + 6) }
}

const utcTime = 0x17
const generalizedTime = 0x18

/** When a certificate expires, in milliseconds; NaN if that cannot be read. */
export function notAfterOf(der: Buffer): number {
  const [, time] = children(der, certificateFields(der).validity)
  return time ? timeOf(der, time) : NaN
}

/** A UTCTime or a GeneralizedTime, in milliseconds; NaN if it cannot be read. */
export function timeOf(der: Buffer, { tag, start, end }: Element): number {
  const isShort = tag === utcTime
  if (end - start !== (isShort ? 13 : 15) || der[end - 1] !== zulu) return NaN
  const two = (place: number): number => twoDigits(der, end - 1 - 2 * place)
  // RFC 5280, section 4.1.2.5.1: two digits of a year are of this century below 50.
  const century = !isShort ? twoDigits(der, start) : two(6) < 50 ? 20 : 19
  return Date.UTC(century * 100 + two(6), two(5) - 1, two(4), two(3), two(2), two(1))
}

const zulu = 'Z'.charCodeAt(0)
const zero = '0'.charCodeAt(0)

function twoDigits(der: Buffer, at: number): number {
  const [tens, ones] = [der[at]! - zero, der[at + 1]! - zero]
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : NaN
}

/** Whether an element is a time. */
export function isTime({ tag }: Element): boolean {
  return tag === utcTime || tag === generalizedTime
}

const extensions = 0xa3

/**
 * The value of an extension of a certificate, by the hexadecimal of its object identifier; undefined
 * without it.
 *
 * @throws if the certificate is truncated
 */
export function extensionOf(der: Buffer, type: string): Element | undefined {
  return extensionsOf(der, type)[0]
}

/**
 * All values of an extension, which should be one at most (RFC 5280, section 4.2): another reader
 * might take another one.
 *
 * @throws if the certificate is truncated
 */
export function extensionsOf(der: Buffer, type: string): Element[] {
  const holder = certificateFields(der).rest.find(({ tag }) => tag === extensions)
  const [list] = holder ? children(der, holder) : []
  const found: Element[] = []
  for (const extension of list ? children(der, list) : []) {
    const id = element(der, extension.start)
    if (!id || id.end > extension.end) throw new Error('its DER is cut off')
    if (der.toString('hex', id.start, id.end) !== type) continue
    found.push(...children(der, extension).slice(1).slice(-1))
  }
  return found
}

/** An extension. */
interface Extension {
  /** Its object identifier, in hexadecimal. */
  readonly type: string
  readonly isCritical: boolean
  readonly value: Element
}

const ofList = 0xa0

/**
 * The extensions of a revocation list (RFC 5280, section 5.1).
 *
 * @throws if it is truncated
 */
export function listExtensions(der: Buffer): Extension[] {
  const [whole] = children(der)
  const [body] = children(der, whole)
  const holder = children(der, body).find(({ tag }) => tag === ofList)
  const [list] = holder ? children(der, holder) : []
  return (list ? children(der, list) : []).map((extension) => {
    const [id, ...others] = children(der, extension)
    const type = der.toString('hex', id!.start, id!.end)
    return { type, isCritical: others.length > 1, value: others.at(-1)! }
  })
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The text of a string of any type that a name may have.
 *
 * @throws if it has another type, or is malformed
 */
export function textOf(der: Buffer, { tag, start, end }: Element): string {
  const width = widths[tag]
  const bytes = der.subarray(start, end)
  if (width === 0) return utf8.decode(bytes)
  if (width === undefined || bytes.length % width > 0) throw new Error('its DER has no text there')
  let text = ''
  for (let at = 0; at < bytes.length; at += width) {
    const point = bytes.readUIntBE(at, width)
    if (point >= 0xd800 && point < 0xe000) throw new Error('its DER has half a character')
    text += String.fromCodePoint(point)
  }
  return text
}

/**
 * The attributes of a distinguished name: their values by type, which is the hexadecimal of its
 * object identifier.
 *
 * @throws if one of them cannot be read
 */
export function attributesOf(der: Buffer, name: Element): Map<string, string[]> {
  const attributes = new Map<string, string[]>()
  for (const set of children(der, name)) {
    for (const attribute of children(der, set)) {
      const [type, value, ...more] = children(der, attribute)
      if (type?.tag !== objectIdentifier || !value || more.length > 0) {
        throw new Error('its DER is no name')
      }
      const key = der.toString('hex', type.start, type.end)
      attributes.set(key, [...(attributes.get(key) ?? []), textOf(der, value)])
    }
  }
  return attributes
}

/**
 * The canonical form of a distinguished name. As in OpenSSL, the type of string, case and white
 * space do not matter.
 */
export function nameOf(der: Buffer, name: Element): string {
  const parts = children(der, name).map((part) =>
    part.tag & constructed ? `{${nameOf(der, part)}}` : valueOf(der, part),
  )
  // The values of a SET have no order.
  return (name.tag === set ? parts.toSorted() : parts).join()
}

/** The canonical form of a text; of other values, their bytes. */
function valueOf(der: Buffer, value: Element): string {
  try {
    const text = textOf(der, value).replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
    return JSON.stringify(text.replace(/[\t-\r ]+/g, ' ').replace(/^ | $/g, ''))
  } catch {
    return `${value.tag}:${der.toString('hex', value.start, value.end)}`
  }
}

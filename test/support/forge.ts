/** Certificates that openssl does not make: a NUL in a name, odd string types, a name of 64 KiB. */

import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const commonName = '550403'
const organization = '55040a'
const unit = '55040b'
const strings = {
  utf8: 0x0c,
  printable: 0x13,
  t61: 0x14,
  ia5: 0x16,
  visible: 0x1a,
  universal: 0x1c,
  bmp: 0x1e,
} as const

const day = 24 * 60 * 60 * 1_000

/** A value as a string of a type, or as it stands in the DER. */
type Attribute =
  | readonly [oid: string, type: keyof typeof strings, value: string]
  | readonly [oid: string, value: Buffer]

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const hex = content.length.toString(16)
  const length = Buffer.from(hex.padStart(hex.length + (hex.length % 2), '0'), 'hex')
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, content])
}

const sequence = (...parts: readonly Buffer[]): Buffer => der(0x30, ...parts)
const oid = (hex: string): Buffer => der(0x06, Buffer.from(hex, 'hex'))
const utcTime = (time: number): Buffer =>
  der(0x17, Buffer.from(new Date(time).toISOString().replace(/^..|\....|[-:T]/g, '')))

function distinguishedName(attributes: readonly Attribute[]): Buffer {
  return sequence(
    ...attributes.map(([type, string, value]) =>
      der(0x31, sequence(oid(type), typeof string === 'string' ? encoded(string, value) : string)),
    ),
  )
}

function encoded(type: keyof typeof strings, value: string): Buffer {
  const points = Array.from(value, (character) => character.codePointAt(0)!)
  const width = type === 'bmp' ? 2 : type === 'universal' ? 4 : 1
  if (type === 'utf8') return der(strings[type], Buffer.from(value))
  const bytes = Buffer.alloc(points.length * width)
  for (const [index, point] of points.entries()) bytes.writeUIntBE(point, index * width, width)
  return der(strings[type], bytes)
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(oid(id), der(0x04, value))
}

/** Writes a client certificate of the CA `root`, and its key, next to those of the CA. */
function forge(
  directory: string,
  file: string,
  subject: readonly Attribute[],
  alternativeNames?: readonly Buffer[],
  until: number = Date.now() + 10 * day,
  /** How often it has the extension with the names. */
  copies = 1,
): void {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const ecdsaWithSha256 = sequence(oid('2a8648ce3d040302'))
  const extensions = [extension('551d25', sequence(oid('2b06010505070302')))]
  if (alternativeNames) {
    const names = extension('551d11', sequence(...alternativeNames))
    extensions.push(...Array<Buffer>(copies).fill(names))
  }
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([0x40]), randomBytes(8)),
    ecdsaWithSha256,
    distinguishedName([[commonName, 'utf8', 'root']]),
    sequence(utcTime(Date.now() - day), utcTime(until)),
    distinguishedName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, readFileSync(join(directory, 'root.key')))
  const whole = sequence(body, ecdsaWithSha256, der(0x03, Buffer.from([0]), signature))
  const lines = whole.toString('base64').replace(/.{64}/g, '$&\n')
  const pem = `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`
  writeFileSync(join(directory, `${file}.crt`), pem.replace('\n\n', '\n'))
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' })
  writeFileSync(join(directory, `${file}.key`), key)
}

const dns = (name: string): Buffer => der(0x82, Buffer.from(name))

/** Makes them all. */
export function forgeAll(directory: string): void {
  const alice: Attribute = [commonName, 'utf8', 'alice']
  forge(directory, 'nulUtf8', [[commonName, 'utf8', 'alice\0.evil.test']])
  forge(directory, 'nulBmp', [[commonName, 'bmp', 'alice\0.evil.test']])
  forge(directory, 'nulT61', [[commonName, 't61', 'alice\0.evil.test']])
  forge(directory, 'nulUnit', [alice, [unit, 'utf8', 'ops\0.evil.test']])
  forge(directory, 'nulDns', [alice], [dns('alice\0.evil.test')])
  forge(directory, 'bmp', [[commonName, 'bmp', 'alice']])
  forge(directory, 'longName', [[commonName, 'utf8', 'alice'.padEnd(4 * 1024, '.')]])
  // Too long for a session ticket. Above 10 KiB, Node's client keeps no session.
  forge(directory, 'hugeName', [[commonName, 'utf8', 'alice'.padEnd(64 * 1024, '.')]])
  forge(directory, 'lineFeed', [[commonName, 'utf8', 'mallory\nalice\u001b[2J']])
  forge(directory, 'quotes', [[commonName, 'utf8', 'mallory']], [dns('x", DNS:"alice'), dns('b')])
  forge(
    directory,
    'otherNames',
    [],
    [
      // A Microsoft user principal name, `alice`.
      der(0xa0, oid('2b060104018237140203'), der(0xa0, der(strings.utf8, Buffer.from('alice')))),
      der(0xa4, distinguishedName([alice, [unit, 'utf8', 'a, DNS:alice']])),
      der(0x88, Buffer.from('2a0304', 'hex')),
      dns('bob'),
    ],
  )
  // An address of five bytes, and one of none.
  forge(directory, 'oddAddress', [alice], [dns('alice'), der(0x87, Buffer.from([1, 2, 3, 4, 5]))])
  forge(directory, 'noNames', [alice], [])
  forge(directory, 'noAddress', [alice], [der(0x87)])
  forge(directory, 'namesTwice', [alice], [dns('alice')], undefined, 2)
  const bits = der(0x03, Buffer.from([0, 1]))
  forge(directory, 'bitString', [alice, [commonName, bits]])
  forge(directory, 'sequenceName', [[commonName, sequence(oid(commonName))]])
  forge(directory, 'bitStringUnit', [alice, [unit, 'utf8', 'ops'], [organization, bits]])
  forge(directory, 'constructedName', [[commonName, der(0x2c, encoded('utf8', 'alice'))]])
  forge(directory, 't61', [[commonName, 't61', 'ålice']])
  forge(directory, 'universal', [[commonName, 'universal', 'alice ☃']])
}

/**
 * A client certificate of the CA `root`, and its key, that expires at a time of one's own, in whole
 * seconds. Written to `directory`, which has the key of the CA.
 */
export function forgeUntil(directory: string, file: string, until: number): void {
  forge(directory, file, [[commonName, 'utf8', 'alice']], undefined, until)
}

/** A revocation list of a CA by this name, for one serial number; signed by nobody. */
export function forgeList(type: keyof typeof strings, issuer: string, serial: string): string {
  const algorithm = sequence(oid('2a8648ce3d040302'))
  const entry = sequence(der(0x02, Buffer.from(serial, 'hex')), utcTime(Date.now()))
  const name = distinguishedName([[commonName, type, issuer]])
  const body = sequence(algorithm, name, utcTime(Date.now()), sequence(entry))
  const whole = sequence(body, algorithm, der(0x03, Buffer.from([0])))
  return `-----BEGIN X509 CRL-----\n${whole.toString('base64')}\n-----END X509 CRL-----\n`
}

/** First messages of TLS clients, as they are sent today. */

import { readFileSync } from 'node:fs'

/** Of OpenSSL 3.5: with a post-quantum key share, for `www.example.com`, `h2` and `http/1.1`. */
export const ofOpenssl: Buffer = Buffer.from(
  readFileSync(new URL('../fixtures/post-quantum-hello.txt', import.meta.url), 'utf8'),
  'base64',
)

/** What both ask for. */
export const askedFor: { servername: string; alpn: string[] } = {
  servername: 'www.example.com',
  alpn: ['h2', 'http/1.1'],
}

const sizes = { random: 32, session: 32, hybridShare: 1_216, share: 32, ech: 218 }
/** RFC 8701: numbers that nobody has a use for, at each place where there are numbers. */
const grease = [0x3a3a, 0x1a1a, 0xcaca, 0x7a7a] as const

/**
 * As Chrome sends it: GREASE at each place, X25519MLKEM768 and X25519 as key shares, an Encrypted
 * Client Hello that is none, the name in the middle of the extensions. More than one segment.
 */
export const ofBrowser: Buffer = record(
  Buffer.concat([
    u16(0x0303),
    bytes(sizes.random),
    vector(1, bytes(sizes.session)),
    vector(2, u16(grease[0], 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9)),
    vector(1, Buffer.of(0)),
    vector(
      2,
      Buffer.concat([
        extension(grease[1], Buffer.alloc(0)),
        extension(0x002b, vector(1, u16(grease[2], 0x0304, 0x0303))),
        extension(
          0x0033,
          vector(
            2,
            Buffer.concat([
              u16(grease[3]),
              vector(2, Buffer.of(0)),
              u16(0x11ec),
              vector(2, bytes(sizes.hybridShare)),
              u16(0x001d),
              vector(2, bytes(sizes.share)),
            ]),
          ),
        ),
        extension(0x000a, vector(2, u16(grease[3], 0x11ec, 0x001d, 0x0017, 0x0018))),
        extension(0xfe0d, bytes(sizes.ech)),
        extension(
          0x0000,
          vector(2, Buffer.concat([Buffer.of(0), vector(2, Buffer.from('www.example.com'))])),
        ),
        extension(0x000d, vector(2, u16(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501))),
        extension(0x001b, vector(1, u16(2))),
        extension(
          0x0010,
          vector(2, Buffer.concat(['h2', 'http/1.1'].map((name) => vector(1, Buffer.from(name))))),
        ),
        extension(0x0005, Buffer.of(1, 0, 0, 0, 0)),
        extension(0x002d, vector(1, Buffer.of(1))),
        extension(grease[0], Buffer.of(0)),
      ]),
    ),
  ]),
)

function record(body: Buffer): Buffer {
  const message = Buffer.concat([Buffer.of(1), vector(3, body)])
  return Buffer.concat([Buffer.of(0x16, 3, 1), vector(2, message)])
}

function extension(type: number, body: Buffer): Buffer {
  return Buffer.concat([u16(type), vector(2, body)])
}

/** Its length in so many bytes, and itself. */
function vector(size: number, body: Buffer): Buffer {
  const length = Buffer.alloc(size)
  length.writeUIntBE(body.length, 0, size)
  return Buffer.concat([length, body])
}

function u16(...numbers: readonly number[]): Buffer {
  return Buffer.concat(numbers.map((number) => Buffer.of(number >> 8, number & 0xff)))
}

/** Bytes that look like nothing. */
function bytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => (index * 167 + 13) % 256))
}

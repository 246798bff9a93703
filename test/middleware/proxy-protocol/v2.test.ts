import test from 'ava'
import { crc32c } from '../../../middleware/proxy-protocol/crc32c.ts'
import type { Proxied } from '../../../middleware/proxy-protocol/proxied.ts'
import { parseV2 } from '../../../middleware/proxy-protocol/v2.ts'

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const malformed = { code: 'ERR_CIO_PROXY_HEADER' }
const ipv4 = Buffer.from([192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x40, 0x01, 0xbb])

/** A header as its bytes are: `rest` is all that its length counts. */
function header(versionAndCommand: number, kind: number, rest: Uint8Array): Buffer {
  const length = [rest.length >> 8, rest.length & 0xff]
  return Buffer.concat([signature, Buffer.from([versionAndCommand, kind, ...length]), rest])
}

function tlv(type: number, value: Uint8Array | string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 0xff]), bytes])
}

/** TCP over IPv4, with these type-length-values. */
const tcp4 = (...tlvs: readonly Uint8Array[]): Buffer =>
  header(0x21, 0x11, Buffer.concat([ipv4, ...tlvs]))

const parse = (bytes: Buffer) => parseV2(bytes, 4_096)

function proxied(bytes: Buffer): Proxied {
  const parsed = parse(bytes)
  if (typeof parsed === 'number') throw new Error(`needs ${parsed} bytes`)
  return parsed.proxied
}

const ends = {
  source: { address: '192.0.2.7', port: 40_000 },
  destination: { address: '198.51.100.1', port: 443 },
}

for (const [kind, protocol] of [
  [0x11, 'stream'],
  [0x12, 'datagram'],
] as const) {
  test(`a ${protocol} over IPv4 has both ends`, (t) => {
    const expected = { version: 2, command: 'proxy', family: 'IPv4', protocol, ...ends } as const
    t.like(proxied(header(0x21, kind, ipv4)), expected)
  })
}

test('what follows a header is not part of it', (t) => {
  const bytes = tcp4()
  t.like(parse(Buffer.concat([bytes, tlv(0x05, 'x')])), {
    length: bytes.length,
    proxied: { uniqueId: null, tlvs: [] },
  })
})

for (const [kind, protocol] of [
  [0x21, 'stream'],
  [0x22, 'datagram'],
] as const) {
  test(`a ${protocol} over IPv6 has both ends in canonical form`, (t) => {
    const addresses = Buffer.from(
      '20010db80000000000000000000000ff00000000000000000000ffff0a0102030001ffff',
      'hex',
    )
    t.like(proxied(header(0x21, kind, addresses)), {
      family: 'IPv6',
      protocol,
      source: { address: '2001:db8::ff', port: 1 },
      destination: { address: '10.1.2.3', port: 65535 },
    })
  })
}

test('Unix sockets have paths, up to their NUL', (t) => {
  const addresses = Buffer.alloc(216)
  addresses.write('/run/client', 0)
  addresses.write('\0abstract', 108)
  t.like(proxied(header(0x21, 0x31, addresses)), {
    family: 'Unix',
    protocol: 'stream',
    source: { address: '/run/client', port: 0 },
    destination: { address: '\0abstract', port: 0 },
  })
  t.like(proxied(header(0x21, 0x32, Buffer.alloc(216, 'x'))), {
    protocol: 'datagram',
    source: { address: 'x'.repeat(108), port: 0 },
  })
  t.like(proxied(header(0x21, 0x31, Buffer.alloc(216))), { source: { address: '', port: 0 } })
})

const silent = { family: null, protocol: null, source: null, destination: null, tlvs: [] } as const

test('of a local connection all the rest is skipped, whatever it is', (t) => {
  for (const kind of [0x00, 0x11, 0x31, 0x44, 0xff]) {
    for (const size of [0, 1, 12, 300]) {
      const bytes = header(0x20, kind, Buffer.alloc(size, 0xff))
      const parsed = parse(Buffer.concat([bytes, Buffer.from('rest')]))
      t.like(parsed, { length: bytes.length, proxied: { command: 'local', ...silent } })
    }
  }
})

test('an unspecified family or protocol says nothing, and is skipped', (t) => {
  for (const kind of [0x00, 0x01, 0x02, 0x10, 0x20, 0x30]) {
    const bytes = header(0x21, kind, Buffer.alloc(20, 0xff))
    t.like(parse(bytes), { length: bytes.length, proxied: { command: 'proxy', ...silent } })
  }
})

test('type-length-values are known by their names, the others by their numbers', (t) => {
  const said = proxied(
    tcp4(
      tlv(0x01, 'h2'),
      tlv(0x02, 'exämple.test'),
      tlv(0x04, Buffer.alloc(3)),
      tlv(0x05, Buffer.from([0, 255])),
      tlv(0x30, 'blue'),
      tlv(0xea, 'vpce-1'),
      tlv(0xea, 'vpce-2'),
    ),
  )
  t.like(said, { alpn: 'h2', authority: 'exämple.test', netns: 'blue', ssl: null, crc32c: false })
  t.deepEqual(said.uniqueId, Buffer.from([0, 255]))
  t.deepEqual(
    said.tlvs.filter(({ type }) => type === 0xea).map(({ value }) => String(value)),
    ['vpce-1', 'vpce-2'],
  )
  t.is(said.tlvs.length, 7)
})

/** What is said about TLS: flags, verdict, and type-length-values within. */
const ssl = (flags: number, verify: number, ...tlvs: readonly Uint8Array[]): Buffer =>
  tlv(0x20, Buffer.concat([Buffer.from([flags, 0, 0, 0, verify]), ...tlvs]))

test('TLS has its flags, its verdict and its names', (t) => {
  const said = proxied(
    tcp4(
      ssl(
        0x03,
        0,
        tlv(0x21, 'TLSv1.3'),
        tlv(0x22, 'alice'),
        tlv(0x23, 'TLS_AES_256_GCM_SHA384'),
        tlv(0x24, 'SHA256'),
        tlv(0x25, 'RSA2048'),
        tlv(0x28, Buffer.from([0x30, 0])),
      ),
    ),
  )
  t.like(said.ssl, {
    client: { ssl: true, certConn: true, certSess: false },
    verify: 0,
    version: 'TLSv1.3',
    cn: 'alice',
    claimedCn: 'alice',
    cipher: 'TLS_AES_256_GCM_SHA384',
    sigAlg: 'SHA256',
    keyAlg: 'RSA2048',
  })
  t.deepEqual(said.ssl?.tlvs.at(-1), { type: 0x28, value: Buffer.from([0x30, 0]) })
})

test('a common name that the sender has not verified is a claim', (t) => {
  for (const [flags, verify, cn] of [
    [0x01, 0, null],
    [0x03, 18, null],
    [0x02, 0, null],
    [0x00, 0, null],
    [0x05, 0, 'alice'],
    [0x07, 0, 'alice'],
  ] as const) {
    const said = proxied(tcp4(ssl(flags, verify, tlv(0x22, 'alice')))).ssl
    t.is(said?.cn, cn, `${flags} ${verify}`)
    t.is(said?.claimedCn, 'alice')
  }
})

test('CRC-32C gives the check value of its definition', (t) => {
  t.is(crc32c(Buffer.from('123456789')), 0xe3069283)
  t.is(crc32c(Buffer.from('56789'), crc32c(Buffer.from('1234'))), 0xe3069283)
  t.is(crc32c(Buffer.alloc(32)), 0x8a9136aa)
})

test('a checksum that is right is told of; a bit that is wrong is malformed', (t) => {
  const bytes = tcp4(tlv(0x03, Buffer.alloc(4)), tlv(0x05, 'x'))
  bytes.writeUInt32BE(crc32c(bytes), 16 + 12 + 3)
  t.true(proxied(bytes).crc32c)
  for (let at = 16; at < bytes.length; at++) {
    const wrong = Buffer.from(bytes)
    wrong[at]! ^= 1
    t.throws(() => parse(wrong), malformed, `byte ${at}`)
  }
})

test('a header that has not ended asks for all of it, as soon as its length is there', (t) => {
  const bytes = tcp4(tlv(0x05, 'x'))
  for (let length = 0; length < bytes.length; length++) {
    t.is(parse(bytes.subarray(0, length)), length < 16 ? length + 1 : bytes.length)
  }
})

test('a header of maxSize bytes is the longest, and rejected by its length alone', (t) => {
  const bytes = header(0x20, 0, Buffer.alloc(84))
  t.like(parseV2(bytes, 100), { length: 100 })
  t.throws(() => parseV2(bytes.subarray(0, 16), 99), malformed)
  t.like(parseV2(header(0x20, 0, Buffer.alloc(0xffff)), Infinity), { length: 16 + 0xffff })
})

test('what is kept of a header does not keep what came with it', (t) => {
  const bytes = tcp4(tlv(0x05, 'x'))
  const { uniqueId } = proxied(Buffer.concat([bytes, Buffer.alloc(1_000_000)]))
  t.true((uniqueId?.buffer.byteLength ?? Infinity) < 100_000)
})

test('what cannot become a header is malformed with the first wrong byte', (t) => {
  for (let at = 0; at < signature.length; at++) {
    const wrong = Buffer.from(signature)
    wrong[at]! ^= 1
    t.throws(() => parse(wrong.subarray(0, at + 1)), malformed, `byte ${at}`)
  }
  t.throws(() => parse(Buffer.from([...signature, 0x31])), malformed)
  t.throws(() => parse(Buffer.from([...signature, 0x22])), malformed)
  t.throws(() => parse(Buffer.from([...signature, 0x21, 0x41])), malformed)
})

const sslHead = [0x01, 0, 0, 0, 0]

for (const [what, bytes] of Object.entries({
  'of version 1': header(0x11, 0x11, ipv4),
  'of version 3': header(0x31, 0x11, ipv4),
  'with command 2': header(0x22, 0x11, ipv4),
  'with command 15': header(0x2f, 0x11, ipv4),
  'of address family 4': header(0x21, 0x41, ipv4),
  'of transport protocol 3': header(0x21, 0x13, ipv4),
  'too short for IPv4': header(0x21, 0x11, Buffer.alloc(11)),
  'too short for IPv6': header(0x21, 0x21, Buffer.alloc(35)),
  'too short for Unix sockets': header(0x21, 0x31, Buffer.alloc(215)),
  'without addresses': header(0x21, 0x11, Buffer.alloc(0)),
  'with a value that is longer than it': tcp4(Buffer.from([0x05, 0, 2, 0])),
  'with a value of 64 KiB that is not there': tcp4(Buffer.from([0x05, 0xff, 0xff])),
  'with one byte after its values': tcp4(tlv(0x05, 'x'), Buffer.alloc(1)),
  'with two bytes after its values': tcp4(tlv(0x05, 'x'), Buffer.alloc(2)),
  'with a wrong checksum': tcp4(tlv(0x03, Buffer.alloc(4))),
  'with a checksum of three bytes': tcp4(tlv(0x03, Buffer.alloc(3))),
  'with a checksum of five bytes': tcp4(tlv(0x03, Buffer.alloc(5))),
  'with two checksums': tcp4(tlv(0x03, Buffer.alloc(4)), tlv(0x03, Buffer.alloc(4))),
  'with a unique ID of 129 bytes': tcp4(tlv(0x05, Buffer.alloc(129))),
  'with two unique IDs': tcp4(tlv(0x05, 'x'), tlv(0x05, 'y')),
  'with two authorities': tcp4(tlv(0x02, 'a.test'), tlv(0x02, 'b.test')),
  'with a NUL in its authority': tcp4(tlv(0x02, 'a.test\0.evil.test')),
  'with an authority that is not UTF-8': tcp4(tlv(0x02, Buffer.from([0xff]))),
  'with a NUL in its namespace': tcp4(tlv(0x30, 'blue\0')),
  'with a NUL in its ALPN': tcp4(tlv(0x01, 'h2\0')),
  'with too little about TLS': tcp4(tlv(0x20, Buffer.alloc(4))),
  'with nothing about TLS': tcp4(tlv(0x20, '')),
  'with a value within TLS that is longer than it': tcp4(
    tlv(0x20, Buffer.from([...sslHead, 0x22, 0, 2, 65])),
    tlv(0x05, 'x'),
  ),
  'with one byte after the values within TLS': tcp4(tlv(0x20, Buffer.from([...sslHead, 0]))),
  'with two common names': tcp4(ssl(0x07, 0, tlv(0x22, 'alice'), tlv(0x22, 'bob'))),
  'with a NUL in its common name': tcp4(ssl(0x07, 0, tlv(0x22, 'alice\0.evil.test'))),
})) {
  test(`a header ${what} is malformed`, (t) => {
    t.throws(() => parse(bytes), malformed)
  })
}

test('a unique ID of 128 bytes is the longest', (t) => {
  t.is(proxied(tcp4(tlv(0x05, Buffer.alloc(128)))).uniqueId?.length, 128)
})

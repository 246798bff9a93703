import test from 'ava'
import fc from 'fast-check'
import { alternativeNamesOf } from '../../src/identity/alternative-names.ts'

const tags = { email: 0x81, dns: 0x82, uri: 0x86, ip: 0x87 } as const

/** An element of DER with a short or a long length. */
function der(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(content.length)
  return Buffer.concat([Buffer.from([tag, 0x84]), length, content])
}

const names = (...parts: readonly Buffer[]): Buffer => der(0x30, Buffer.concat(parts))
const name = (kind: keyof typeof tags, bytes: Buffer | string): Buffer =>
  der(tags[kind], Buffer.from(bytes as string, 'latin1'))

test('names are read back by kind, in their order, whatever bytes they have', (t) => {
  const kind = fc.constantFrom('email', 'dns', 'uri')
  const text = fc
    .uint8Array({ maxLength: 200 })
    .map((bytes) => Buffer.from(bytes).toString('latin1'))
  fc.assert(
    fc.property(fc.array(fc.tuple(kind, text), { minLength: 1 }), (given) => {
      const read = alternativeNamesOf(names(...given.map(([type, value]) => name(type, value))))
      const of = (wanted: string) =>
        given.filter(([type]) => type === wanted).map(([, value]) => value)
      t.deepEqual(read, { email: of('email'), dns: of('dns'), uri: of('uri'), ip: [] })
    }),
  )
})

for (const [hex, address] of [
  ['0a000001', '10.0.0.1'],
  ['00000000', '0.0.0.0'],
  ['fd000000000000000000000000000001', 'fd00::1'],
  ['00000000000000000000ffff0a000001', '10.0.0.1'],
  ['00000000000000000000000000000000', '::'],
  ['20010db8000000010001000000000001', '2001:db8:0:1:1::1'],
] as const) {
  test(`the address ${hex} is ${address}`, (t) => {
    t.deepEqual(alternativeNamesOf(names(name('ip', Buffer.from(hex, 'hex')))).ip, [address])
  })
}

test('names of the five other kinds are passed over', (t) => {
  const others = [0xa0, 0xa3, 0xa4, 0xa5, 0x88].map((tag) => der(tag, Buffer.from([5, 0])))
  const read = alternativeNamesOf(names(...others, name('dns', 'bob')))
  t.deepEqual(read, { email: [], dns: ['bob'], uri: [], ip: [] })
})

for (const [what, bytes] of [
  ['nothing', Buffer.alloc(0)],
  ['no name', names()],
  ['no list', name('dns', 'alice')],
  ['a second list', Buffer.concat([names(name('dns', 'a')), names(name('dns', 'b'))])],
  ['bytes after the list', Buffer.concat([names(name('dns', 'a')), Buffer.from([0])])],
  ['a tag of no name', names(name('dns', 'a'), der(0x89, Buffer.from('b')))],
  ['a constructed name', names(der(0xa2, name('dns', 'a')))],
  ['a name of indefinite length', names(Buffer.from([0x82, 0x80, 0x61, 0, 0]))],
  ['an address of five bytes', names(name('ip', Buffer.alloc(5)))],
  ['an address with its mask', names(name('ip', Buffer.alloc(8)))],
] as const) {
  test(`${what} is not read as names`, (t) => {
    t.throws(() => alternativeNamesOf(bytes), { message: /^its DER/ })
  })
}

test('names that are cut at any byte are not read', (t) => {
  const whole = names(
    name('dns', 'alice'),
    name('ip', Buffer.alloc(16)),
    name('uri', 'x'.repeat(300)),
  )
  for (let length = 0; length < whole.length; length++) {
    t.throws(() => alternativeNamesOf(whole.subarray(0, length)))
  }
})

test('no bytes make the reader hang, or throw anything but an error', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        alternativeNamesOf(Buffer.from(bytes))
        t.pass()
      } catch (error) {
        t.true(error instanceof Error)
      }
    }),
    { numRuns: 1_000 },
  )
})

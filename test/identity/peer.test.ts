import test from 'ava'
import fc from 'fast-check'
import { X509Certificate } from 'node:crypto'
import { isIPv4, isIPv6 } from 'node:net'
import { Peer } from '../../src/identity/peer.ts'
import { canonicalAddress } from '../../src/streams/endpoint.ts'
import { contents } from '../support/certificates.ts'
import { anyCharacter } from '../support/characters.ts'

function peer(name: string): Peer {
  return new Peer(new X509Certificate(contents(`${name}.crt`)))
}

test('a peer has its names by kind, with addresses in one spelling', (t) => {
  t.deepEqual(peer('alice').names, {
    dns: ['alice'],
    uri: ['spiffe://acme/alice'],
    email: ['alice@acme.test'],
    ip: ['10.0.0.1', '10.0.0.2', 'fd00::1'],
  })
})

test('a peer has what its certificate says', (t) => {
  const alice = peer('alice')
  t.is(alice.name, 'alice')
  t.deepEqual(alice.organization, ['Acme'])
  t.deepEqual(alice.organizationalUnit, ['ops'])
  t.regex(alice.fingerprint256, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/)
  t.regex(alice.serialNumber, /^[0-9A-F]+$/)
  t.is(alice.issuer, 'CN=root')
  t.true(alice.validFrom.getTime() <= Date.now())
  t.true(alice.validTo.getTime() > Date.now())
  t.true(alice.certificate instanceof X509Certificate)
  t.is(alice.defect, null)
})

test('a peer without a subject has no name, and its other names', (t) => {
  const nameless = peer('sanOnly')
  t.is(nameless.name, null)
  t.deepEqual(nameless.organization, [])
  t.deepEqual(nameless.names.dns, ['alice'])
  t.is(nameless.defect, null)
})

for (const file of ['twoNames', 'twoNamesReversed', 'multiValued']) {
  test(`a peer with two common names (${file}) has no name, and a defect`, (t) => {
    t.is(peer(file).name, null)
    t.regex(peer(file).defect ?? '', /more than one common name/)
  })
}

for (const file of ['nulUtf8', 'nulBmp', 'nulT61', 'nulUnit', 'nulDns']) {
  test(`a peer with a NUL (${file}) has a defect`, (t) => {
    t.regex(peer(file).defect ?? '', /NUL/)
    if (file.startsWith('nul') && !/Unit|Dns/.test(file)) t.is(peer(file).name, null)
  })
}

test('CVE-2021-44532: a URI with a comma in it is one name', (t) => {
  t.deepEqual(peer('sanInjection').names, {
    dns: [],
    uri: ['http://x/, DNS:alice'],
    email: [],
    ip: [],
  })
})

test('a DNS name with quotes and a comma in it is one name', (t) => {
  t.deepEqual(peer('quotes').names.dns, ['x", DNS:"alice', 'b'])
})

test('names of other kinds are passed over, whatever they hold', (t) => {
  const { names, name, defect } = peer('otherNames')
  t.is(defect, null)
  t.is(name, null)
  t.deepEqual(names, { dns: ['bob'], uri: [], email: [], ip: [] })
})

for (const file of ['oddAddress', 'noAddress', 'noNames', 'namesTwice']) {
  test(`alternative names that cannot be read (${file}) are a defect`, (t) => {
    t.regex(peer(file).defect ?? '', /alternative names .* cannot be read/)
    t.deepEqual(peer(file).names, { dns: [], uri: [], email: [], ip: [] })
  })
}

for (const file of ['bitString', 'sequenceName', 'bitStringUnit', 'constructedName']) {
  test(`a subject with a name that cannot be read (${file}) is a defect, and no name`, (t) => {
    t.regex(peer(file).defect ?? '', /subject .* cannot be read/)
    t.is(peer(file).name, null)
    t.deepEqual(peer(file).organizationalUnit, [])
  })
}

for (const [file, name] of [
  ['t61', 'ålice'],
  ['universal', 'alice ☃'],
] as const) {
  test(`a name in any type of string that has text is read (${file})`, (t) => {
    t.is(peer(file).name, name)
    t.is(peer(file).defect, null)
  })
}

test('a name in UTF-8 and one in a BMPString are read', (t) => {
  t.is(peer('unicode').name, 'älice ☃')
  t.is(peer('bmp').name, 'alice')
})

for (const [address, canonical] of [
  ['10.0.0.1', '10.0.0.1'],
  ['::ffff:10.0.0.1', '10.0.0.1'],
  ['::FFFF:a00:1', '10.0.0.1'],
  ['0:0:0:0:0:FFFF:A00:1', '10.0.0.1'],
  ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
  ['0:0:0:0:0:0:0:1', '::1'],
  ['::', '::'],
  ['example.org', 'example.org'],
  ['', ''],
  ['10.0.0.256', '10.0.0.256'],
] as const) {
  test(`the address ${JSON.stringify(address)} is written ${JSON.stringify(canonical)}`, (t) => {
    t.is(canonicalAddress(address), canonical)
  })
}

test('an address of a link keeps its zone out of the way of an error', (t) => {
  t.notThrows(() => canonicalAddress('fe80::1%eth0'))
})

test('an address in any spelling has one canonical one, which is an address', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (address) => {
      const canonical = canonicalAddress(address)
      t.true(isIPv4(canonical) || isIPv6(canonical))
      t.is(canonicalAddress(canonical), canonical)
      t.is(canonicalAddress(address.toUpperCase()), canonical)
    }),
  )
})

test('no text makes an address throw', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: anyCharacter }), (text) => {
      t.is(typeof canonicalAddress(text), 'string')
    }),
  )
})

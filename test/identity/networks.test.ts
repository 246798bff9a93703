import test from 'ava'
import fc from 'fast-check'
import { isIPv4 } from 'node:net'
import { canonicalAddress, compileNetworks } from '../../src/kit.ts'

const networks = (...list: readonly string[]) => compileNetworks('test', 'trusted', list)

test('an address is in a network that has its first bits', (t) => {
  const holds = networks('10.0.0.0/8', '192.168.7.7', 'fd00::/8', '2001:db8::1')
  for (const inside of ['10.0.0.0', '10.255.255.255', '192.168.7.7', 'fdff::', '2001:DB8:0::1']) {
    t.true(holds(inside), inside)
  }
  for (const outside of ['11.0.0.0', '192.168.7.8', 'fe00::', '2001:db8::2']) {
    t.false(holds(outside), outside)
  }
})

test('an IPv4 address that is written as IPv6 is the IPv4 address, on both sides', (t) => {
  t.true(networks('10.0.0.0/8')('::ffff:10.1.2.3'))
  t.true(networks('10.0.0.0/8')('::FFFF:0a01:0203'))
  t.true(networks('::ffff:10.0.0.0/104')('10.1.2.3'))
  t.false(networks('::ffff:10.0.0.0/104')('11.1.2.3'))
  t.true(networks('::ffff:10.1.2.3')('10.1.2.3'))
})

test('a network of one family never has an address of the other', (t) => {
  t.false(networks('0.0.0.0/0')('::1'))
  t.false(networks('::/0')('127.0.0.1'))
  t.false(networks('::/0')('::ffff:127.0.0.1'))
})

test('a link-local address is found whatever its zone', (t) => {
  t.true(networks('fe80::/10')('fe80::1%eth0'))
})

test('of no networks, and of no address, it never holds', (t) => {
  t.false(networks()('127.0.0.1'))
  t.false(networks('0.0.0.0/0', '::/0')(null))
  t.false(networks('0.0.0.0/0', '::/0')('localhost'))
})

test('an address is in every network that it makes with a length', (t) => {
  const address = fc.oneof(fc.ipV4(), fc.ipV6())
  fc.assert(
    fc.property(address, fc.nat(32), (one, length) => {
      const mapped = one.includes(':') && isIPv4(canonicalAddress(one))
      t.true(networks(`${one}/${mapped ? 96 + length : length}`)(one))
    }),
    { seed: 1, numRuns: 500 },
  )
})

for (const wrong of [
  '10.0.0.0/33',
  '::/129',
  '::ffff:10.0.0.0/95',
  '10.0.0/8',
  '10.0.0.0/',
  '10.0.0.0/-1',
  '10.0.0.0/8 ',
  '010.0.0.0/8',
  'fe80::1%eth0',
  'localhost',
  '',
  7,
  null,
]) {
  test(`${JSON.stringify(wrong)} is no network`, (t) => {
    t.throws(() => compileNetworks('test', 'trusted', [wrong as string]), {
      code: 'ERR_CIO_OPTION',
      message: /^test: expected `trusted` to be addresses and networks/,
    })
  })
}

test('a text in place of an array is refused', (t) => {
  const one = '10.0.0.0/8' as unknown as readonly string[]
  t.throws(() => compileNetworks('test', 'trusted', one), { code: 'ERR_CIO_OPTION' })
})

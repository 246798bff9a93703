import test from 'ava'
import { AddressRates, keyOf } from '../../../middleware/limit/address.ts'

for (const [address, network] of [
  ['192.0.2.1', '192.0.2.1'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
  ['2001:db8::1:0:0:5', '2001:db8::/64'],
  ['2001:db8::', '2001:db8::/64'],
  ['1::', '1::/64'],
  ['::1', '::/64'],
  ['::', '::/64'],
  ['fe80::1', 'fe80::/64'],
  ['64:ff9b::102:304', '64:ff9b::/64'],
] as const) {
  test(`${address} counts as ${network}`, (t) => {
    t.is(keyOf(address), network)
  })
}

test('a million addresses take bounded memory', (t) => {
  const most = 10_000
  const rates = new AddressRates({ count: 2, per: 60_000 }, most)
  let now = 0
  let largest = 0
  for (let address = 0; address < 1_000_000; address++) {
    now += 0.01
    rates.take(`10.${address >> 16}.${(address >> 8) & 255}.${address & 255}`, now)
    largest = Math.max(largest, rates.size)
  }
  t.true(largest <= most, String(largest))
})

test('an address that keeps coming is remembered through a flood of a million others', (t) => {
  const rates = new AddressRates({ count: 2, per: 60_000 }, 10_000)
  let admitted = 0
  for (let address = 0; address < 1_000_000; address++) {
    rates.take(`2001:db8:${address >> 16}:${address & 65_535}::/64`, 1)
    if (address % 1_000 === 0 && rates.take('192.0.2.1', 1)) admitted++
  }
  t.is(admitted, 2)
})

test('what a flood has left goes once its time has passed', (t) => {
  const rates = new AddressRates({ count: 2, per: 1_000 }, 10_000)
  for (let address = 0; address < 20_000; address++) rates.take(String(address), 1)
  t.true(rates.size > 1_000)
  rates.take('192.0.2.1', 1_001)
  rates.take('192.0.2.1', 2_001)
  rates.take('192.0.2.2', 3_001)
  t.true(rates.size <= 3, String(rates.size))
})

test('each address has a rate of its own', (t) => {
  const rates = new AddressRates({ count: 1, per: 1_000 }, 10)
  t.deepEqual(
    ['a', 'a', 'b', 'b'].map((address) => rates.take(address, 1)),
    [true, false, true, false],
  )
  t.true(rates.take('a', 1_001))
})

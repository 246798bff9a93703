/** What `msgpack` makes of the formats of the MessagePack specification, at the edges of each. */

import test from 'ava'
import { inspect, isDeepStrictEqual } from 'node:util'
import { msgpack } from '../../middleware/msgpack.ts'
import { everyCut } from '../support/every-cut.ts'
import { receiveHere } from '../support/receive.ts'

type Vector = readonly [hex: string, value: unknown]

const forms = {
  'by default': {},
  'without records': { useRecords: false },
  'with all that it can read': { moreTypes: true, structuredClone: true },
}

const x = (count: number): string => '78'.repeat(count)
const text = (count: number): string => 'x'.repeat(count)
const nils = (count: number): null[] => Array.from({ length: count }, () => null)
const maps = (count: number): string =>
  Array.from({ length: count }, (_, key) => `cd${key.toString(16).padStart(4, '0')}c0`).join('')
const mapOf = (count: number): Record<string, null> =>
  Object.fromEntries(nils(count).map((value, key) => [String(key), value]))

/** Each format at its least and greatest, and in a longer form than it needs. */
const vectors: Readonly<Record<string, readonly Vector[]>> = {
  'nil and booleans': [
    ['c0', null],
    ['c2', false],
    ['c3', true],
  ],
  'positive fixint': [
    ['00', 0],
    ['01', 1],
    ['3f', 63],
    ['40', 64],
    ['7f', 127],
  ],
  'negative fixint': [
    ['ff', -1],
    ['f0', -16],
    ['e0', -32],
  ],
  uint: [
    ['cc00', 0],
    ['cc7f', 127],
    ['cc80', 128],
    ['ccff', 255],
    ['cd0000', 0],
    ['cd0100', 256],
    ['cdffff', 65_535],
    ['ce00000000', 0],
    ['ce00010000', 65_536],
    ['ceffffffff', 4_294_967_295],
    ['cf0000000000000000', 0n],
    ['cf0000000100000000', 4_294_967_296n],
    ['cf001fffffffffffff', 9_007_199_254_740_991n],
    ['cf7fffffffffffffff', 9_223_372_036_854_775_807n],
    ['cf8000000000000000', 9_223_372_036_854_775_808n],
    ['cfffffffffffffffff', 18_446_744_073_709_551_615n],
  ],
  int: [
    ['d000', 0],
    ['d07f', 127],
    ['d0df', -33],
    ['d080', -128],
    ['d0ff', -1],
    ['d10000', 0],
    ['d17fff', 32_767],
    ['d1ff7f', -129],
    ['d18000', -32_768],
    ['d1ffff', -1],
    ['d200000000', 0],
    ['d27fffffff', 2_147_483_647],
    ['d2ffff7fff', -32_769],
    ['d280000000', -2_147_483_648],
    ['d2ffffffff', -1],
    ['d30000000000000000', 0n],
    ['d37fffffffffffffff', 9_223_372_036_854_775_807n],
    ['d3ffffffff7fffffff', -2_147_483_649n],
    ['d38000000000000000', -9_223_372_036_854_775_808n],
    ['d3ffffffffffffffff', -1n],
  ],
  float: [
    ['ca00000000', 0],
    ['ca80000000', -0],
    ['ca3fc00000', 1.5],
    ['cabfc00000', -1.5],
    ['ca00000001', 1.401_298_464_324_817e-45],
    ['ca7f7fffff', 3.402_823_466_385_288_6e38],
    ['ca7f800000', Infinity],
    ['caff800000', -Infinity],
    ['ca7fc00000', NaN],
    ['cb0000000000000000', 0],
    ['cb8000000000000000', -0],
    ['cb3ff199999999999a', 1.1],
    ['cb0000000000000001', Number.MIN_VALUE],
    ['cb7fefffffffffffff', Number.MAX_VALUE],
    ['cb7ff0000000000000', Infinity],
    ['cbfff0000000000000', -Infinity],
    ['cb7ff8000000000000', NaN],
  ],
  str: [
    ['a0', ''],
    ['a161', 'a'],
    [`bf${x(31)}`, text(31)],
    ['a2c3bc', 'ü'],
    ['a4f09f9880', '😀'],
    ['a100', '\0'],
    ['d900', ''],
    ['d90161', 'a'],
    [`d920${x(32)}`, text(32)],
    [`d9ff${x(255)}`, text(255)],
    ['da0000', ''],
    ['da000161', 'a'],
    [`da0100${x(256)}`, text(256)],
    [`daffff${x(65_535)}`, text(65_535)],
    ['db00000000', ''],
    ['db0000000161', 'a'],
    [`db00010000${x(65_536)}`, text(65_536)],
  ],
  bin: [
    ['c400', Buffer.alloc(0)],
    ['c40100', Buffer.from([0])],
    [`c4ff${x(255)}`, Buffer.from(text(255))],
    ['c50000', Buffer.alloc(0)],
    ['c50001ff', Buffer.from([255])],
    [`c50100${x(256)}`, Buffer.from(text(256))],
    [`c5ffff${x(65_535)}`, Buffer.from(text(65_535))],
    ['c600000000', Buffer.alloc(0)],
    ['c60000000180', Buffer.from([128])],
    [`c600010000${x(65_536)}`, Buffer.from(text(65_536))],
  ],
  array: [
    ['90', []],
    ['91c0', [null]],
    [`9f${'c0'.repeat(15)}`, nils(15)],
    ['dc0000', []],
    ['dc0001c0', [null]],
    [`dc0010${'c0'.repeat(16)}`, nils(16)],
    [`dcffff${'c0'.repeat(65_535)}`, nils(65_535)],
    ['dd00000000', []],
    ['dd00000001c0', [null]],
    [`dd00010000${'c0'.repeat(65_536)}`, nils(65_536)],
    ['9391c09190c0', [[null], [[]], null]],
  ],
  map: [
    ['80', {}],
    ['81a161c0', { a: null }],
    ['8101c0', { 1: null }],
    ['81a0c0', { '': null }],
    ['82a16101a16102', { a: 2 }],
    [`8f${maps(15)}`, mapOf(15)],
    ['de0000', {}],
    ['de0001a161c0', { a: null }],
    [`de0010${maps(16)}`, mapOf(16)],
    [`de03e8${maps(1_000)}`, mapOf(1_000)],
    ['df00000000', {}],
    ['df00000001a161c0', { a: null }],
    ['81a16181a16281a163c0', { a: { b: { c: null } } }],
    ['81a1619301a16280', { a: [1, 'b', {}] }],
  ],
  timestamp: [
    ['d6ff00000000', new Date(0)],
    ['d6ff514b67b0', new Date(1_363_896_240_000)],
    ['d6ffffffffff', new Date(4_294_967_295_000)],
    ['d7ff0000000000000000', new Date(0)],
    ['d7ff7735940000000001', new Date(1_500)],
    ['d7ff00000003ffffffff', new Date(17_179_869_183_000)],
    ['c70cff000000000000000000000000', new Date(0)],
    ['c70cff1dcd65000000000000000001', new Date(1_500)],
    ['c70cff00000000ffffffffffffffff', new Date(-1_000)],
    ['c70cff000000000000000400000000', new Date(17_179_869_184_000)],
  ],
}

/** What is no value of MessagePack, or of more than follows. */
const refused: Readonly<Record<string, readonly [code: string, ...hexes: string[]]>> = {
  'the byte that the specification never uses': ['ERR_CIO_SYNTAX', 'c1', '91c1', '81a161c1'],
  'input that ends in the header': [
    'ERR_CIO_TRUNCATED',
    'cc',
    'cd00',
    'ce000000',
    'cf00000000000000',
    'd0',
    'd100',
    'd2000000',
    'd300000000000000',
    'ca000000',
    'cb00000000000000',
    'c4',
    'c500',
    'c6000000',
    'c7',
    'c701',
    'c80001',
    'c900000001',
    'd4',
    'd4ff',
    'd9',
    'da00',
    'db000000',
    'dc00',
    'dd000000',
    'de00',
    'df000000',
  ],
  'input that ends in the content': [
    'ERR_CIO_TRUNCATED',
    'a1',
    'bf78',
    'd90261',
    'c40200',
    'c5000200',
    '91',
    '9201',
    'dc0001',
    '81',
    '81a161',
    'de0001a161',
    'd6ff000000',
    'd7ff00000000000000',
    'c70cff0000000000000000000000',
  ],
  'an extension of the application that is not registered': [
    'ERR_CIO_SYNTAX',
    'd40100',
    'd5010000',
    'd60100000000',
    'd7010000000000000000',
    `d801${'00'.repeat(16)}`,
    'c70001',
    'c7030100ff00',
    'c8000301000000',
    'c900000003017f7f7f',
    'd47f00',
    'd48000',
  ],
}

for (const [form, options] of Object.entries(forms)) {
  for (const [format, group] of Object.entries(vectors)) {
    test(`${format} is read ${form}`, async (t) => {
      for (const [hex, value] of group) {
        const bytes = Buffer.from(hex, 'hex')
        const shown = hex.slice(0, 40)
        for (const pieces of everyCut(bytes)) {
          const { messages, error } = await receiveHere(msgpack(options), pieces)
          t.is(error, undefined, shown)
          // AVA's own comparison takes seconds for an array of 65,536.
          t.true(isDeepStrictEqual(messages, [value]), `${shown}: ${inspect(messages)}`)
        }
      }
      const all = Buffer.from(group.map(([hex]) => hex).join(''), 'hex')
      const { messages } = await receiveHere(msgpack(options), [all])
      const values = group.map(([, value]) => value)
      t.true(isDeepStrictEqual(messages, values), inspect(messages))
    })
  }

  for (const [name, [code, ...hexes]] of Object.entries(refused)) {
    test(`${name} is refused ${form}`, async (t) => {
      for (const hex of hexes) {
        for (const pieces of everyCut(Buffer.from(`c3${hex}`, 'hex'))) {
          const { messages, error } = await receiveHere(msgpack(options), pieces)
          t.deepEqual(messages, [true], hex)
          t.is(error?.code, code, hex)
          t.is(error?.fault, 'remote', hex)
        }
      }
    })
  }
}

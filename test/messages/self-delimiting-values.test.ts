import test from 'ava'
import fc from 'fast-check'
import { type CioError } from '../../src/index.ts'
import { FrameDecoder, type ValueFormat, SelfDelimitingValues } from '../../src/kit.ts'

type Value = number | readonly Value[]

const [lists, record, wrong] = [0x80, 0xf0, 0xff]

let ids = 0
const mostIds = 20
const keyLength = 5_000

/** A format of bytes below 0x80, of lists (0x80 and their length), and of records (0xf0). */
class Toys extends SelfDelimitingValues<Value> {
  protected override scan(bytes: Buffer, start: number): number {
    let at = start + this.seen
    let { left } = this
    for (;;) {
      if (left === 0) left = this.leave()
      if (left === 0 || at >= bytes.length)
        return this.pause(at - start, left, at + Math.min(left, 1))
      const token = bytes[at]!
      if (token === wrong) throw this.malformed('is wrong')
      if (token === record) {
        this.define(ids++ % mostIds, 2)
        for (let key = 0; key < 2; key++) this.key(keyLength)
      }
      at += 1
      left = this.after(left)
      const items = token > lists && token < record ? token - lists : 0
      if (items > 0) left = this.enter(items, left)
    }
  }
}

function decode(region: Buffer): Value[] {
  let at = 0
  const one = (): Value => {
    const token = region[at++]!
    if (token < lists || token >= record) return token
    return Array.from({ length: token - lists }, one)
  }
  const values: Value[] = []
  while (at < region.length) values.push(one())
  return values
}

function encode(value: Value): number[] {
  if (typeof value === 'number') return [value]
  return [lists + value.length, ...value.flatMap(encode)]
}

interface Outcome {
  readonly values: Value[]
  readonly error: CioError | undefined
}

/** What comes of these chunks, up to the end of input or the first error. */
function decoded(
  chunks: readonly (Buffer | readonly number[])[],
  options: Partial<ValueFormat<Value>> = {},
): Outcome {
  const format = { owner: 'toys', name: 'Toy', maxLength: 1_000, maxDepth: 8, decode }
  const decoder = new FrameDecoder<Value>('toys', new Toys({ ...format, ...options }))
  const values: Value[] = []
  try {
    for (const chunk of chunks) decoder.decode(Buffer.from(chunk), values)
    decoder.end()
    return { values, error: undefined }
  } catch (error) {
    return { values, error: error as CioError }
  }
}

const { value: anyValue } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.nat(lists - 1),
    fc.array(tie('value'), { maxLength: 5 }) as fc.Arbitrary<Value>,
  ),
}))

test('values are the same wherever the input is cut', (t) => {
  fc.assert(
    fc.property(fc.array(anyValue, { maxLength: 5 }), fc.array(fc.nat(20)), (values, cuts) => {
      let rest = Buffer.from(values.flatMap(encode))
      const pieces = cuts.map((cut) => {
        const piece = rest.subarray(0, cut)
        rest = rest.subarray(cut)
        return piece
      })
      const options = { maxLength: Infinity }
      t.deepEqual(decoded([...pieces, rest], options), { values, error: undefined })
    }),
  )
})

test('a value that goes on is not looked at twice', (t) => {
  const bytes = Buffer.from([lists + 100, ...Array.from({ length: 100 }, (_, index) => index)])
  let looks = 0
  const counted = new Proxy(bytes, {
    get(target, key) {
      if (typeof key === 'string' && /^\d+$/.test(key)) looks++
      return Reflect.get(target, key, target) as unknown
    },
  })
  const toys = new Toys({ owner: 'toys', name: 'Toy', maxLength: 1_000, maxDepth: 8, decode })
  for (let length = 1; length < bytes.length; length++) {
    const part = new Proxy(counted, {
      get: (target, key) => (key === 'length' ? length : (Reflect.get(target, key) as unknown)),
    })
    t.is(toys.end(part, 0, 0), length + 1)
  }
  t.is(toys.end(counted, 0, 0), bytes.length)
  t.is(looks, bytes.length)
})

test('a value that reaches beyond maxLength is refused before it is there', (t) => {
  const options = { maxLength: 10 }
  t.is(decoded([[lists + 9, ...Array<number>(9).fill(1)]], options).error, undefined)
  t.is(decoded([[1], [lists + 10]], options).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('a value that promises too much is refused alike wherever the input is cut', (t) => {
  const bytes = [lists + 10, lists + 1]
  for (const chunks of [[bytes], [[lists + 10], [lists + 1]]]) {
    t.is(decoded(chunks, { maxLength: 10 }).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  }
})

test('values nested deeper than maxDepth are refused, also in pieces', (t) => {
  const nested = [...Array<number>(8).fill(lists + 1), 1]
  t.is(decoded([nested]).error, undefined)
  for (const chunks of [[[lists + 1, ...nested]], [[lists + 1], nested]]) {
    const { error } = decoded(chunks)
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.fault, 'remote')
    t.regex(error!.message, /maxDepth/)
  }
})

test('what is malformed is told with its offset, after the values before it', (t) => {
  const { values, error } = decoded([
    [1, lists + 2],
    [2, 3, 4, lists + 1, wrong],
  ])
  t.deepEqual(values, [1, [2, 3], 4])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.regex(error!.message, /at byte 5 is wrong: "81ff"/)
})

test('what cannot be made is told with its offset, after the values that could', (t) => {
  const cause = Object.assign(new Error('no'), { values: [1, 2], lastPosition: 2 })
  const { values, error } = decoded(
    [
      [lists + 1, 0],
      [1, 2, 3],
    ],
    {
      decode: (region) => {
        if (region.length === 2) return [0]
        throw cause
      },
    },
  )
  t.deepEqual(values, [0, 1, 2])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.is(error?.cause, cause)
  t.regex(error!.message, /at byte 4 is well-formed Toy that is not supported: "03"/)
})

test('values that are not as many as were found are refused', (t) => {
  const { values, error } = decoded([[1, 2]], { decode: () => [1] })
  t.deepEqual(values, [1])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('all records together are bounded, by 64 KiB at least', (t) => {
  const { values, error } = decoded(Array.from({ length: 20 }, () => [record]))
  t.is(values.length, 6)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.is(decoded([Buffer.alloc(15, record)], { maxLength: 200_000 }).error, undefined)
})

test('a record takes the place of the one with its number', (t) => {
  const many = Buffer.alloc(1_000, record)
  t.is(decoded([many], { maxLength: mostIds * 11_000 }).error, undefined)
})

import test from 'ava'
import { type CioError } from '../../src/index.ts'
import { type Framing, valueCodec } from '../../src/kit.ts'

test('an encoder is made with the first message, and anew after it threw', (t) => {
  let made = 0
  const encoder = () => {
    made += 1
    const told = new Set<number>()
    return (message: number) => {
      const known = told.has(message)
      told.add(message)
      if (message < 0) throw new RangeError('below 0')
      return Buffer.of(known ? 1 : 0, message)
    }
  }
  const library = { maxLength: 10, hasState: true, encoder, values }
  const encode = valueCodec<number, number>('toys', library).encoder()
  t.is(made, 0)
  t.deepEqual([encode(7), encode(7)], [Buffer.of(0, 7), Buffer.of(1, 7)])
  t.is(made, 1)
  const error = t.throws<CioError>(() => encode(-1), { code: 'ERR_CIO_ENCODE' })
  t.is(error.fault, 'local')
  t.true(error.cause instanceof RangeError)
  t.deepEqual([encode(7), encode(7)], [Buffer.of(0, 7), Buffer.of(1, 7)])
  t.is(made, 2)
})

test('connections share an encoder without state, and have one each with it', (t) => {
  const encoder = () => (message: number) => Buffer.of(message)
  for (const hasState of [false, true]) {
    const codec = valueCodec<number, number>('toys', { maxLength: 10, hasState, encoder, values })
    t.is(codec.encoder() === codec.encoder(), !hasState)
    t.is(codec.bordered?.encoder, codec.encoder)
  }
})

function values(): Framing<number> {
  throw new Error('nothing is read here')
}

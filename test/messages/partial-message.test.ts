import test from 'ava'
import fc from 'fast-check'
import { PartialMessage } from '../../src/kit.ts'

test('a remainder gives back what was put in, however it came', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 })), fc.uint8Array(), (pieces, last) => {
      const remainder = new PartialMessage()
      for (const piece of pieces) remainder.append(Buffer.from(piece))
      const all = Buffer.concat([...pieces, last])
      t.is(remainder.length, all.length - last.length)
      t.deepEqual(Buffer.from(remainder.take(Buffer.from(last))), all)
      t.is(remainder.length, 0)
    }),
  )
})

test('what was taken is not overwritten by what comes after', (t) => {
  const remainder = new PartialMessage()
  remainder.append(Buffer.from('one'))
  const taken = remainder.take(Buffer.from(' two'))
  remainder.append(Buffer.from('three'))
  t.is(taken.toString(), 'one two')
})

test('what was dropped is gone, what is left comes back, and memory follows what is left', (t) => {
  const step = fc.record({ piece: fc.uint8Array({ maxLength: 3_000 }), dropped: fc.nat(4_000) })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const remainder = new PartialMessage()
      let all = Buffer.alloc(0)
      for (const { piece, dropped } of steps) {
        remainder.append(Buffer.from(piece))
        all = Buffer.concat([all, piece])
        const before = remainder.bytes
        const copy = Buffer.from(before)
        remainder.drop(dropped)
        all = all.subarray(dropped)
        t.deepEqual(Buffer.from(remainder.bytes), Buffer.from(all))
        t.deepEqual(before, copy)
        t.true(remainder.bytes.buffer.byteLength <= Math.max(4 * all.length, 2_048))
      }
    }),
  )
})

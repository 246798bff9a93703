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

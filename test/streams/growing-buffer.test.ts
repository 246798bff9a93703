import test from 'ava'
import { GrowingBuffer } from '../../src/streams/growing-buffer.ts'
import { growth } from '../support/cost.ts'

test('pieces are joined in their order, and what was handed out does not change', (t) => {
  const buffer = new GrowingBuffer(Buffer.from('one'))
  const before = buffer.bytes
  for (const piece of [' two', '', ' three', ' four'.repeat(100)]) buffer.append(Buffer.from(piece))
  t.is(buffer.bytes.toString(), `one two three${' four'.repeat(100)}`)
  t.is(buffer.length, buffer.bytes.length)
  t.is(before.toString(), 'one')
  t.is(new GrowingBuffer().bytes.length, 0)
})

test('it holds at most twice what it was given, or 64 bytes', (t) => {
  const buffer = new GrowingBuffer()
  for (let length = 1; length <= 5_000; length++) {
    buffer.append(Buffer.of(length % 256))
    t.true(buffer.bytes.buffer.byteLength <= Math.max(64, 2 * length), String(length))
  }
  t.true(buffer.bytes.every((byte, index) => byte === (index + 1) % 256))
})

test.serial('single bytes cost what they are, whatever came before them', async (t) => {
  const byte = Buffer.of(1)
  const work = (bytes: number): void => {
    const buffer = new GrowingBuffer()
    for (let i = 0; i < bytes; i++) buffer.append(byte)
  }
  t.true((await growth(work, 50_000, 8)) < 24)
})

import test from 'ava'
import fc from 'fast-check'
import { LineDecoder } from '../../src/kit.ts'

test('a million pieces of one byte are put together in bounded time', (t) => {
  const decoder = new LineDecoder('test', 2_000_000, (line) => line)
  const lines: string[] = []
  const piece = Buffer.from('x')
  const start = process.cpuUsage()
  for (let count = 0; count < 1_000_000; count++) decoder.decode(piece, lines)
  decoder.decode(Buffer.from('\n'), lines)
  t.is(lines[0]?.length, 1_000_000)
  // Putting them together anew for each piece would take minutes.
  t.true(process.cpuUsage(start).user < 5_000_000)
})

test('lines are those of a slow obvious splitter, however the input is cut', (t) => {
  const text = fc.string({ unit: fc.constantFrom('a', '\n', '\r', 'é', '☃', '😀') })
  fc.assert(
    fc.property(text, fc.array(fc.nat(40)), (input, cuts) => {
      const bytes = Buffer.from(input)
      const decoder = new LineDecoder('test', 1_000, (line) => line)
      const lines: string[] = []
      let at = 0
      for (const cut of cuts) {
        decoder.decode(bytes.subarray(at, at + cut), lines)
        at = Math.min(at + cut, bytes.length)
      }
      decoder.decode(bytes.subarray(at), lines)
      decoder.end(lines)
      const expected = input.split('\n')
      if (expected.at(-1) === '') expected.pop()
      t.deepEqual(
        lines,
        expected.map((line) => line.replace(/\r$/, '')),
      )
    }),
  )
})

test('the offset of every line is the one of its first byte', (t) => {
  const text = fc.string({ unit: fc.constantFrom('a', '\n', 'é', '\r') })
  fc.assert(
    fc.property(text, fc.nat(20), (input, cut) => {
      const bytes = Buffer.from(input)
      const found: number[] = []
      const decoder = new LineDecoder('test', 1_000, (_, at) => void found.push(at()))
      decoder.decode(bytes.subarray(0, cut), [])
      decoder.decode(bytes.subarray(cut), [])
      decoder.end([])
      const expected = [
        0,
        ...[...bytes.entries()].flatMap(([at, byte]) => (byte === 10 ? [at + 1] : [])),
      ]
      if (expected.at(-1) === bytes.length) expected.pop()
      t.deepEqual(found, expected)
    }),
  )
})

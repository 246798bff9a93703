/** Each format of docs/wires.md, read from the page and run with its frames. */

import test from 'ava'
import { checkValues } from './fixtures/wires/checksums.ts'
import { vectors } from './fixtures/wires/vectors.ts'
import { decodeFrames, encodeFrame, everyCut, singly } from './support/frame-input.ts'
import { formats, functions } from './support/wires-page.ts'

const mostLines = 10
const leastFormats = 60
test('the page has the formats of the vectors, and no other', (t) => {
  t.true(formats.length >= leastFormats)
  t.deepEqual(
    formats.map(({ name }) => name),
    vectors.map(({ name }) => name),
  )
})

test('the checksums of the page have the values of the catalogue', (t) => {
  const found = Object.entries(checkValues).filter(([name]) => name in functions)
  t.true(found.length > 6)
  for (const [name, value] of found) {
    t.is((functions[name] as (bytes: Uint8Array) => number)(Buffer.from('123456789')), value, name)
  }
})

for (const name of ['resp', 'headersThenBody', 'stomp', 'nats', 'memcached', 'imap']) {
  test(`${name}: a line in single bytes is looked at once`, (t) => {
    const measure = functions[name] as (bytes: Buffer, kept: object) => number | undefined
    const line = Buffer.from(`+${'x'.repeat(2_000)}`)
    const kept = {}
    let looks = 0
    for (let length = 1; length <= line.length; length++) {
      const bytes = line.subarray(0, length)
      Object.assign(bytes, {
        indexOf(value: string | number, from = 0) {
          looks += length - from
          return Buffer.prototype.indexOf.call(bytes, value, from)
        },
        toString(encoding: BufferEncoding, from = 0, to = length) {
          looks += to - from
          return Buffer.prototype.toString.call(bytes, encoding, from, to)
        },
      })
      t.is(measure(bytes, kept), undefined)
    }
    t.true(looks < 10 * line.length, `${looks} bytes looked at`)
  })
}

for (const { name, code, options } of formats) {
  test(`${name}: the options of the page read and send its frames`, (t) => {
    t.true(code.trimEnd().split('\n').length <= mostLines, 'at most ten lines')
    const vector = vectors.find((one) => one.name === name)!
    for (const [index, frame] of vector.frames.entries()) {
      const payload = vector.payloads[index]!
      const three = Buffer.from(frame.repeat(3), 'hex')
      for (const chunks of [[three], singly(three), ...everyCut(three)]) {
        const { frames: found, error } = decodeFrames(options, chunks)
        t.is(error, undefined)
        t.deepEqual(found, [payload, payload, payload])
      }
      const sent = encodeFrame(options, Buffer.from(payload, 'hex'))
      t.deepEqual(decodeFrames(options, [sent]).frames, [payload])
      if (vector.encodes !== false) t.is(sent.toString('hex'), frame)
    }
  })
}

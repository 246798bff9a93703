/** Wire formats of programs and devices, beside a slow reader of the tests' own. */

import test, { type ExecutionContext } from 'ava'
import type { FormatOptions } from '../src/messages/frame-formats.ts'
import { seeded } from '../src/testing/random.ts'
import { checkValues, checksums } from './fixtures/wires/checksums.ts'
import { moreVectors } from './fixtures/wires/more-vectors.ts'
import { type WireVector, vectors as pageVectors } from './fixtures/wires/vectors.ts'
import {
  decodeFrames,
  decodeNoisy,
  encodeFrame,
  everyCut,
  randomly,
  singly,
} from './support/frame-input.ts'
import { many } from './support/long.ts'
import { readFrame } from './support/wire-oracle.ts'

const vectors: readonly WireVector[] = [...pageVectors, ...moreVectors]
const randomCuts = many(200, 10)
const noisyRounds = many(12, 2)
/** No multiple of 8: the sample has bits of every weight. */
const flips = many(1, 5)
/** As `t.deepEqual`, whose own comparison takes longer than all the decoding: it only shows a difference. */
function isSame(
  t: ExecutionContext,
  found: readonly unknown[],
  expected: readonly unknown[],
  message?: string,
): void {
  const { length } = expected
  if (found.length === length && found.every((one, at) => one === expected[at])) return
  t.deepEqual(found, expected, message)
}

const bytesOf = (hex: string): Buffer => Buffer.from(hex, 'hex')

test('the checksums have the values of the catalogue for 123456789', (t) => {
  const found = Object.keys(checkValues).map((name) => [
    name,
    checksums[name]!(Buffer.from('123456789')),
  ])
  t.deepEqual(Object.fromEntries(found), checkValues)
})

test('the slow reader finds each frame and its message', (t) => {
  for (const { name, options, frames, payloads } of vectors) {
    for (const [index, frame] of frames.entries()) {
      const { end, message } = readFrame(options, bytesOf(frame + frame))
      t.is(end, frame.length / 2, name)
      t.is(message.toString('hex'), payloads[index]!, name)
    }
  }
})

/** All frames of a format one after the other, three times, and their messages by the slow reader. */
function stream({ options, frames }: WireVector): { bytes: Buffer; messages: string[] } {
  const bytes = bytesOf([...frames, ...frames, ...frames].join(''))
  const messages: string[] = []
  for (let at = 0; at < bytes.length;) {
    const { end, message } = readFrame(options, bytes.subarray(at))
    messages.push(message.toString('hex'))
    at += end
  }
  return { bytes, messages }
}

for (const vector of vectors) {
  const { name, options, frames, payloads } = vector

  test(`${name}: frames are the same, cut at each byte, into single bytes and at random`, (t) => {
    const { bytes, messages } = stream(vector)
    const seed = name.length
    const random = seeded(seed)
    const cuts: Buffer[][] = [[bytes], [...singly(bytes)], ...everyCut(bytes)]
    for (let run = 0; run < randomCuts; run++) cuts.push(randomly(bytes, random))
    for (const chunks of cuts) {
      const found = decodeFrames(options, chunks)
      const at = `seed ${seed}, chunks of ${chunks.map(({ length }) => length).join()}`
      if (found.error || found.frames.join() !== messages.join()) t.log(at)
      t.is(found.error, undefined)
      isSame(t, found.frames, messages)
    }
  })

  if (decodeNoisy(options, [])) {
    test(`${name}: with resync, noise around frames gives the same, wherever it is cut`, (t) => {
      const random = seeded(name.length)
      const below = (most: number): number => Math.floor(random() * most)
      const [first] = frames.map(bytesOf)
      const noise = (): number => (below(3) === 0 ? first![below(4) % first!.length]! : below(256))
      for (let round = 0; round < noisyRounds; round++) {
        const bytes = Buffer.concat(
          [1, 2, 3, 4].flatMap(() => [
            Buffer.from(Array.from({ length: below(6) }, noise)),
            bytesOf(frames[below(frames.length)]!),
          ]),
        )
        const whole = decodeNoisy(options, [bytes])!
        for (const chunks of [[...singly(bytes)], ...everyCut(bytes), randomly(bytes, random)]) {
          const cut = decodeNoisy(options, chunks)!
          t.is(cut.error?.code, whole.error?.code)
          isSame(t, cut.frames, whole.frames)
        }
      }
    })
  }

  test(`${name}: a message is sent as its frame`, (t) => {
    for (const [index, payload] of payloads.entries()) {
      const sent = encodeFrame(options, bytesOf(payload))
      t.is(readFrame(options, sent).message.toString('hex'), payload)
      if (vector.encodes !== false) t.is(sent.toString('hex'), frames[index]!)
    }
  })

  test(`${name}: a message of exactly maxLength is taken, and none that is a byte longer`, (t) => {
    for (const [index, payload] of payloads.entries()) {
      const { length } = bytesOf(payload)
      const frame = bytesOf(frames[index]!)
      // A fixed size above it is refused when the format is made.
      const size = sizeOf(vector)
      if (length > 0 && size <= length) {
        t.deepEqual(decodeFrames(options, [frame], length).frames, [payload])
      }
      if (length < 2) continue
      const tooLong = (): string[] => decodeFrames(options, [frame], length - 1).frames
      if (size >= length) t.throws(tooLong, { code: 'ERR_CIO_OPTION' })
      else {
        const { frames: found, error } = decodeFrames(options, [frame], length - 1)
        t.deepEqual(found, [])
        t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
      }
    }
  })

  test(`${name}: a bit that is flipped gives an error of the peer, or what the slow reader reads`, (t) => {
    for (const frame of frames) {
      for (let bit = 0; bit < frame.length * 4; bit += flips) {
        const bytes = bytesOf(frame)
        bytes[bit >> 3]! ^= 1 << (bit & 7)
        const { frames: found, error } = decodeFrames(options, [bytes])
        const slow = slowly(vector, bytes)
        isSame(t, found, slow.messages, `bit ${bit} of ${frame}`)
        t.is(error !== undefined, slow.isBad, `bit ${bit} of ${frame}: ${error?.message}`)
        if (error) t.is(error.fault, 'remote')
      }
    }
  })
}

/** The fixed size of messages, the largest of several formats; 0 without one. */
function sizeOf({ options }: WireVector): number {
  const all: readonly FormatOptions[] = [options, ...(options.oneOf ?? [])]
  const sizes = all.map(({ size, whole, start, checksum }) =>
    size === undefined || whole
      ? size
      : size - Buffer.from(start ?? '').length - (checksum?.bytes ?? 0),
  )
  return Math.max(0, ...sizes.map((size) => size ?? 0))
}

/** The messages by the slow reader, up to a bad frame. */
function slowly({ options }: WireVector, bytes: Buffer): { messages: string[]; isBad: boolean } {
  const messages: string[] = []
  try {
    // Zeros after the last are no beginning of another.
    const isOver = (at: number): boolean =>
      options.stuffing === 'cobs' && bytes.subarray(at).every((byte) => byte === 0)
    for (let at = 0; at < bytes.length && !isOver(at);) {
      const { end, message } = readFrame(options, bytes.subarray(at))
      messages.push(message.toString('hex'))
      at += end
    }
    return { messages, isBad: false }
  } catch {
    return { messages, isBad: true }
  }
}

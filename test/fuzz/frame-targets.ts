/** `frames` with any options: the first bytes of an input choose them, the others are received. */

import { Duplex } from 'node:stream'
import {
  Cio,
  type CioError,
  type FramesContext,
  type FramesOptions,
  type StreamContext,
  frames,
} from '../../src/index.ts'
import { framesOf } from '../../src/kit.ts'
import type { FormatOptions } from '../../src/messages/frame-formats.ts'
import { seeded } from '../../src/testing/random.ts'
import { readFrame } from '../support/wire-oracle.ts'
import type { Target } from './engine.ts'
import { drawOptions } from './frame-options.ts'

const maxLength = 4_096
const choiceLength = 4
const choices = 300

/** The options that the first bytes choose. */
export function chosen(choice: Buffer): { format: FormatOptions; options: FramesOptions } {
  const random = seeded(choice.readUInt32BE())
  const format = drawOptions(random, maxLength)
  const fault: { -readonly [Name in 'resync' | 'gapTimeout']?: FramesOptions[Name] } = {}
  const draw = random()
  if (draw < 0.4) fault.resync = draw < 0.2 || { maxSkipped: draw < 0.3 ? 16 : Infinity }
  if (random() < 0.3) fault.gapTimeout = random() < 0.5 ? Infinity : 60_000
  const options = { ...format, ...fault, maxLength } as FramesOptions
  try {
    frames(options)
    return { format, options }
  } catch {
    return { format, options: { ...format, maxLength } as FramesOptions }
  }
}

/** What the slow reader finds before the first bad frame. */
function expected(format: FormatOptions, input: Buffer): string[] {
  const found: string[] = []
  for (let at = 0; at < input.length;) {
    let read
    try {
      read = readFrame(format, input.subarray(at))
    } catch {
      break
    }
    if (read.message.length > maxLength) break
    found.push(read.message.toString('hex'))
    at += read.end
  }
  return found
}

const ctx = { app: new Cio() } as unknown as StreamContext

/** The messages of input, without a network. */
function decoded(
  options: FramesOptions,
  pieces: readonly Buffer[],
): { found: string[]; error?: CioError } {
  const { decoder: make } = framesOf('fuzz', maxLength, options)
  const decoder = make(ctx, (frame) => frame.toString('hex'))
  const found: string[] = []
  try {
    for (const piece of pieces) decoder.decode(piece, found)
    decoder.end(found)
    return { found }
  } catch (error) {
    return { found, error: error as CioError }
  } finally {
    decoder.close?.()
  }
}

/** Frames of some messages, after the bytes that choose their format. */
function seed(choice: number): Buffer {
  const first = Buffer.alloc(choiceLength)
  first.writeUInt32BE(choice)
  const { format } = chosen(first)
  const { wrap } = framesOf('fuzz', maxLength, format as FramesOptions)
  const random = seeded(choice)
  const parts: Buffer[] = [first]
  for (let count = 0; count < 3; count++) {
    const body = Buffer.from(
      Array.from({ length: Math.floor(random() * 12) }, () =>
        random() < 0.3 ? [0, 1, 2, 3, 0x10, 0x3b, 0x5c, 0x7d][Math.floor(random() * 8)]! : 0x61,
      ),
    )
    try {
      parts.push(wrap(body))
    } catch {
      parts.push(body)
    }
  }
  return Buffer.concat(parts)
}

/** One for all options. */
export const anyFrames: Target = {
  name: 'frames-any',
  seeds: Array.from({ length: choices }, (_, choice) => seed(choice)),
  run(pieces) {
    const all = Buffer.concat(pieces)
    if (all.length < choiceLength) return undefined
    const { format, options } = chosen(all)
    const { found: hex, error } = decoded(options, received(pieces))
    const right = expected(format, all.subarray(choiceLength))
    const isSame = options.resync ? right.every((one, at) => hex[at] === one) : same(hex, right)
    if (!isSame) {
      throw new Error(`${JSON.stringify(options)}: ${hex.join()} came, and not ${right.join()}`)
    }
    if (error && error.fault !== 'remote') throw error
    return { hex, code: error?.code }
  },
  hold(bytes) {
    if (bytes.length < choiceLength) return undefined
    const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
    stream.push(bytes.subarray(choiceLength))
    const app = new Cio().useConnection(frames(chosen(bytes).options))
    app.useConnection(async (ctx) => {
      for await (const _ of (ctx as unknown as FramesContext).messages) continue
    })
    app.on('remoteError', () => {})
    return app.handle(stream)
  },
}

function same(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, at) => each === other[at])
}

/** Pieces without the bytes that choose the options. */
function received(pieces: readonly Buffer[]): Buffer[] {
  let left = choiceLength
  return pieces.flatMap((piece) => {
    const rest = piece.subarray(Math.min(left, piece.length))
    left -= piece.length - rest.length
    return rest.length > 0 ? [rest] : []
  })
}

/** What a frame format makes of bytes, without a network. */

import { Cio, type CioError, type FramesOptions, type StreamContext } from '../../src/index.ts'
import { FrameDecoder, framesOf } from '../../src/kit.ts'

/** The messages in hexadecimal digits, and the error that ended them. */
export interface Decoded {
  readonly frames: string[]
  readonly error: CioError | undefined
}

/** The messages of input in chunks, at its end. */
export function decodeFrames(
  options: FramesOptions,
  chunks: Iterable<Uint8Array>,
  maxLength: number = 1 << 20,
): Decoded {
  const { framing } = framesOf('test', maxLength, options)
  const decoder = new FrameDecoder(
    'test',
    framing((frame) => frame.toString('hex')),
  )
  const frames: string[] = []
  try {
    for (const chunk of chunks) decoder.decode(Buffer.from(chunk), frames)
    decoder.end()
    return { frames, error: undefined }
  } catch (error) {
    return { frames, error: error as CioError }
  }
}

/** The messages of input with noise in it, at its end; undefined for a format without a mark. */
export function decodeNoisy(
  options: FramesOptions,
  chunks: Iterable<Uint8Array>,
): Decoded | undefined {
  const noisy = { ...options, resync: { maxSkipped: Infinity }, gapTimeout: Infinity }
  let made
  try {
    made = framesOf('test', 1 << 16, noisy)
  } catch {
    return undefined
  }
  const ctx = { app: new Cio() } as unknown as StreamContext
  const decoder = made.decoder(ctx, (frame) => frame.toString('hex'))
  const frames: string[] = []
  try {
    for (const chunk of chunks) decoder.decode(Buffer.from(chunk), frames)
    decoder.end(frames)
    return { frames, error: undefined }
  } catch (error) {
    return { frames, error: error as CioError }
  }
}

/** The bytes of a message, as they are sent. */
export function encodeFrame(options: FramesOptions, message: string | Uint8Array): Buffer {
  return framesOf('test', 1 << 20, options).wrap(message)
}

/** Chunks of one byte each. */
export function* singly(bytes: Uint8Array): Generator<Buffer> {
  for (const byte of bytes) yield Buffer.of(byte)
}

/** Two chunks, for each place at which the bytes can be cut. */
export function* everyCut(bytes: Buffer): Generator<Buffer[]> {
  for (let cut = 0; cut <= bytes.length; cut++) {
    yield [bytes.subarray(0, cut), bytes.subarray(cut)]
  }
}

/** Chunks of random length. */
export function randomly(bytes: Buffer, random: () => number): Buffer[] {
  const chunks: Buffer[] = []
  const longest = 1 + Math.floor(random() * bytes.length)
  for (let at = 0; at < bytes.length;) {
    const to = at + 1 + Math.floor(random() * longest)
    chunks.push(bytes.subarray(at, to))
    at = to
  }
  return chunks
}

/** The parts of a frame format, and why a frame is bad. */

import { CioError, isCioError } from '../../errors.ts'
import { messageTooLong, syntaxError } from '../frame-decoder.ts'

/** The invalid part of a frame. */
export type FaultPart =
  'start' | 'end' | 'length' | 'checksum' | 'escape' | 'measure' | 'long' | 'gap'

/**
 * Why a frame is bad. Returned and not thrown, since a search for the next good frame finds many
 * bad ones.
 */
export class FrameFault {
  readonly part: FaultPart
  readonly what: string
  /** The announced length of a frame that is too long, if any. */
  readonly length: number
  readonly cause: unknown
  /** How many bytes were searched to find it, by a function or by Cio, at least. */
  looked = 0

  constructor(part: FaultPart, what: string, length = 0, cause?: unknown) {
    this.part = part
    this.what = what
    this.length = length
    this.cause = cause
  }
}

/** A frame that is too long. */
export const tooLong = (length = 0): FrameFault =>
  new FrameFault('long', 'is longer than `maxLength`', length)

/** Reads the frames of one connection. */
export interface FrameReader {
  /**
   * Bytes of the frame at `start`: a number above those that are there may be a lower bound.
   *
   * @param at Position of `start` on the connection. The same frame may be measured again, with
   *   more of it.
   */
  measure(bytes: Buffer, start: number, at: number): number | FrameFault
  /** The message of a whole frame, which was measured; undefined for bytes between frames. */
  open(bytes: Buffer, start: number, end: number, at: number): Buffer | FrameFault | undefined
}

/**
 * Where a frame may begin, at or after `from`; if nowhere, -1 minus the position up to which that is
 * certain. `at` is the position of the first of `bytes` on the connection.
 */
export type FindNext = (bytes: Buffer, from: number, at: number) => number

/** A frame format, for both directions. */
export interface FrameFormat {
  /**
   * @param isSearched Whether the bytes between frames are measured alone, for a search that counts what
   *   it has checked in vain.
   */
  reader(maxLength: number, isSearched?: boolean): FrameReader
  /** For one connection; undefined for frames without a mark. */
  finder(): FindNext | undefined
  /**
   * The frame of a message.
   *
   * @throws `ERR_CIO_ENCODE` (local): there is none
   */
  write(content: string | Uint8Array): Buffer
}

const shownBytes = 16

/** The first bytes of a frame in hexadecimal digits, for errors. */
export function shownHex(bytes: Buffer, start: number): string {
  const shown = bytes.toString('hex', start, start + shownBytes)
  return bytes.length - start > shownBytes ? `${shown}…` : shown
}

/** The error of a bad frame, which begins at `start`; `at` is its position on the connection. */
export function faultError(
  owner: string,
  maxLength: number,
  fault: FrameFault,
  bytes: Buffer,
  start: number,
  at: number,
): CioError {
  if (isCioError(fault.cause)) return fault.cause
  if (fault.part === 'long') {
    return messageTooLong(owner, maxLength, fault.length, bytes.subarray(start, start + shownBytes))
  }
  return syntaxError(owner, fault.what, at, shownHex(bytes, start), fault.cause)
}

/** The error of a message that has no frame. */
export function encodeError(owner: string, why: string, cause?: unknown): CioError {
  return new CioError('ERR_CIO_ENCODE', `${owner}: the frame to send ${why}`, { cause })
}

/** A message to send as bytes; a string as UTF-8. */
export function bytesOf(owner: string, content: unknown): Uint8Array {
  if (content instanceof Uint8Array) return content
  if (typeof content === 'string') return Buffer.from(content)
  throw encodeError(owner, `is neither bytes nor a string: ${typeof content}`)
}

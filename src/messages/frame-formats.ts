/** Makes frame formats from their options. */

import type { Decoder } from './codec.ts'
import { FrameDecoder, type Framing } from './frame-decoder.ts'
import { faultError, FrameFault, type FrameFormat, encodeError } from './frame-formats/format.ts'
import { formatOf } from './frame-formats/format-of.ts'
import { GapTimeout, checkedGap } from './frame-formats/gap-timeout.ts'
import { notReadBack } from './frame-formats/one-of.ts'
import { OptionCheck } from './frame-formats/option-check.ts'
import type { FramingOptions } from './frame-formats/options.ts'
import { plainFormat } from './frame-formats/plain.ts'
import { ResyncDecoder, checkedResync } from './frame-formats/resync-decoder.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

export type {
  ByDelimiterOptions,
  ByLengthOptions,
  ByMeasureOptions,
  BySizeOptions,
  ByStuffingOptions,
  Checksum,
  Endian,
  FieldWidth,
  FormatOptions,
  FrameFaultOptions,
  FramingOptions,
  LengthField,
  Mark,
  Measure,
  OneFramingOptions,
  OneOfOptions,
  Resync,
  Stuffing,
} from './frame-formats/options.ts'
export type { OutOfStep } from './frame-formats/resync-decoder.ts'

/** The names of the options of a frame format. */
export const framingOptionNames: readonly string[] = [
  'length',
  'delimiter',
  'size',
  'stuffing',
  'measure',
  'oneOf',
  'start',
  'end',
  'checksum',
  'endian',
  'whole',
  'resync',
  'gapTimeout',
]

/** A frame format, for both directions. */
export interface Frames {
  /** The bytes to write for a frame. @throws `ERR_CIO_ENCODE` (local): it does not fit */
  readonly wrap: (content: string | Uint8Array) => Buffer
  /**
   * For one connection. `map` makes a message of a frame, which is a view of the received bytes.
   */
  readonly framing: <In>(map: (frame: Buffer, at: number) => In) => Framing<In>
  /** The decoder of one connection, with `resync` and `gapTimeout`. */
  readonly decoder: <In>(ctx: StreamContext, map: (frame: Buffer, at: number) => In) => Decoder<In>
}

/**
 * Makes the frame format that the options describe.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function framesOf(owner: string, maxLength: number, options: FramingOptions): Frames {
  const check = new OptionCheck(owner)
  const format = formatOf(check, options, maxLength)
  const gap = checkedGap(owner, options.gapTimeout)
  const maxSkipped = checkedResync(check, options.resync, format)
  const plain = plainFormat(owner, maxLength, options)
  const wrap = plain?.wrap ?? wrapOf(owner, format)
  const framing = plain?.framing ?? framingOf(owner, maxLength, format)
  return {
    wrap,
    framing,
    decoder(ctx, map) {
      const decoder =
        maxSkipped === undefined
          ? new FrameDecoder(owner, framing(map))
          : new ResyncDecoder({ owner, ctx, format, maxLength, maxSkipped, map })
      return gap === Infinity ? decoder : new GapTimeout(owner, ctx, gap, decoder)
    },
  }
}

function wrapOf(owner: string, format: FrameFormat): Frames['wrap'] {
  return (content) => {
    const frame = format.write(content)
    const fault = notReadBack(format.reader(Infinity), frame)
    if (fault !== undefined) throw encodeError(owner, fault)
    return frame
  }
}

function framingOf(owner: string, maxLength: number, format: FrameFormat): Frames['framing'] {
  return (map) => {
    const reader = format.reader(maxLength)
    return {
      end(bytes, start, offset) {
        const length = reader.measure(bytes, start, offset + start)
        if (typeof length === 'number') return start + length
        throw faultError(owner, maxLength, length, bytes, start, offset + start)
      },
      open(bytes, ends, into, offset) {
        let start = 0
        for (const end of ends) {
          const content = reader.open(bytes, start, end, offset + start)
          if (content instanceof FrameFault) {
            throw faultError(owner, maxLength, content, bytes, start, offset + start)
          }
          if (content !== undefined) into.push(map(content, offset + start))
          start = end
        }
      },
    }
  }
}
